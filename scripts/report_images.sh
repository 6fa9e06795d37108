#!/bin/sh
# Makes the pictures of the page in docs/images: trains the quickstart with two seeds and takes screenshots of their page.
#
#     scripts/report_images.sh
#
# Needs Chromium; a few minutes on 2 cores.
set -eu
cd "$(dirname "$0")/.."
runs=target/report-images
rm -rf "$runs"
mkdir -p "$runs" docs/images

cargo build --release --locked --bin othink
for seed in 1 2; do
  target/release/othink train --config quickstart.toml --set train.seed="$seed" --set train.eval_every=50 --out "$runs/quickstart-$seed"
done
OTHINK_SCREENSHOTS=docs/images OTHINK_SCREENSHOTS_RUN="$runs/quickstart-1:$runs/quickstart-2" \
  cargo test --locked --test it page_size::screenshots
