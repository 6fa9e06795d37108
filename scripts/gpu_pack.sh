#!/usr/bin/env bash
# Packs what scripts/gpu_check.sh needs on a machine with a GPU, where nothing can be downloaded or built: the program and
# its tests, built with CUDA for compute capability 9.0, stripped and compressed, and the wheels of TRL.
#
#     scripts/gpu_pack.sh OUT
#
# Needs cargo, xz, strip and pip. Without nvcc a toolchain is fetched (scripts/cuda_toolchain.sh), 1.2 GB in target/cuda-toolchain.
# A GPU is not needed. OUT/manifest.txt lists commit and sizes. OUT and the checkout, without .git, must stay below
# 60 MiB, which is what can be carried to a lent machine. CARGO_TARGET_DIR, CUDA_COMPUTE_CAP and OTHINK_CUDA_ARCHITECTURES
# are respected.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: scripts/gpu_pack.sh OUT}
limit=$((60 << 20))
wheels=(trl==1.16.0 datasets==5.2.0 dill==0.4.1 multiprocess==0.70.19) # with torch and transformers come their other needs
mkdir -p "$out/wheels"
out=$(cd "$out" && pwd)

if ! command -v nvcc >/dev/null; then
  [ -e target/cuda-toolchain/env.sh ] || scripts/cuda_toolchain.sh target/cuda-toolchain
  # shellcheck source=/dev/null
  . target/cuda-toolchain/env.sh
fi
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export OTHINK_CUDA_ARCHITECTURES=${OTHINK_CUDA_ARCHITECTURES:-$CUDA_COMPUTE_CAP}

# One command: built apart they would ask for candle with other features, and build it twice.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo test --release --locked --features cuda --package othink --package othink-ops --package othink-cuda --lib --test '*' \
  --no-run --message-format json-render-diagnostics >"$work/messages"

executable() { # KIND NAME: the program that cargo made of a target
  python3 - "$work/messages" "$@" <<'PYTHON'
import json, sys

path, kind, name = sys.argv[1:]
with open(path, encoding="utf-8") as lines:
    made = [message["executable"] for message in map(json.loads, lines)
            if message.get("executable") and message["target"]["name"] == name and kind in message["target"]["kind"]]
if not made:
    sys.exit(f"gpu_pack.sh: cargo made no {kind} {name}")
print(made[-1])
PYTHON
}

# One archive with a window larger than a program: kernels that several hold are stored once.
strip -o "$work/othink" "$(executable bin othink)"
strip -o "$work/it" "$(executable test it)"
strip -o "$work/ops" "$(executable lib othink_ops)"
programs=(othink it ops)
for name in crates/cuda/tests/*.rs; do
  [ -e "$name" ] || continue
  name=$(basename "$name" .rs)
  strip -o "$work/cuda-$name" "$(executable test "$name")"
  programs+=("cuda-$name")
done
tar -C "$work" -c "${programs[@]}" | xz --lzma2=preset=6,dict=192MiB >"$out/programs.tar.xz"

rm -f "$out"/wheels/*.whl
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
  --implementation cp --platform manylinux2014_x86_64 --dest "$out/wheels" "${wheels[@]}"

{
  echo "commit $(git rev-parse HEAD)$(git diff --quiet HEAD || echo ', with changes')"
  echo "compute capability $CUDA_COMPUTE_CAP, $(nvcc --version | tail -n 2 | head -n 1)"
  (cd "$out" && find . -type f ! -name manifest.txt -printf '%s %P\n' | sort -k 2)
} >"$out/manifest.txt"
cat "$out/manifest.txt"
packed=$(find "$out" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
checkout=$(git ls-files -z | xargs -0 stat -c %s | awk '{ sum += $1 } END { print sum }')
echo "$packed bytes packed, $checkout in the checkout, $limit at most"
[ $((packed + checkout)) -le "$limit" ] || { echo "gpu_pack.sh: too much to carry" >&2 && exit 1; }
