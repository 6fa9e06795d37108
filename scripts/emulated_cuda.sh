#!/usr/bin/env bash
# The CUDA build on a machine without a GPU and without CUDA: builds the emulated device (crates/cuda/emulator), the program
# and its tests with --features cuda against it, and runs them. Needs g++ and cargo.
#
#     scripts/emulated_cuda.sh build                    builds everything; the first time takes as long as any CUDA build
#     scripts/emulated_cuda.sh run othink infer ...     runs a command that finds the program and the device
#     scripts/emulated_cuda.sh test [NAME...]           the device's own tests, then those tests of tests/it on it
#                                                       (unless named: parity with transformers, planned memory, too little
#                                                       memory, what is launched and read back, rollouts, decoded tokens, LoRA, families in bf16)
#     scripts/emulated_cuda.sh errors                   a table of the kernels' errors against f64
#     scripts/emulated_cuda.sh check                    the program's results on the device against the CPU's, and what it
#                                                       does where libraries of CUDA's are missing
#
# Outputs lie in target/emulated-cuda, or in the folder that `--dir DIR` before the command names. EMU_ORDER, EMU_LAZY and
# the like are described in crates/cuda/emulator/README.md. `run cargo test ...` works as well. A link `program`
# in that folder to a target folder of cargo's shares what does not depend on CUDA.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=target/emulated-cuda
if [ "${1:-}" = --dir ]; then
  dir=${2:?--dir needs a folder}
  shift 2
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
programs=$(realpath -m "$dir/program")
command=${1:-help}
shift || true

