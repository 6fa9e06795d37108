#!/usr/bin/env bash
# cuda_toolchain.sh DIR [EXTRA_PIP_PACKAGE...]
# Installs a CUDA 13.0 build toolchain (nvcc, headers, link libraries) from PyPI
# into DIR/venv, adds unversioned .so links and a link-time stub of libcuda, and
# prints the export lines a build needs (also kept in DIR/env.sh).
# Enough to BUILD candle --features cuda and .cu kernels; a GPU and its driver
# are only needed to run. About 1.2 GB on disk. Safe to run again.
set -euo pipefail
dir=${1:?usage: cuda_toolchain.sh DIR [EXTRA_PIP_PACKAGE...]}
shift
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
py=${PYTHON:-python3}

[ -x "$dir/venv/bin/pip" ] || "$py" -m venv "$dir/venv" >&2
"$dir/venv/bin/pip" install -q --disable-pip-version-check \
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 \
  nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35 \
  nvidia-cuda-nvrtc==13.0.88 "$@" >&2
site=$("$dir/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
home=$site/nvidia/cu13

# 1. -lcublas and friends need names without a version; nvcc looks in lib64.
for so in "$home"/lib/lib*.so.*; do
  name=${so##*/}
  case $name in *.alt.so.*) continue ;; esac
  ln -sfn "$name" "$home/lib/${name%%.so.*}.so"
done
ln -sfn lib "$home/lib64"

# 2. Stub libcuda.so: every cu* name in cuda.h, returning 100, CUDA_ERROR_NO_DEVICE
#    (and one old name that cudarc still binds). Its soname is the driver's, so a
#    binary linked against it loads the real libcuda.so.1 on a machine with a GPU.
#    cudarc's build.rs looks in $CUDA_HOME/lib/stubs. On a machine without a GPU a
#    CUDA build starts with LD_LIBRARY_PATH=<stubs>:<lib> and new_cuda() then fails
#    cleanly; never put the stub on LD_LIBRARY_PATH where there is a GPU.
stubs=$home/lib/stubs
mkdir -p "$stubs"
{ grep -ohE '\bcu[A-Z][A-Za-z0-9_]+' "$home/include/cuda.h"; echo cuProfilerInitialize; } |
  sort -u | sed 's/.*/int &(void){return 100;}/' >"$stubs/stub.c"
gcc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so" "$stubs/stub.c"
ln -sfn libcuda.so "$stubs/libcuda.so.1"
ln -sfn "$stubs" "$dir/stubs"

cat >"$dir/env.sh" <<EOF
export CUDA_HOME=$home
export PATH=$home/bin:\$PATH
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90}
export LIBRARY_PATH=$stubs:$home/lib\${LIBRARY_PATH:+:\$LIBRARY_PATH}
# only to run: export LD_LIBRARY_PATH=$home/lib  (the GPU machine's own libcuda.so.1 must be found as well)
EOF
cat "$dir/env.sh"
