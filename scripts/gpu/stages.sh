# The stages of scripts/gpu_check.sh: each is a function `stage_NAME` whose output is the stage's log. What it prints as
# `FIGURES {...}` goes into the record, `SKIPPED why` says that there was nothing to do, the exit code says whether it worked.
# In the environment: LIMIT, a stage's seconds, WORK, CHECKPOINT, DRY, the shapes, and what `unpack` and `find_libraries` export.
# Not here: their order, time limits and records (scripts/gpu_check.sh).

figures() { "$PYTHON" scripts/gpu/figures.py "$@"; }
skip() { echo "SKIPPED $1"; }
have() { command -v "$1" >/dev/null 2>&1; }

# ---- before the stages

find_python() { # the first with torch, else the first
  local found seek='from importlib.util import find_spec; exit(not (find_spec("torch") and find_spec("transformers")))'
  for found in ${PYTHON:+"$PYTHON"} python3 python; do
    have "$found" || continue
    "$found" -c "$seek" && export PYTHON=$found HAS_TORCH=yes && return
  done
  for found in ${PYTHON:+"$PYTHON"} python3 python; do
    have "$found" && export PYTHON=$found HAS_TORCH='' && return
  done
  echo "gpu_check.sh: python3 is needed" >&2 && exit 2
}

