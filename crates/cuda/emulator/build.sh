#!/usr/bin/env bash
# Builds the emulated device into a folder: the libraries of a CUDA installation in OUT/lib, with the kernels in them, and
# a pretended CUDA toolkit in OUT/toolkit, which build scripts take for a real one. Only what changed is built again.
#
#     build.sh OUT CANDLE_KERNELS_SOURCES [KERNEL.cu...]
#
# Needs g++. Not here: building and running the program on it (scripts/emulated_cuda.sh).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/lib" "$1/objects" "$1/toolkit/bin" "$1/toolkit/lib" "$1/toolkit/include"
out=$(cd "$1" && pwd)
candle=$(cd "$2" && pwd)
shift 2
cxx=${CXX:-g++}
jobs=${JOBS:-2}
# -fno-strict-aliasing: kernels read the same bytes as numbers of several types (without it logits in bf16 became zero).
# -ffp-contract=off: what is fused into one operation must not depend on the compiler's mood.
flags=(-std=c++20 -O2 -march=native -fPIC -fno-strict-aliasing -ffp-contract=off -I"$here" -I"$here/include")
own=("${flags[@]}" -Wall -Wextra -fvisibility=hidden)
# Other people's kernels: no warnings. `assert` in them is the emulated device's.
foreign=("${flags[@]}" -w -include cuda_kernel.h)

newest_header=$(ls -t "$here"/*/*.h "$here"/build.sh | head -n 1)

# Runs a command unless FILE is newer than the headers and all SOURCES: unless_new FILE SOURCES... -- COMMAND...
# Commands run in the background, as many as there are jobs; `finish` waits for them.
running=()
unless_new() {
  local file=$1 source stale=''
  shift
  [ -e "$file" ] && [ "$file" -nt "$newest_header" ] || stale=1
  while [ "$1" != -- ]; do
    [ "$file" -nt "$1" ] || stale=1
    shift
  done
  shift
  [ -n "$stale" ] || return 0
  [ "${#running[@]}" -lt "$jobs" ] || finish_one
  "$@" &
  running+=($!)
}
finish_one() {
  wait "${running[0]}" || { echo "build.sh: a source of the emulated device does not compile" >&2 && exit 1; }
  running=("${running[@]:1}")
}
finish() { while [ "${#running[@]}" -gt 0 ]; do finish_one; done; }

# `__shared__` is the one word of CUDA that no macro can stand for. Type and name are single words, apart from alignments,
# which hold anyway; any number of dimensions.
rewrite_shared_variables() {
  local align='__align__\([0-9]+\)' type='([A-Za-z0-9_: ]*[A-Za-z0-9_])' name='([A-Za-z0-9_]+)' extents='((\[[^]]+\] *)*)'
  sed -E \
    -e "s/__shared__ +$align/__shared__/g; s/$align +__shared__/__shared__/g" \
    -e "s/extern +__shared__ +$type +$name *\[ *\] *;/\1* \2 = simt::dynamic_shared<\1>();/" \
    -e "s/__shared__ +$type +$name *$extents;/\1 (\&\2)\3 = simt::shared_variable<\1\3>([] {});/" \
    "$1"
}

# One source of kernels: rewritten, wrapped into a namespace of its own, so that helpers of the same name in two sources
# do not meet, and followed by a line for every kernel in it.
compile_kernels() { # SOURCE OBJECT
  local source=$1 object=$2 module=${1##*/} folder=${1%/*} wrapped=${2%.o}.cpp work header
  work=${object%.o}.sources
  mkdir -p "$work"
  for header in "$folder"/*.cuh; do
    [ -e "$header" ] || continue
    rewrite_shared_variables "$header" >"$work/${header##*/}"
  done
  rewrite_shared_variables "$source" >"$work/$module"
  {
    printf 'namespace module_%s {\n' "${module//[^A-Za-z0-9]/_}"
    printf '#include "%s"\n' "$work/$module"
  } >"$wrapped"
  printf '}\n' | cat "$wrapped" - >"$wrapped.list.cpp"
  "$cxx" "${foreign[@]}" -I"$work" -I"$folder" -E -P -D__global__=EMULATED_GLOBAL "$wrapped.list.cpp" | tr '\n' ' ' |
    { grep -oE 'extern "C" +EMULATED_GLOBAL +void +[A-Za-z0-9_]+' || true; } |
    sed -E "s/.* ([A-Za-z0-9_]+)/EMULATED_KERNEL(\"$module\", \1)/" >"$wrapped.list"
  [ -s "$wrapped.list" ] || { echo "build.sh: $source has no \`extern \"C\" __global__ void\`" >&2 && return 1; }
  { cat "$wrapped.list" && printf '}\n'; } >>"$wrapped"
  "$cxx" "${foreign[@]}" -I"$work" -I"$folder" -c "$wrapped" -o "$object"
}

