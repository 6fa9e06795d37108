#!/usr/bin/env bash
# Runs each reader of fuzz/readers under libFuzzer, one after the other, from the inputs of fuzz/corpus.
#   scripts/fuzz.sh                    ten minutes each
#   scripts/fuzz.sh 60                 a minute each
#   scripts/fuzz.sh 600 chat parquet   these alone
# Needs a C++ compiler and any Rust toolchain: coverage is a pass of LLVM's, which a stable compiler runs too. New inputs go to
# target/fuzz/corpus; one that a reader fails at is kept in target/fuzz/artifacts, and the next reader goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
[ $# -eq 0 ] || shift
readers=("$@")
[ ${#readers[@]} -gt 0 ] || mapfile -t readers < <(ls fuzz/corpus)
target=$(rustc -vV | sed -n 's/^host: //p')

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cp Cargo.lock fuzz/Cargo.lock # the versions that the program has
(cd fuzz && CARGO_TARGET_DIR=../target/fuzz RUSTFLAGS="--cfg fuzzing $coverage" cargo build --target "$target" --bin reader)

failed=()
for reader in "${readers[@]}"; do
  found=target/fuzz/corpus/$reader kept=target/fuzz/artifacts/$reader
  mkdir -p "$found" "$kept"
  echo "== $reader"
  READER=$reader "target/fuzz/$target/debug/reader" "$found" "fuzz/corpus/$reader" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -max_len=40000 -artifact_prefix="$kept/" -print_final_stats=1 2>"$kept/log" || failed+=("$reader")
  grep -E 'panicked at|ERROR: libFuzzer|number_of_executed_units|new_units_added|peak_rss_mb' "$kept/log" || true
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}; see target/fuzz/artifacts" >&2; exit 1; }
