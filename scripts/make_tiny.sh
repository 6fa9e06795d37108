#!/bin/sh
# Makes assets/tiny, the model that is compiled into the program.
#
#     scripts/make_tiny.sh [SEED]
#
# 1. examples/init_tiny draws random weights, learns a tokenizer from the drawn tasks' texts and
#    writes 23,600 lessons: drawn pictures to describe, and drawn questions with worked answers. All of it follows from the seed.
# 2. `othink train --config cold-start.toml` teaches two thirds of the lessons by supervised training and stops
#    there, while accuracy is still rising. Nothing is done to the weights to make them worse.
# 3. The checkpoint's model files become assets/tiny.
#
# The lessons share no row with what runs train or test on: they are drawn with other seeds.
# About ten minutes on 2 cores. The same seed gives the same files on the same kind of processor.
set -eu
cd "$(dirname "$0")/.."
seed=${1:-0}
work=target/tiny
rm -rf "$work"
mkdir -p "$work"

# The program is built before there is a tiny model to compile in: an earlier one stays until the end.
cargo build --release --locked --bin othink
cargo run --release --locked --example init_tiny -- --seed "$seed" --out "$work"
target/release/othink train --config configs/cold-start.toml --set train.seed="$seed" --out "$work/run"

checkpoint=$(ls -d "$work"/run/checkpoints/step-* | tail -n 1)
mkdir -p assets/tiny
for file in config.json generation_config.json preprocessor_config.json tokenizer.json \
  tokenizer_config.json chat_template.json model.safetensors; do
  cp "$checkpoint/$file" "assets/tiny/$file"
done
du -sh assets/tiny
