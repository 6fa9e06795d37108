#!/usr/bin/env bash
# The tests of the emulated device, compiled for the real one: where that behaves otherwise, the emulated one is wrong.
# scripts/gpu_check.sh runs this, which says what is in the environment: WORK, CUDA_LIBRARIES, EMULATED, PYTHON.
# Not here: faults planted for the emulated device alone (crates/cuda/emulator/tests/faults.cpp).
set -u
tests=crates/cuda/emulator/tests
cxx=${CXX:-g++}
command -v "$cxx" >/dev/null || { echo "SKIPPED no $cxx" && exit; }

libraries=$CUDA_LIBRARIES
if [ -z "$EMULATED" ]; then
  command -v nvcc >/dev/null || { echo "SKIPPED no nvcc" && exit; }
  driver=$(ldconfig -p | awk '/libcuda\.so\.1/ { print $NF; exit }')
  [ -z "$driver" ] || libraries+=:${driver%/*}
  export TEST_MODULES=$WORK/modules
  mkdir -p "$TEST_MODULES"
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)
  for source in "$tests"/test_*.cu; do
    nvcc -std=c++17 -O2 -arch="sm_${capability/./}" -include cassert -I"$tests/nvcc" -fatbin "$source" \
      -o "$TEST_MODULES/${source##*/}.fatbin" || exit 1 &
  done
fi
folders=()
while read -r -d : folder; do [ ! -d "$folder" ] || folders+=("-L$folder"); done <<<"$libraries:"
for program in programs answers; do
  "$cxx" -std=c++20 -O1 -I"$tests/.." "$tests/$program.cpp" -o "$WORK/$program" "${folders[@]}" -l:libcuda.so.1 \
    -l:libcublas.so.13 -Wl,--allow-shlib-undefined || exit 1 &
done
wait
[ -x "$WORK/programs" ] && [ -x "$WORK/answers" ] || { echo "a test program does not compile" && exit 1; }
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

failed=()
n_passed=0
while read -r name; do
  timeout 10 "$WORK/programs" "$name" 2>"$WORK/programs.log"
  case $? in
    0) n_passed=$((n_passed + 1)) && echo "$name: passes" ;;
    77) echo "$name: reads the emulated device's counters" ;;
    *) failed+=("$name: $(tail -n 1 "$WORK/programs.log")") && echo "${failed[-1]}" ;;
  esac
done < <("$WORK/programs")

"$WORK/answers" >"$WORK/answers.tsv"
code=$?
cat "$WORK/answers.tsv"
"$PYTHON" scripts/gpu/figures.py answers "$WORK/answers.tsv"
"$PYTHON" -c 'import json, sys; print("FIGURES " + json.dumps({"passed": int(sys.argv[1]), "failed": sys.argv[2:]}))' \
  "$n_passed" "${failed[@]}"
[ "${#failed[@]}" = 0 ] && [ "$code" -le 1 ]
