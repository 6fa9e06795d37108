#!/usr/bin/env bash
# Runs each reader of fuzz/readers under libFuzzer from the inputs of fuzz/corpus, as many side by side as there are cores, or as
# FUZZ_JOBS says.
#   scripts/fuzz.sh                    ten minutes each; writes benches/results/fuzzing.md
#   scripts/fuzz.sh 60                 a minute each, as all of these printing its table alone
#   scripts/fuzz.sh 600 chat parquet   these alone
# Needs a C++ compiler and any Rust toolchain: coverage is a pass of LLVM's, which a stable compiler runs too. New inputs go to
# target/fuzz/corpus; one that a reader fails at is kept in target/fuzz/artifacts, and the other readers go on.
set -euo pipefail
cd "$(dirname "$0")/.."

table=/dev/null
[ $# -gt 0 ] || table=benches/results/fuzzing.md
seconds=${1:-600}
[ $# -eq 0 ] || shift
readers=("$@")
[ ${#readers[@]} -gt 0 ] || mapfile -t readers < <(ls fuzz/corpus)
side_by_side=${FUZZ_JOBS:-$(nproc)}
limit=$((10 * (side_by_side + $(nproc) - 1) / $(nproc))) # seconds for an input: ten for each reader that shares a core
target=$(rustc -vV | sed -n 's/^host: //p')

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cp Cargo.lock fuzz/Cargo.lock # the versions that the program has
(cd fuzz && CARGO_TARGET_DIR=../target/fuzz RUSTFLAGS="--cfg fuzzing $coverage" cargo build --target "$target" --bin reader)

# One reader; its row of the table goes to $kept/row, what libFuzzer says to $kept/log.
fuzz() {
  local reader=$1 found=target/fuzz/corpus/$1 kept=target/fuzz/artifacts/$1 failures
  mkdir -p "$found" "$kept"
  rm -f "$kept"/*
  READER=$reader "target/fuzz/$target/debug/reader" "$found" "fuzz/corpus/$reader" -max_total_time="$seconds" -timeout="$limit" \
    -rss_limit_mb=2048 -max_len=40000 -artifact_prefix="$kept/" -print_final_stats=1 2>"$kept/log" || true
  failures=$(find "$kept" -type f ! -name log ! -name "slow-unit-*" | wc -l)
  awk -v reader="$reader" -v failures="$failures" '
    /number_of_executed_units/ { inputs = $2 } /new_units_added/ { kept = $2 } /peak_rss_mb/ { memory = $2 }
    / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
    END { printf "| %s | %d | %d | %d | %d | %d |\n", reader, inputs, edges, kept, memory, failures }' "$kept/log" | tee "$kept/row"
}

for reader in "${readers[@]}"; do
  [ "$(jobs -rp | wc -l)" -lt "$side_by_side" ] || wait -n
  fuzz "$reader" &
done
wait
{
  echo "# Fuzzing"
  echo
  echo "\`scripts/fuzz.sh\`, $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD), $(nproc) cores, $side_by_side readers at a time:"
  echo "libFuzzer on each reader of \`fuzz/readers\`, $seconds s each."
  echo "An input fails if the reader panics, takes more than $limit s or 2 GiB, or does not accept again what it accepted and wrote back."
  echo
  echo "| reader | inputs | edges of the program reached | new inputs kept | peak memory, MB | failed |"
  echo "|---|---|---|---|---|---|"
  for reader in "${readers[@]}"; do cat "target/fuzz/artifacts/$reader/row"; done
  for reader in "${readers[@]}"; do cat "target/fuzz/artifacts/$reader/row"; done |
    awk -F'|' '{ inputs += $3; failed += $7 } END { printf "| all, %.1f hours | %d | | | | %d |\n", NR * '"$seconds"' / 3600, inputs, failed }'
} | tee "$table"
failed=$(for reader in "${readers[@]}"; do awk -F'|' '$7 > 0 { print $2 }' "target/fuzz/artifacts/$reader/row"; done)
[ -z "$failed" ] || { echo "failed: $failed; see target/fuzz/artifacts" >&2; exit 1; }