use_device() {
  export CUDA_HOME=$dir/toolkit CUDA_COMPUTE_CAP=90 CARGO_TARGET_DIR=$programs
  export PATH=$programs/debug:$dir/toolkit/bin:$PATH
  export LIBRARY_PATH=$dir/toolkit/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
  export LD_LIBRARY_PATH=$dir/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

candle_kernels() { # where cargo keeps their sources
  cargo metadata --locked --format-version 1 --features cuda |
    grep -oE '"manifest_path":"[^"]*/candle-kernels-[0-9.]+/Cargo.toml"' | head -n 1 | sed -E 's|.*:"(.*)/Cargo.toml"|\1/src|'
}

build_device() {
  command -v "${CXX:-g++}" >/dev/null || { echo "emulated_cuda.sh: g++ is needed" >&2 && exit 1; }
  local candle kernels=()
  candle=$(candle_kernels)
  [ -d "$candle" ] || { echo "emulated_cuda.sh: cargo does not say where candle-kernels is" >&2 && exit 1; }
  mapfile -t kernels < <(find crates/cuda -name '*.cu' -not -path 'crates/cuda/emulator/*' | sort)
  crates/cuda/emulator/build.sh "$dir" "$candle" "${kernels[@]}"
}

# One command builds the program and the tests: built apart they would ask for candle with other features, and build it twice.
build_program() {
  use_device
  cargo test --quiet --locked --features cuda --package othink --package othink-ops --package othink-cuda --lib --test '*' --no-run
}

hard() { # ORDER COMMAND...: the device as unkind as it can be
  EMU_ORDER=$1 EMU_LAZY=1 EMU_POISON=1 EMU_GUARD=1 RUST_BACKTRACE=0 "${@:2}"
}

# ---- errors

# The tests of the kernels print a line for each case: "NAME CASE: output ERROR", "NAME CASE: gradient I ERROR", or "NAME CASE,
# result I: SHARE of the numbers rounded otherwise".
errors() {
  local tests
  tests=$(
    export EMU_ORDER=3 EMU_LAZY=1 EMU_POISON=1 EMU_GUARD=1
    cargo test --quiet --locked --features cuda --package othink-ops --lib -- cuda:: --nocapture --test-threads 1
    cargo test --quiet --locked --package othink-cuda --test decode -- --nocapture --test-threads 1
  )
  echo "# Errors of the kernels against f64, on the emulated device"
  echo
  echo "By \`scripts/emulated_cuda.sh errors\`: inputs in bf16, the same computed in f64 on the CPU; the worst case of each kernel,"
  echo "relative in the Euclidean norm (of \`token_logprob\` absolute, in nats), or the share of numbers that are not the exact"
  echo "result rounded to bf16. Order 3 of threads, lazy, poisoned, guarded; other orders give the same bits."
  echo
  echo "| operation | cases | result | gradients | rounded otherwise |"
  echo "|---|---|---|---|---|"
  awk '
    function note(table, value) { if (value + 0 >= table[name] + 0) table[name] = value }
    /: output [0-9]|: gradient [0-9]|of the numbers rounded otherwise$/ {
      name = $0
      sub(/^\.[.i]*/, "", name)  # how the tests before it ended
      sub(/(, result [0-9]+)?: [^:]*$/, "", name); sub(/,.*/, "", name); sub(/ [0-9\[].*/, "", name)
      if (!(name in cases)) { order[++n] = name; cases[name] = 0 }
    }
    /: output [0-9]/ { ++cases[name]; note(results, $NF) }
    /: gradient [0-9]/ { note(gradients, $NF) }
    /of the numbers rounded otherwise$/ { if (/result 0:/) ++cases[name]; note(shares, $(NF - 5)) }
    END {
      for (i = 1; i <= n; i++)
        printf "| %s | %d | %s | %s | %s |\n", order[i], cases[order[i]], results[order[i]], gradients[order[i]], shares[order[i]]
      exit n == 0
    }' <<<"$tests"
}

# ---- check

orders=(0 1 2 3)
failures=0
report() { # VERDICT WHAT [DETAIL]
  printf '%-5s %s%s\n' "$1" "$2" "${3:+: $3}"
  [ "$1" = ok ] || failures=$((failures + 1))
}
reason() { tail -n 1 "$1" | cut -c1-200; }

# Runs FUNCTION OUT DEVICE DTYPE on the CPU, then in every order on the device, as many at a time as there are cores;
# COMPARE ON_CPU ON_DEVICE decides.
in_every_order() { # WHAT DTYPE FUNCTION COMPARE
  local what="$1, $2" order out=$runs/${3}_$2 good=() start=$SECONDS
  if ! "$3" "$out.cpu" cpu "$2" 2>"$out.log"; then
    report FAIL "$what" "on the CPU: $(reason "$out.log")"
    return
  fi
  for order in "${orders[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    { hard "$order" "$3" "$out.$order" cuda "$2" 2>"$out.$order.log" && : >"$out.$order.done"; } &
  done
  wait
  for order in "${orders[@]}"; do
    if [ ! -e "$out.$order.done" ]; then
      report FAIL "$what, order $order" "$(reason "$out.$order.log")"
    elif ! "$4" "$out.cpu" "$out.$order" >"$out.$order.differences"; then
      report FAIL "$what, order $order" "not the CPU's: $(head -n 1 "$out.$order.differences")"
    elif ! same_bits "$out.${orders[0]}" "$out.$order" >"$out.$order.differences"; then
      report FAIL "$what, order $order" "not the bits of order ${orders[0]}: $(head -n 1 "$out.$order.differences")"
    else
      good+=("$order")
    fi
  done
  [ "${#good[@]}" -lt "${#orders[@]}" ] || report ok "$what, orders ${good[*]} ($((SECONDS - start)) s)"
}

infer_micro() { # OUT DEVICE DTYPE
  othink infer --model tests/golden/micro/policy --image tests/golden/micro/images/"$image" --prompt "How many?" \
    --max-new-tokens 16 --device "$2" --dtype "$3" --json >"$1"
}
eval_tiny() { # the answers, without the run's times
  othink eval --task synth-vc --limit 6 --device "$2" --dtype "$3" --out "$1" --json >/dev/null
}
small_run=(--set train.updates=2 --set grpo.prompts_per_update=2)
small_run+=(--set eval.before_training=false --set eval.after_training=false)
train_grpo_d() {
  othink train --config quickstart.toml --quiet --device "$2" --set "model.dtype=$3" "${small_run[@]}" \
    --set grpo.group_size=4 --set rollout.max_new_tokens=24 --out "$1.run" >/dev/null
  metrics "$1.run" >"$1"
}
train_sft() {
  othink train --config sft-synth-vc.toml --quiet --device "$2" --set "model.dtype=$3" "${small_run[@]}" \
    --out "$1.run" >/dev/null
  metrics "$1.run" >"$1"
}
metrics() { # lines `UPDATE FIELD VALUE` of what an update computed; times and host memory left out
  grep -oE '"(update|loss|reward|kl|entropy|completion_length|grad_norm)":[^,}]*' "$1/metrics.jsonl" |
    awk -F: '/"update"/ { update = $2; next } $2 != "null" { gsub(/"/, "", $1); print update, $1, $2 }'
}

same_bits() { diff "$1" "$2"; }
same_numbers() { # both files have the same lines, values within 1e-4
  paste -d ' ' "$1" "$2" | awk '
    $1 != $4 || $2 != $5 { print "other fields: " $0; bad = 1; exit }
    { difference = $3 - $6; if (!(difference <= 1e-4 && difference >= -1e-4)) { print $2, $3, $6; bad = 1 } }
    END { exit bad || NR == 0 }'
}
finite_numbers() { awk '$3 !~ /^-?[0-9.]+(e-?[0-9]+)?$/ { print; bad = 1 } END { exit bad || NR == 0 }' "$2"; }
any_answer() { [ -s "$2" ]; }

# The program starts without CUDA's libraries: it is linked to none. A function by which it is belongs into
# crates/cuda/src/libraries. GNU's linker links them all the same.
linked_to_none() {
  local program=$programs/debug/othink needed
  needed=$(readelf -d "$program" | sed -nE 's/.*NEEDED.*\[(lib(cu|nv)[^]]*).*/\1/p' | tr '\n' ' ')
  if [ -n "$needed" ]; then
    needed+=$(nm -D --undefined-only "$program" | sed -nE 's/.* ((cu|__cuda|nvrtc).*)/\1/p' | tr '\n' ' ')
    report FAIL "no library of CUDA's is needed to start" "$needed"
  else
    report ok "no library of CUDA's is needed to start"
  fi
}

# On a machine without a library, or with one that lacks functions: the GPU is refused in words that name it, the rest works.
lacking() { # WHAT FOLDER SAID: the folder has the libraries that are there
  local what=$1 said=$3 out=$2.out code=0
  LD_LIBRARY_PATH=$2 infer_micro "$out" cuda f32 2>"$out.log" || code=$?
  if [ "$code" != 2 ] || ! grep -qF "$said" "$out.log"; then
    report FAIL "$what, the GPU asked for" "code $code, $(head -n 1 "$out.log")"
  elif ! HF_HUB_OFFLINE=1 LD_LIBRARY_PATH=$2 othink doctor | grep -qF "$said"; then
    report FAIL "$what, doctor" "it does not say so"
  elif ! LD_LIBRARY_PATH=$2 infer_micro "$out" auto f32 2>"$out.log" || ! grep -qF "$said" "$out.log"; then
    report FAIL "$what, auto" "$(reason "$out.log")"
  elif ! same_bits "$runs/infer_micro_f32.cpu" "$out" >"$out.log"; then
    report FAIL "$what, auto" "not the CPU's: $(head -n 1 "$out.log")"
  elif ! LD_LIBRARY_PATH=$2 train_sft "$out" cpu f32 2>"$out.log" || ! finite_numbers "$out" "$out" >"$out.log"; then
    report FAIL "$what, training on the CPU" "$(reason "$out.log")"
  else
    report ok "$what: the GPU is refused (code 2), the CPU works"
  fi
}

lacking_each() {
  local name folder
  for name in libcuda.so.1 libcublas.so.13 libcublasLt.so.13 libcurand.so.10; do
    folder=$runs/without_$name
    mkdir "$folder"
    ln -s "$dir"/lib/* "$folder"
    # An empty file is no library, and keeps a real one from being found in the system's folders.
    rm "$folder/$name" && : >"$folder/$name"
    lacking "without $name" "$folder" "$name cannot be loaded"
  done
  rm "$folder/$name" && : | "${CXX:-g++}" -x c++ -shared -o "$folder/$name" -
  lacking "$name without functions" "$folder" "$name has no function"
  if ! ldconfig -p | grep -qF libcuda.so.1; then
    mkdir "$runs/nothing"
    lacking "without any" "$runs/nothing" "libcuda.so.1 cannot be loaded: cannot open shared object file"
  fi
}

check() {
  linked_to_none
  runs=$(mktemp -d "$dir/check.XXXXXX")
  trap 'rm -rf "$runs"' EXIT
  image=$(basename "$(find tests/golden/micro/images -name '*.png' | sort | head -n 1)")
  in_every_order "infer, micro checkpoint" f32 infer_micro same_bits
  lacking_each
  in_every_order "eval, built-in model" f32 eval_tiny same_bits
  in_every_order "GRPO-D, two updates" f32 train_grpo_d same_numbers
  in_every_order "SFT, two updates" f32 train_sft same_numbers
  in_every_order "infer, micro checkpoint" bf16 infer_micro any_answer
  in_every_order "eval, built-in model" bf16 eval_tiny any_answer
  in_every_order "GRPO-D, two updates" bf16 train_grpo_d finite_numbers
  in_every_order "SFT, two updates" bf16 train_sft finite_numbers
  if EMU_MEMORY=40M RUST_BACKTRACE=0 train_sft "$runs/small" cuda f32 2>"$runs/small.log"; then
    report FAIL "a device of 40 MB" "the run ended well"
  elif grep -q "of the GPU's memory and" "$runs/small.log"; then
    report ok "a run that a device of 40 MB has no room for is refused"
  else
    report FAIL "a device of 40 MB" "$(reason "$runs/small.log")"
  fi
  small_run+=(--force)
  if EMU_MEMORY=40M RUST_BACKTRACE=0 train_sft "$runs/forced" cuda f32 2>"$runs/forced.log"; then
    report FAIL "a device of 40 MB, by force" "the run ended well"
  elif grep -q "^error: out of the GPU's memory: stage " "$runs/forced.log"; then
    report ok "by force it is out of memory, and says in which stage"
  else
    report FAIL "a device of 40 MB, by force" "$(reason "$runs/forced.log")"
  fi
  [ "$failures" = 0 ] || { echo "$failures checks failed" && exit 1; }
}

# ---- test

on_device() { # ARGUMENT...: tests of tests/it. They share one stream, which records: one at a time.
  OTHINK_TEST_DEVICE=cuda EMU_LAZY=1 EMU_POISON=1 EMU_GUARD=1 \
    cargo test --quiet --locked --features cuda --test it -- --test-threads 1 "$@"
}

side_by_side() { # ARGUMENTS...: each in a process of its own
  local arguments processes=() process failed=0
  for arguments in "$@"; do
    # shellcheck disable=SC2086 # several words
    on_device $arguments &
    processes+=($!)
  done
  for process in "${processes[@]}"; do wait "$process" || failed=1; done
  return $failed
}

case $command in
  build)
    build_device
    build_program
    ;;
  run)
    [ $# -gt 0 ] || { echo "emulated_cuda.sh: run what?" >&2 && exit 2; }
    use_device
    [ "$1" != othink ] || [ -x "$programs/debug/othink" ] || { echo "emulated_cuda.sh: build first" >&2 && exit 1; }
    exec "$@"
    ;;
  test)
    build_device
    crates/cuda/emulator/tests/test.sh "$dir"
    build_program
    cargo test --quiet --locked --features cuda --package othink --package othink-ops --package othink-cuda --lib -- libraries::
    OTHINK_TEST_DEVICE=cuda EMU_LAZY=1 EMU_POISON=1 EMU_GUARD=1 \
      cargo test --quiet --locked --features cuda --package othink --lib -- device_decoder::
    if [ $# -gt 0 ]; then
      on_device "$@"
    else
      # Candle sums in bf16 on CUDA, partial sums too: a bias's gradient is off by 10.5 %, and this test allows 10.
      # Two parts that take as long as each other.
      side_by_side "parity:: plan::planned_memory_on_a_gpu device_counts:: decoded_tokens:: families::sixteen_bits \
          --skip bf16_through_plain_compositions_stays_near_f32" \
        "rollouts:: out_of_memory:: lora::"
    fi
    ;;
  errors)
    build_device
    use_device
    errors
    ;;
  check)
    build_device
    build_program
    check
    ;;
  *)
    sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"
    [ "$command" = help ] || exit 2
    ;;
esac
