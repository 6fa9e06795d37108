#!/usr/bin/env bash
# Builds the image of Containerfile and tries it, where no registry of images can be reached: the two images that it starts from are
# made here, Debian's by debootstrap and Rust's from that with a compiler of C and this machine's Rust toolchain.
#
#     scripts/try_container.sh [FOLDER]    FOLDER is taken for cargo's target folder, so that what is built there is not built again
#
# Needs root, debootstrap, buildah, podman, a Debian mirror, and the crates in CARGO_HOME (`cargo fetch --locked`).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-target/container}
registry=${CARGO_HOME:-$HOME/.cargo}/registry
mkdir -p "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stage() { printf '\n== %s\n' "$*"; }
has_image() { buildah inspect --type image "localhost/$1" >/dev/null 2>&1; }

stage "the images to start from"
if ! has_image debian:bookworm-slim; then
  debootstrap --variant=minbase bookworm "$work/debian" >/dev/null
  rm -rf "$work"/debian/var/{cache/apt,lib/apt/lists}/* "$work"/debian/usr/share/{doc,man,locale}/*
  container=$(buildah from scratch)
  buildah add -q "$container" "$work/debian" / >/dev/null
  buildah config --cmd bash "$container"
  buildah commit -q --rm "$container" debian:bookworm-slim >/dev/null
fi
if ! has_image rust:1.95-bookworm; then
  container=$(buildah from --pull-never localhost/debian:bookworm-slim)
  buildah run --network host "$container" sh -c 'apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev git' >/dev/null
  buildah add -q "$container" "$(rustc --print sysroot)" /usr/local/rust >/dev/null
  buildah config --env PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env CARGO_HOME=/usr/local/cargo "$container"
  buildah commit -q --rm "$container" rust:1.95-bookworm >/dev/null
fi
buildah images

stage "the image, built without a network"
buildah build --pull-never --network none -v "$(realpath "$target"):/src/target" -v "$registry:/usr/local/cargo/registry" -t othink .
buildah images localhost/othink

stage "the image, used: no network, what is written stays in the volume"
run() { podman run --rm --network none -v othink-try:/data/runs localhost/othink "$@"; }
podman volume rm -f othink-try >/dev/null 2>&1 || true
run --version
run train --config quickstart.toml --set train.updates=2 --set eval.limit=20
run eval --task synth-vc --model runs/quickstart/checkpoints/step-000002 --limit 20
podman run --rm --network none --entrypoint id localhost/othink
podman volume rm othink-try >/dev/null
