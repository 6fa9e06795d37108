#!/bin/sh
# candle-transformers' Qwen3-VL beside othink's, on the CPU in f32: run.sh logits|decode MODEL_FOLDER [further options].
# RAYON_NUM_THREADS is the number of threads of both; without it, all that there are. README.md says what is compared.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=$here/../../target/vs_candle
cargo build --release --quiet --manifest-path "$here/Cargo.toml" --target-dir "$target"
# candle counts cores where this is not set, the program hardware threads; and it has a variable of its own.
unset CANDLE_NUM_THREADS
export RAYON_NUM_THREADS="${RAYON_NUM_THREADS:-$(nproc)}"
# As the program sets it for itself.
export MIMALLOC_PURGE_DELAY="${MIMALLOC_PURGE_DELAY:--1}"
exec "$target/release/vs-candle" "$@"
