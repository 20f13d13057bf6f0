#!/usr/bin/env bash
# Runs the box against other people's programs, one peer after the other, and prints what came of each scenario and a
# line for each peer. Ends with 1 when a scenario failed.
#
#   scripts/interop.sh            all peers
#   scripts/interop.sh kamailio   tests whose name holds the word
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.cache/tools/bin:/usr/sbin:$PATH:$PWD/.cache/venv/bin"
mkdir -p .cache
log=.cache/interop.log
cargo test --locked --test interop -- --ignored --nocapture --test-threads=1 "$@" 2>&1 </dev/null | tee "$log" | grep --line-buffered '^interop '
status=${PIPESTATUS[0]}
echo
echo "interop: peers"
grep -E '^interop [a-z0-9-]+: [0-9]+ passed' "$log"
if [ "$status" != 0 ]; then
  echo "interop: something failed; $log tells the story" >&2
fi
exit "$status"