# PACK's programs as BIN/othink, BIN/it, BIN/ops and BIN/cuda-NAME, and its wheels on Python's path. A missing one is no error
# here.
unpack() { # PACK
  local pack name found
  pack=$(cd "$1" && pwd)
  find_python
  export BIN=$WORK/bin WHEELS='' EMULATED=''
  mkdir -p "$BIN"
  if [ -n "$DRY" ]; then
    EMULATED=$pack
    for name in othink it othink_ops; do
      found=$(newest "$pack/program/debug/deps/$name"-* "$pack/program/debug/$name")
      [ -z "$found" ] || ln -sf "$found" "$BIN/${name#othink_}"
    done
    [ ! -x "$pack/program/debug/othink" ] || ln -sf "$pack/program/debug/othink" "$BIN/othink"
    for name in $(cuda_test_names); do
      found=$(newest "$pack/program/debug/deps/$name"-*)
      [ -z "$found" ] || ln -sf "$found" "$BIN/cuda-$name"
    done
    return
  fi
  for found in "$pack"/{othink,it,ops,cuda-*}; do
    [ ! -x "$found" ] || ln -s "$found" "$BIN/${found##*/}"
  done
  [ ! -e "$pack/programs.tar.xz" ] || "$PYTHON" -m tarfile -e "$pack/programs.tar.xz" "$BIN"
  if compgen -G "$pack/wheels/*.whl" >/dev/null; then
    WHEELS=$WORK/wheels
    for name in "$pack"/wheels/*.whl; do
      "$PYTHON" -m zipfile -e "$name" "$WHEELS" || echo "gpu_check.sh: cannot unpack $name" >&2
    done
  fi
}

cuda_test_names() { # the test programs of crates/cuda
  local file
  for file in crates/cuda/tests/*.rs; do [ ! -e "$file" ] || basename "$file" .rs; done
}

newest() { # FILE...: the newest that can be run, if any
  local file best=''
  for file in "$@"; do
    if [ -f "$file" ] && [ -x "$file" ] && { [ -z "$best" ] || [ "$file" -nt "$best" ]; }; then best=$file; fi
  done
  echo "$best"
}

# CUDA's libraries as torch has them, then those of a toolkit. The driver's own libcuda.so.1 must be found, never a stub.
find_libraries() {
  export CUDA_LIBRARIES CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
  export PATH=$BIN:$PATH:$CUDA_HOME/bin HF_HUB_OFFLINE=1 HF_ENDPOINT=http://127.0.0.1:9 TOKENIZERS_PARALLELISM=false
  if [ -n "$EMULATED" ]; then
    CUDA_LIBRARIES=$EMULATED/lib
  else
    CUDA_LIBRARIES=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"] + "/nvidia/cu13/lib")')
    CUDA_LIBRARIES=$CUDA_LIBRARIES:$CUDA_HOME/lib64
    ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' || CUDA_LIBRARIES=$CUDA_LIBRARIES:/usr/local/nvidia/lib64:/usr/local/nvidia/lib
  fi
}

# Programs of ours see these libraries; Python keeps to its own.
ours() { LD_LIBRARY_PATH=$CUDA_LIBRARIES${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$@"; }
with_wheels() { PYTHONUNBUFFERED=1 PYTHONPATH=$WHEELS${PYTHONPATH:+:$PYTHONPATH} "$PYTHON" "$@"; }

# In the background: `CHECKPOINT/done` or `CHECKPOINT/failed` says that it has ended.
make_checkpoint() {
  local size=2b
  mkdir -p "$CHECKPOINT"
  if [ -n "$DRY" ] && [ -z "$HAS_TORCH" ]; then
    cp -r tests/golden/micro/policy/. "$CHECKPOINT" && touch "$CHECKPOINT/done"
    return
  fi
  [ -z "$DRY" ] || size=micro
  if [ -z "$HAS_TORCH" ]; then echo "no Python with torch" >"$CHECKPOINT/failed" && return; fi
  with_wheels scripts/gpu/random_checkpoint.py "$CHECKPOINT" --size "$size" && touch "$CHECKPOINT/done" && return
  echo "it could not be written" >"$CHECKPOINT/failed"
}

need_checkpoint() { # fails where there is none
  until [ -e "$CHECKPOINT/done" ] || [ -e "$CHECKPOINT/failed" ]; do sleep 0.2; done
  [ -e "$CHECKPOINT/done" ] || { echo "the checkpoint: $(cat "$CHECKPOINT/failed")" && return 1; }
}

driver_library() { # where programs of ours find it
  local folder
  for folder in ${CUDA_LIBRARIES//:/ }; do
    if [ -e "$folder/libcuda.so.1" ]; then echo "$folder/libcuda.so.1" && return; fi
  done
  ldconfig -p 2>/dev/null | awk '/libcuda\.so\.1/ { print $NF; exit }'
}

need_program() { # NAME WHAT: fails where the pack lacks it
  [ -x "$BIN/$1" ] || { echo "the pack has no $1" && return 1; }
}

# Splits PxGxT into three words.
shape() { echo "${1//x/ }"; }

# ---- machine, device, kernels

stage_machine() {
  local missing='' name gpu=''
  if have nvidia-smi; then
    gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader) || missing+="no GPU answers; "
  elif [ -z "$DRY" ]; then
    missing+="no nvidia-smi; "
  fi
  for name in othink it ops $(cuda_test_names | sed 's/^/cuda-/'); do
    if [ -x "$BIN/$name" ]; then
      ours ldd "$BIN/$name"
      missing+=$(ours ldd "$BIN/$name" 2>&1 | grep 'not found' | sort -u | sed "s/^[[:space:]]*/$name: /" | tr '\n' ';')
    else
      missing+="no $name in the pack; "
    fi
  done
  ours "$BIN/othink" --version
  uname -srm && nproc && free -g && df -h /dev/shm "$WORK"
  GPU=$gpu MISSING=$missing CUDA=$(nvcc --version 2>/dev/null | tail -n 2 | head -n 1) \
    LIBC=$(ldd --version 2>&1 | head -n 1) LIBCUDA=$(driver_library) \
    with_wheels - <<'PYTHON'
import importlib.metadata, json, os, platform

def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

found = {key.lower(): os.environ.get(key) for key in ("GPU", "CUDA", "LIBC", "LIBCUDA", "MISSING")}
found["python"] = platform.python_version()
found |= {name: version(name) for name in ("torch", "transformers", "trl", "datasets", "accelerate", "pyarrow")}
print("FIGURES " + json.dumps(found))
PYTHON
  echo "${missing:-nothing is missing}"
  [ -z "$missing" ] || [ -n "$DRY" ]
}

stage_doctor() {
  local code
  need_program othink || return
  ours othink doctor --device cuda --json | tee "$WORK/doctor.json"
  code=${PIPESTATUS[0]}
  figures doctor "$WORK/doctor.json"
  return "$code"
}

stage_driver() { scripts/gpu/driver.sh; }

# On the device, for SECONDS at most, from the folder of the tests' package: cargo starts tests there, and they find their files
# from there.
run_tests() { # SECONDS PREFIX FOLDER PROGRAM ARGUMENT...
  local code seconds=$1 prefix=$2 folder=$3 program=$4
  shift 4
  (cd "$folder" && OTHINK_TEST_DEVICE=cuda RUST_BACKTRACE=0 ours timeout -k 1 "$seconds" "$BIN/$program" "$@" \
    --test-threads 1 --nocapture) 2>&1 | tee "$WORK/tests.out"
  code=${PIPESTATUS[0]}
  figures tests "$prefix" "$WORK/tests.out"
  return "$code"
}

has_kernel_tests() { [ -x "$BIN/ops" ] && ours "$BIN/ops" cuda:: --list 2>/dev/null | grep -q ': test$'; }

