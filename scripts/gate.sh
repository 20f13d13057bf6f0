#!/usr/bin/env bash
# The gate: every check that a change must pass, in one command, with the time of each step. It stops at nothing, so
# that one run shows every complaint, and ends with 1 if anything failed. A step that could not run counts as failed.
set -uo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
export PATH="$PWD/.cache/tools/bin:$PATH:$PWD/.cache/venv/bin"

names=() results=() times=()
step() {
  local name="$1" begin end code
  shift
  echo "── $name: $*"
  begin=$(date +%s)
  "$@" </dev/null
  code=$?
  end=$(date +%s)
  names+=("$name") times+=($((end - begin)))
  if [ $code = 0 ]; then results+=(ok); else results+=("FAILED ($code)"); fi
  echo "── $name: ${results[-1]} after $((end - begin)) s"
  echo
}

shell_syntax() {
  local file bad=0
  for file in scripts/*.sh .ci/run; do bash -n "$file" || bad=1; done
  return $bad
}

python_syntax() {
  local files
  files=$(git ls-files '*.py')
  [ -z "$files" ] || .cache/venv/bin/python3 -c '
import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name, encoding="utf-8").read(), name)
' $files
}

# Every target's crates have to be at hand: the offline check looks at more platforms than this machine builds for.
dependencies() {
  cargo fetch --locked --quiet && cargo deny --offline check --hide-inclusion-graph licenses bans sources
}

step "shell syntax" shell_syntax
step "python syntax" python_syntax
step "format" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
step "dependencies" dependencies
step "tests" cargo test --workspace --locked --no-fail-fast

failed=0
echo "── summary"
for index in "${!names[@]}"; do
  printf '   %-16s %6d s   %s\n' "${names[$index]}" "${times[$index]}" "${results[$index]}"
  [ "${results[$index]}" = ok ] || failed=1
done
[ $failed = 0 ] && echo "── the gate is open" || echo "── the gate is closed"
exit $failed