library() { # SONAME OBJECTS_AND_FLAGS...
  local soname=$1
  shift
  # The real libraries version their symbols by their own names; a program built against those finds the same here.
  printf '%s { *; };\n' "$soname" >"$out/objects/$soname.map"
  local version=(-Wl,--version-script="$out/objects/$soname.map")
  [ "$soname" != libcuda.so.1 ] || version=()
  "$cxx" -shared "${version[@]}" -Wl,-soname,"$soname" -Wl,-rpath,'$ORIGIN' -Wl,-z,defs -o "$out/lib/$soname.new" "$@"
  mv "$out/lib/$soname.new" "$out/lib/$soname"
}

# What kernels and the other libraries call of these must be seen from outside.
core=()
for source in "$here"/executor/*.cpp "$here"/driver/*.cpp; do
  object=$out/objects/$(basename "$(dirname "$source")")-$(basename "$source" .cpp).o
  unless_new "$object" "$source" -- "$cxx" "${own[@]}" -fvisibility=default -c "$source" -o "$object"
  core+=("$object")
done
for name in gemm cublas cublaslt curand; do
  source=$here/libraries/$name.cpp object=$out/objects/$name.o
  unless_new "$object" "$source" -- "$cxx" "${own[@]}" -O3 -ffp-contract=fast -c "$source" -o "$object"
done

# Candle's kernels, those asked for and those of the emulator's own tests. Candle's quantised ones are not emulated.
kernels=()
for source in "$candle"/*.cu "$here"/tests/*.cu "$@"; do
  name=$(basename "$source" .cu)
  case $source in "$candle"/quantized.cu | "$candle"/mmvq_gguf.cu) continue ;; esac
  case $source in "$candle"/*) object=$out/objects/candle-$name.o ;; *) object=$out/objects/kernels-$name.o ;; esac
  headers=("${source%/*}"/*.cuh)
  [ -e "${headers[0]}" ] || headers=()
  unless_new "$object" "$source" "${headers[@]}" -- compile_kernels "$source" "$object"
  kernels+=("$object")
done

finish

library libcuda.so.1 "${core[@]}" -ldl -pthread
library libemulated_kernels.so "${kernels[@]}" -L"$out/lib" -l:libcuda.so.1
library libcublas.so.13 "$out/objects/cublas.o" "$out/objects/gemm.o" -L"$out/lib" -l:libcuda.so.1
library libcublasLt.so.13 "$out/objects/cublaslt.o" "$out/objects/gemm.o" -L"$out/lib" -l:libcuda.so.1
library libcurand.so.10 "$out/objects/curand.o" -L"$out/lib" -l:libcuda.so.1

toolkit=$out/toolkit
cmp -s "$here/nvcc" "$toolkit/bin/nvcc" || cp "$here/nvcc" "$toolkit/bin/nvcc"
[ -e "$toolkit/include/cuda.h" ] || : >"$toolkit/include/cuda.h" # its presence is all that is looked for
for library in "$out"/lib/lib*.so.*; do
  name=${library##*/}
  ln -sfn "../../lib/$name" "$toolkit/lib/${name%%.so.*}.so"
done
# cudarc and candle name the run-time compiler and the run-time library to the linker; the program calls neither.
for name in libnvrtc libcudart; do
  [ -e "$toolkit/lib/$name.so" ] || : | "$cxx" -x c++ -shared -o "$toolkit/lib/$name.so" -
done