stage_kernels() {
  has_kernel_tests || { skip "no ops in the pack, or no tests cuda:: in it" && return; }
  run_tests "$((LIMIT - 3))" '' crates/ops ops cuda::
}

cuda_tests() { # SECONDS ARGUMENT...: each test program of crates/cuda in turn
  local programs=() program code=0
  for program in "$BIN"/cuda-*; do [ ! -x "$program" ] || programs+=("${program##*/cuda-}"); done
  for program in "${programs[@]}"; do
    run_tests "$(($1 / ${#programs[@]}))" "${program}_" crates/cuda "cuda-$program" "${@:2}" || code=1
  done
  return "$code"
}

stage_cuda_tests() {
  compgen -G "$BIN/cuda-*" >/dev/null || { skip "no test of crates/cuda in the pack" && return; }
  cuda_tests "$((LIMIT - 4))"
}

# Tests of kernels that are ignored elsewhere print times.
stage_kernel_times() {
  local half=$(((LIMIT - 4) / 2)) code=0
  [ -z "$DRY" ] || { skip "times of the emulated device mean nothing" && return; }
  if has_kernel_tests; then run_tests "$half" ops_ crates/ops ops cuda:: --ignored || code=1; fi
  cuda_tests "$half" --ignored || code=1
  return "$code"
}

stage_parity() {
  local filters=(parity:: training_parity:: rollouts::)
  need_program it || return
  [ -z "$DRY" ] || filters=(parity::every_hidden_state)
  filters+=(--skip rollouts::a_runs_completions) # a run of the program, by the path where it was built
  run_tests "$((LIMIT - 3))" '' . it "${filters[@]}"
}

# ---- the program's runs

# The parts of an update at the paper's shape, with the program's own clock. Where less is computed again there may not be memory
# enough: how that ends is a figure.
stage_learn() {
  local code
  need_program othink || return
  measure_learning $((LIMIT * 50 / 100)) full 3
  code=$?
  measure_learning $((LIMIT * 25 / 100)) mlp 1
  echo "FIGURES {\"mlp_exit_code\": $?}"
  measure_learning $((LIMIT * 20 / 100)) none 1
  echo "FIGURES {\"none_exit_code\": $?}"
  return "$code"
}
measure_learning() { # SECONDS CHECKPOINTING REPETITIONS
  local code size=(--prompts 8 --group-size 8 --completion-tokens 256 --image-side 32 --dtype bf16 --repetitions "$3")
  [ -z "$DRY" ] || size=(--model tiny --prompts 1 --group-size 2 --completion-tokens 8 --image-side 4 --copy-mb 4
    --product-side 128 --repetitions 1)
  ours timeout -k 1 "$1" othink gpu-check --device cuda --json --only ceilings,learning,optimizer --checkpointing "$2" "${size[@]}" |
    tee "$WORK/learn.jsonl"
  code=${PIPESTATUS[0]}
  figures learn "${2}_" "$WORK/learn.jsonl"
  return "$code"
}

# Steps of decoding of as many rows as the paper's shape has, and of fewer and more; with its launches one by one, too.
stage_decoding() {
  local code=0
  need_program othink || return
  measure_decoding 8x8_ 8 8 || code=1
  OTHINK_CUDA_GRAPHS=0 measure_decoding 8x8_no_graphs_ 8 8 || code=1
  [ -n "$DRY" ] || { measure_decoding 1x1_ 1 1 && measure_decoding 4x4_ 4 4 && measure_decoding 16x8_ 16 8; } || code=1
  return "$code"
}
measure_decoding() { # PREFIX PROMPTS GROUP
  local code size=(--prompts "$2" --group-size "$3" --completion-tokens 256 --image-side 32 --dtype bf16 --repetitions 3)
  [ -z "$DRY" ] || size=(--model tiny --prompts 1 --group-size 2 --completion-tokens 8 --image-side 4 --copy-mb 4
    --product-side 128 --repetitions 1)
  ours timeout -k 1 "$((LIMIT / 3))" othink gpu-check --device cuda --json --only ceilings,decoding "${size[@]}" | tee "$WORK/decoding.jsonl"
  code=${PIPESTATUS[0]}
  figures learn "$1" "$WORK/decoding.jsonl"
  return "$code"
}

