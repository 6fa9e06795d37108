#!/usr/bin/env bash
# What nvcc makes of the kernels in crates/cuda: compiles them as the build does, and prints a table of the registers of
# each kernel on each architecture, its shared memory, and the size of the fatbins. A kernel that spills ends it with 1.
#
#     scripts/kernel_report.sh [OUT]     outputs are kept in OUT; the table of a release is in benches/results
#
# Needs rustc and nvcc (or CUDA_HOME, or NVCC; scripts/cuda_toolchain.sh fetches it), no GPU. OTHINK_CUDA_ARCHITECTURES=90
# compiles for some architectures alone.
set -euo pipefail
cd "$(dirname "$0")/../crates/cuda"

out=${1:-$(mktemp -d)}
[ $# -gt 0 ] || trap 'rm -rf "$out"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)

rustc --edition 2024 --crate-name build_kernels -o "$out/build_kernels" build.rs
start=$SECONDS
OUT_DIR=$out "$out/build_kernels" >/dev/null
seconds=$((SECONDS - start))

# ptxas says of each kernel: "Compiling entry function 'NAME' for 'sm_90'", then "Used 40 registers, ..., 128 bytes smem".
table() {
  awk '
    /Compiling entry function/ {
      split($0, quoted, "\047")
      kernel = quoted[2]; architecture = substr(quoted[4], 4)
      if (!(kernel in shared)) { order[++kernels] = kernel; shared[kernel] = 0 }
      if (!(architecture in seen)) { seen[architecture]; architectures[++n] = architecture }
    }
    /: Used [0-9]+ registers/ {
      for (i = 1; i <= NF; i++) {
        if ($i == "registers," || $i == "registers") registers[kernel, architecture] = $(i - 1)
        if ($i ~ /^smem/) shared[kernel] = $(i - 2)
      }
    }
    END {
      printf "| kernel |"; for (a = 1; a <= n; a++) printf " sm_%s |", architectures[a]; print " shared memory, bytes |"
      printf "|---|"; for (a = 1; a <= n; a++) printf "---|"; print "---|"
      for (k = 1; k <= kernels; k++) {
        printf "| `%s` |", order[k]
        for (a = 1; a <= n; a++) printf " %s |", registers[order[k], architectures[a]]
        printf " %s |\n", shared[order[k]]
      }
      exit kernels == 0
    }' "$out"/*.ptxas.txt
}

nvcc=${NVCC:-${CUDA_HOME:+$CUDA_HOME/bin/}nvcc}
echo "# Registers of the kernels, $("$nvcc" --version | grep -o 'release [0-9.]*, V[0-9.]*')"
echo
echo "By \`scripts/kernel_report.sh\`. No kernel spills. Shared memory is what a kernel declares; attention asks for more at its"
echo "launch."
echo
table
echo
echo "| fatbin, with PTX | bytes |"
echo "|---|---|"
for fatbin in "$out"/*.fatbin; do
  echo "| $(basename "$fatbin" .fatbin) | $(stat -c %s "$fatbin") |"
done
echo "| all | $(cat "$out"/*.fatbin | wc -c) |"
echo
echo "Compiled in $seconds s on $(nproc) cores." >&2
