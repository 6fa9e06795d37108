#!/usr/bin/env bash
# Every case of tests/faults: runs and evaluations that are killed, disks that fail, files that are damaged or moved. Half an
# hour on two cores at most; `cargo test` takes a few cases of each area. Linux; needs cc. Most of the time is waiting for the disk
# under target/tmp, so a tmpfs mounted there makes it shorter.
#   scripts/faults.sh [TABLE]     the table it writes; benches/results/faults.md if none is named
set -euo pipefail
cd "$(dirname "$0")/.."
table=${1:-benches/results/faults.md}
rows=$PWD/target/faults-rows
rm -f "$rows"
cargo test --locked --test faults --no-run
start=$(date +%s)
status=0
OTHINK_FAULTS_TABLE=$rows cargo test --locked --test faults -- --nocapture || status=$?
minutes=$((($(date +%s) - start + 59) / 60))
{
  echo "# Faults"
  echo
  echo "\`scripts/faults.sh\`, $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD), $(nproc) cores, $minutes minutes. Each case is one fault;"
  echo "it is handled if the command succeeds or names what failed, and then goes on to what an undisturbed one leaves, to the bit."
  echo
  echo "| area | tried | handled | failed |"
  echo "|---|---|---|---|"
  sort "$rows"
  awk -F'|' '{ tried += $3; handled += $4; failed += $5 } END { printf "| all | %d | %d | %d |\n", tried, handled, failed }' "$rows"
} >"$table"
cat "$table"
exit "$status"
