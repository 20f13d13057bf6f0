#!/usr/bin/env bash
# Fuzzes every target with libFuzzer, one after the other, for so many seconds each.
#
#   scripts/fuzz.sh 300              all of them, five minutes each
#   scripts/fuzz.sh 60 sdp message   only these
#
# New inputs that reach new code go to .cache/fuzz/<target>; a crash is written to tests/fuzz/artifacts/<target>.
# Our own crates are instrumented (RUSTC_WORKSPACE_WRAPPER); the rest is the ordinary release build. A stable compiler
# is enough: the code is safe Rust, so the address sanitizer, which is not, would have nothing to find.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds="${1:-300}"
shift || true
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || mapfile -t targets < <(cd tests/fuzz/fuzz_targets && ls ./*.rs | sed 's|\./||; s|\.rs$||')

wrapper="$PWD/.cache/fuzz/rustc"
mkdir -p .cache/fuzz
cat >"$wrapper" <<'WRAP'
#!/bin/sh
# Build scripts run without libFuzzer.
case " $* " in *" build_script_build "*) exec "$@" ;; esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Clto=off -Ccodegen-units=1
WRAP
chmod +x "$wrapper"

# A release build that stops at overflows and broken assertions.
export RUSTC_WORKSPACE_WRAPPER="$wrapper"
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
cargo build --release --locked --package trunkline-fuzz --features libfuzzer --bins --target-dir .cache/fuzz/target

failed=0
for target in "${targets[@]}"; do
  mkdir -p ".cache/fuzz/$target" "tests/fuzz/artifacts/$target"
  log=".cache/fuzz/$target.log"
  if ".cache/fuzz/target/release/$target" ".cache/fuzz/$target" "tests/fuzz/corpus/$target" \
    "-artifact_prefix=tests/fuzz/artifacts/$target/" "-max_total_time=$seconds" -max_len=8192 -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    found=$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
    echo "fuzz $target: clean after $seconds s, $runs inputs, $found places reached"
  else
    failed=1
    echo "fuzz $target: FAILED, see $log and tests/fuzz/artifacts/$target" >&2
    tail -n 30 "$log" >&2
  fi
done
exit $failed
