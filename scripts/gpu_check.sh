#!/usr/bin/env bash
# Checks on a GPU what the tests check on the CPU, then runs the program there and writes down what it measured.
#
#     scripts/gpu_check.sh [FOLDER]      FOLDER holds `othink` and `it`, built with --features cuda
#
# Without FOLDER both are built here (nvcc is needed; scripts/cuda_toolchain.sh fetches one). `it` is the test
# program tests/it; both can be built on one machine and carried to another. OUT names the folder for figures,
# benches/results by default. Run from a checkout: the golden files are read from tests/golden.
#
# Not run on the GPU: that rollouts are the same bits whatever else is in the batch. cuBLAS chooses its kernels by
# shape, so that holds on the CPU alone.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  folder=$1
else
  folder=target/gpu-check
  mkdir -p "$folder"
  cargo build --release --locked --features cuda --bin othink
  cp target/release/othink "$folder/othink"
  it=$(cargo test --release --locked --features cuda --test it --no-run 2>&1 |
    sed -n 's/.*(\(target[^)]*\/it-[^)]*\)).*/\1/p')
  cp "$it" "$folder/it"
fi
out=${OUT:-benches/results}
runs=$(mktemp -d)
mkdir -p "$out"
record="$out/gpu-check-$(date +%F).txt"

{
  date -u +%F
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  "$folder/othink" --version

  echo "== parity with transformers, f32 and bf16, on the GPU"
  OTHINK_TEST_DEVICE=cuda "$folder/it" parity:: training_parity:: --test-threads 1

  echo "== the tiny model, f32: the same answers as on the CPU"
  for device in cpu cuda; do
    "$folder/othink" eval --task synth-vc --limit 100 --device "$device" --dtype f32 \
      --out "$runs/$device.jsonl" 2>/dev/null
  done
  cut -d, -f1-6 "$runs/cpu.jsonl" >"$runs/cpu.answers"
  cut -d, -f1-6 "$runs/cuda.jsonl" >"$runs/cuda.answers"
  if cmp -s "$runs/cpu.answers" "$runs/cuda.answers"; then echo "identical"; else
    echo "differ: $(diff "$runs/cpu.answers" "$runs/cuda.answers" | grep -c '^<') of 100"
  fi

  echo "== twenty updates of the quickstart in bf16 with f32 master weights"
  "$folder/othink" train --config quickstart.toml --device cuda --out "$runs/run" --set train.updates=20 \
    --set kl.explore=0.5 --set eval.limit=100 2>&1 | tail -n 5
  tail -n 1 "$runs/run/metrics.jsonl"
} 2>&1 | tee "$record"
rm -rf "$runs"
