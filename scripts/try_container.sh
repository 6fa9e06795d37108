#!/usr/bin/env bash
# Builds the image of Containerfile and tries it, where no registry of images can be reached: the two images that it starts from are
# made here, Debian's by debootstrap and Rust's from that, with a compiler of C; this machine's Rust toolchain is lent to it.
#
#     scripts/try_container.sh [FOLDER]    FOLDER is taken for cargo's target folder, so that what is built there is not built again
#
# Needs root, debootstrap, buildah, a Debian mirror, and the crates in CARGO_HOME (`cargo fetch --locked`). Containers are change
# roots, which ask nothing of cgroups; the entry point is looked at, not gone through.
set -euo pipefail
cd "$(dirname "$0")/.."
export BUILDAH_ISOLATION=chroot
target=${1:-target/container}
home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stage() { printf '\n== %s\n' "$*"; }
has_image() { buildah inspect --type image "$1" >/dev/null 2>&1; }

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
  container=$(buildah from --pull-never debian:bookworm-slim)
  buildah run --network host "$container" sh -c 'apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev git' >/dev/null
  buildah config --env PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env "CARGO_HOME=$home" "$container"
  buildah commit -q --rm "$container" rust:1.95-bookworm >/dev/null
fi
buildah images

stage "the image, built without a network"
buildah build --pull-never --network none -t othink -v "$(rustc --print sysroot):/usr/local/rust:ro" -v "$home/registry:$home/registry" \
  -v "$(realpath "$target"):/src/target" .
buildah images localhost/othink

stage "the image, used as its user"
container=$(buildah from --pull-never localhost/othink)
trap 'buildah rm "$container" >/dev/null; rm -rf "$work"' EXIT
run() { buildah run "$container" "$@"; }
run id
run othink --version
run othink train --config quickstart.toml --set train.updates=2 --set eval.limit=20
run othink eval --task synth-vc --model runs/quickstart/checkpoints/step-000002 --limit 20
buildah inspect --type image --format '{{.OCIv1.Config.Entrypoint}} as {{.OCIv1.Config.User}} in {{.OCIv1.Config.WorkingDir}}, volumes {{.OCIv1.Config.Volumes}}' localhost/othink