# The other families' shapes, and low-rank factors, in sampling and in learning.
stage_families() {
  local code=0
  need_program othink || return
  measure_shape qwen3_vl_2b_ Qwen/Qwen3-VL-2B-Instruct || code=1
  measure_shape qwen2_5_vl_3b_ Qwen/Qwen2.5-VL-3B-Instruct || code=1
  measure_shape qwen2_vl_2b_lora_ Qwen/Qwen2-VL-2B-Instruct --lora-rank 16 || code=1
  measure_shape qwen3_vl_8b_lora_ Qwen/Qwen3-VL-8B-Instruct --lora-rank 16 || code=1
  return "$code"
}
measure_shape() { # PREFIX MODEL [OPTION...]
  local code size=(--model "$2" --prompts 4 --group-size 8 --completion-tokens 128 --image-side 32 --dtype bf16 --repetitions 2)
  [ -z "$DRY" ] || size=(--model tests/golden/families/qwen3_vl/tied --prompts 1 --group-size 2 --completion-tokens 8 --image-side 4 --copy-mb 4
    --product-side 128 --repetitions 1)
  ours timeout -k 1 "$((LIMIT / 4))" othink gpu-check --device cuda --json --only decoding,learning,optimizer "${size[@]}" "${@:3}" |
    tee "$WORK/shape.jsonl"
  code=${PIPESTATUS[0]}
  figures learn "$1" "$WORK/shape.jsonl"
  return "$code"
}

# NAME DTYPE: three updates of the built-in model, seeded, into WORK/NAME.
train_tiny() {
  local size=(--set train.updates=3 --set grpo.prompts_per_update=8)
  [ -z "$DRY" ] || size=(--set train.updates=2 --set grpo.prompts_per_update=2 --set grpo.group_size=2 --set rollout.max_new_tokens=8)
  ours othink train --config quickstart.toml --quiet --device cuda --set "model.dtype=$2" "${size[@]}" \
    --set eval.before_training=false --set eval.after_training=false --set train.checkpoint_every=0 --out "$WORK/$1"
}

stage_quickstart() {
  local dtype code=0
  need_program othink || return
  for dtype in f32 bf16; do
    if train_tiny "quickstart-$dtype" "$dtype"; then figures run "${dtype}_" "$WORK/quickstart-$dtype"; else code=1; fi
  done
  return "$code"
}

