#!/bin/sh
# Shows what the quickstart does, three times: trains it from seeds 1, 2 and 3 and writes accuracies before and
# after, intervals, times and curves to benches/results/quickstart*.
#
#     scripts/quickstart_seeds.sh
#
# Needs Python 3 for the tables and the plot (nothing beyond its standard library); about a quarter of an hour
# on 2 cores.
set -eu
cd "$(dirname "$0")/.."
runs=target/quickstart-seeds
rm -rf "$runs"
mkdir -p "$runs"

cargo build --release --locked --bin othink
for seed in 1 2 3; do
  start=$(date +%s)
  target/release/othink train --config configs/quickstart.toml --set train.seed="$seed" --out "$runs/seed-$seed"
  echo "$(($(date +%s) - start))" >"$runs/seed-$seed/wall_s"
done
python3 scripts/quickstart_report.py "$runs" benches/results
