#!/usr/bin/env bash
# Changes files in every way that cargo-mutants knows, one change at a time, and lists the changes that no test catches.
#
#     scripts/mutants.sh OUT FILE...     OUT: the folder for the lists; FILE: such as src/grpo/kl.rs
#
# Needs cargo-mutants (`cargo install cargo-mutants`). A clone in OUT is changed in place, so that only this crate is
# built for each mutant, without optimisation (the kernels keep theirs). Only the library's own tests are run; try a mutant
# that they miss with the whole suite, by hand: `cargo test` after `git apply OUT/mutants.out/diff/...`.
set -euo pipefail
out=$1
shift
project=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$out"
clone=$(cd "$out" && pwd)/clone
[ -d "$clone" ] || git clone --quiet "$project" "$clone"
git -C "$clone" pull --quiet
files=()
for file in "$@"; do files+=(--file "$file"); done
cd "$clone"
CARGO_PROFILE_DEV_OPT_LEVEL=0 cargo mutants --in-place --no-shuffle "${files[@]}" --output "$clone/.." \
  --timeout 120 --build-timeout 900 -- --lib