# Once more what `quickstart` did, or twice: the weights must be the same bits.
stage_same_bits() {
  local dtype first second code=0
  need_program othink || return
  for dtype in f32 bf16; do
    [ -e "$WORK/quickstart-$dtype/finished" ] || train_tiny "quickstart-$dtype" "$dtype" || code=1
    train_tiny "again-$dtype" "$dtype" || code=1
    first=$(weights_hash "$WORK/quickstart-$dtype") second=$(weights_hash "$WORK/again-$dtype")
    echo "$dtype: $first $second"
    if [ -n "$first" ] && [ "$first" = "$second" ]; then
      echo "FIGURES {\"$dtype\": \"same bits\"}"
    else
      echo "FIGURES {\"$dtype\": \"other bits\"}"
      code=1
    fi
  done
  return "$code"
}
weights_hash() { cat "$1"/checkpoints/*/model*.safetensors 2>/dev/null | sha256sum | grep -v '^e3b0c442' | cut -c1-16; }

# Runs a command while nvidia-smi notes the memory in use.
with_peak() {
  local sampler='' code
  if have nvidia-smi; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$WORK/memory" 2>/dev/null &
    sampler=$!
    sleep 0.5
  fi
  "$@"
  code=$?
  [ -z "$sampler" ] || { kill "$sampler" && figures peak "$WORK/memory"; }
  return "$code"
}

# Two updates on a checkpoint of the real shapes; the second stage with all that takes less of the GPU's memory and trains every weight.
stage_policy() { two_updates; }
stage_least_memory() {
  two_updates --set optim.offload=true --set optim.gradients=bf16 --set train.tokens_per_micro_batch=4096
}
two_updates() { # [OPTION...]
  local n_prompts group new_tokens image=448 code=0 run=$CHECKPOINT.run
  need_program othink && need_checkpoint || return
  read -r n_prompts group new_tokens <<<"$(shape "$POLICY_SHAPE")"
  [ -z "$DRY" ] || { n_prompts=2 group=2 new_tokens=4 image=112; }
  rm -rf "$run"
  with_peak ours othink train --config grpo-synth-vc.toml --quiet --device cuda --out "$run" \
    --set "model.path=$CHECKPOINT" --set model.dtype=bf16 --set model.activation_checkpointing=true \
    --set "data.image_size=$image" --set "grpo.prompts_per_update=$n_prompts" --set "grpo.group_size=$group" \
    --set "rollout.min_new_tokens=$new_tokens" --set "rollout.max_new_tokens=$new_tokens" --set rollout.top_k=0 \
    --set train.updates=2 --set train.checkpoint_every=0 --set train.save_optimizer=false \
    --set eval.before_training=false --set eval.after_training=false "$@" || code=1
  [ ! -e "$run/metrics.jsonl" ] || figures run '' "$run"
  echo "FIGURES {\"shape\": \"${n_prompts}x${group}x$new_tokens, $image px\"}"
  rm -rf "$run"
  return "$code"
}

# ---- baselines

need_torch() { [ -n "$HAS_TORCH" ] || { skip "no torch" && return 1; }; }

stage_ceilings() {
  need_torch || return 0
  if [ -n "$DRY" ]; then with_wheels scripts/gpu/ceilings.py --gigabytes 0.01 --size 128; else with_wheels scripts/gpu/ceilings.py; fi
}

stage_torch_policy() {
  need_torch || return 0
  need_checkpoint || return
  local size=()
  [ -z "$DRY" ] || size=(--group 2 --new-tokens 4 --image 56 --repeats 1)
  with_wheels scripts/gpu/torch_policy.py --model "$CHECKPOINT" "${size[@]}"
}

on_rows() { # SCRIPT: a baseline with the shape of TRL_SHAPE
  local n_prompts group new_tokens image=448
  need_torch || return 0
  need_checkpoint || return
  read -r n_prompts group new_tokens <<<"$(shape "$TRL_SHAPE")"
  [ -z "$DRY" ] || { n_prompts=2 group=2 new_tokens=4 image=56; }
  with_wheels "scripts/gpu/$1" --model "$CHECKPOINT" --prompts "$n_prompts" --group "$group" --new-tokens "$new_tokens" \
    --image "$image" "${@:2}"
}
stage_generate() { on_rows generate.py; }
stage_trl() {
  need_torch || return 0
  with_wheels -c 'import trl' || { skip "no TRL" && return 0; }
  if [ -n "$DRY" ]; then on_rows trl_step.py --micro-batch 2; else on_rows trl_step.py; fi
}

# ---- tools that watch kernels

# The kernel tests if there are any, else the doctor's self-test: small launches of every kind.
kernel_launches() { # TOOL...
  if has_kernel_tests; then
    OTHINK_TEST_DEVICE=cuda ours "$@" "$BIN/ops" cuda:: --test-threads 1
  else
    ours "$@" "$BIN/othink" doctor --device cuda
  fi
}

stage_sanitizer() {
  have compute-sanitizer || { skip "no compute-sanitizer" && return; }
  local tool found code=0
  for tool in memcheck racecheck; do
    kernel_launches timeout 24 compute-sanitizer --tool "$tool" >"$WORK/$tool.log" 2>&1
    tail -n 60 "$WORK/$tool.log"
    found=$(grep -oE '(ERROR SUMMARY|RACECHECK SUMMARY): [0-9]+' "$WORK/$tool.log" | tail -n 1 | grep -oE '[0-9]+$')
    echo "FIGURES {\"$tool\": ${found:-null}}"
    [ "${found:-1}" = 0 ] || code=1
  done
  return "$code"
}

stage_ncu() {
  have ncu || { skip "no ncu" && return; }
  local metrics=gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,sm__throughput.avg.pct_of_peak_sustained_elapsed,launch__registers_per_thread
  metrics+=,sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active
  kernel_launches timeout 25 ncu --clock-control none --csv --print-units base --kill yes --metrics "$metrics" --launch-count 600 >"$WORK/tests.csv" 2>"$WORK/ncu.err"
  grep '^==' "$WORK/tests.csv" | tail -n 5
  figures ncu tests_ "$WORK/tests.csv"
  need_program othink && need_checkpoint || return
  ours timeout 30 ncu --clock-control none --csv --print-units base --kill yes --metrics "$metrics" --launch-skip 1500 --launch-count 300 \
    "$BIN/othink" infer --model "$CHECKPOINT" --image "$(find tests/golden/micro/images -name '*.png' | sort | tail -n 1)" \
    --prompt 'How many?' --max-new-tokens 4 --device cuda --dtype bf16 >"$WORK/infer.csv" 2>>"$WORK/ncu.err"
  grep '^==' "$WORK/infer.csv" | tail -n 5
  figures ncu infer_ "$WORK/infer.csv"
  tail -n 3 "$WORK/ncu.err"
  grep -q '"gpu__time_duration.sum"' "$WORK/tests.csv" "$WORK/infer.csv"
}
