#!/usr/bin/env bash
# Everything that a few minutes with one GPU can tell about this program, in stages that cannot stop one another.
#
#     scripts/gpu_check.sh [OPTION...] PACK       PACK is what scripts/gpu_pack.sh made, on this machine or another
#
#     --only STAGE,...     these stages alone, in the order below
#     --shape PxGxT        prompts, group size and new tokens of the stages `policy` and `least-memory` (2x8x64)
#     --trl-shape PxGxT    the same of the stages `generate` and `trl` (8x8x256)
#     --within SECONDS     stages that no longer fit into this time are skipped
#     --dry                tiny sizes on the emulated device; PACK is the folder of scripts/emulated_cuda.sh, which built it
#     --list               the stages and the seconds that each may take
#
# OUT names the folder for check.jsonl, a JSON object a stage (benches/results/gpu-check by default), and five logs. PYTHON is a
# Python with torch and transformers; without one the baselines are skipped. A checkpoint of Qwen2-VL-2B's shapes is
# written meanwhile, to /dev/shm where it fits. The GPU's settings are left alone. The exit code is 1 if a stage failed.
#
# Not here: what the stages do (scripts/gpu/stages.sh).
set -u
cd "$(dirname "$0")/.." || exit 1

# Name, seconds, log. `driver` compares the emulated device with the real one.
stages="machine 20 machine
doctor 30 machine
driver 40 machine
kernels 40 kernels
cuda-tests 40 kernels
kernel-times 60 kernels
parity 60 kernels
learn 90 training
decoding 60 training
ceilings 25 baselines
quickstart 40 training
same-bits 40 training
policy 60 training
least-memory 60 training
families 80 training
torch-policy 40 baselines
generate 45 baselines
trl 100 baselines
sanitizer 50 profile
ncu 60 profile"

usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; }
fail() { echo "gpu_check.sh: $1" >&2 && exit 2; }

only='' within=100000 pack='' inside=''
export DRY='' POLICY_SHAPE=2x8x64 TRL_SHAPE=8x8x256
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=,${2:?--only needs stages},; shift ;;
    --shape) POLICY_SHAPE=${2:?}; shift ;;
    --trl-shape) TRL_SHAPE=${2:?}; shift ;;
    --within) within=${2:?}; shift ;;
    --dry) DRY=yes ;;
    --list) echo "$stages" | cut -d' ' -f1,2 && exit ;;
    --help) usage && exit ;;
    --inside) inside=${2:?}; shift ;; # one stage, in the environment that the check has set up
    -*) usage >&2 && exit 2 ;;
    *) pack=$1 ;;
  esac
  shift
done
if [ -n "$inside" ]; then
  . scripts/gpu/stages.sh
  "stage_${inside//-/_}"
  exit
fi
[ -d "$pack" ] || fail "no folder of programs: scripts/gpu_pack.sh makes one"
for stage in ${only//,/ }; do
  echo "$stages" | grep -q "^$stage " || fail "no stage $stage; --list names them"
done

out=${OUT:-benches/results/gpu-check}
mkdir -p "$out" || fail "cannot write to $out"
out=$(cd "$out" && pwd)
WORK=$(mktemp -d) || exit 1
export WORK CHECKPOINT=$WORK/checkpoint
[ "$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')0" -lt 300000000 ] || CHECKPOINT=$(mktemp -d -p /dev/shm)
records=$out/check.jsonl
: >"$records"
for log in machine kernels training baselines profile; do : >"$out/$log.log"; done
. scripts/gpu/stages.sh
background=()
finish() { # every process that was left in the background, and the folders
  [ "${#background[@]}" = 0 ] || kill "${background[@]}" 2>/dev/null
  rm -rf "$WORK" "$CHECKPOINT" "$CHECKPOINT.run"
}
trap finish EXIT
trap 'exit 130' INT TERM

wanted() { [ -z "$only" ] || [[ $only == *,$1,* ]]; }

record() { # STAGE SECONDS CODE LOG
  "$PYTHON" scripts/gpu/record.py stage "$@" >>"$records" ||
    printf '{"stage": "%s", "seconds": %s, "status": "failed", "reason": "no record", "figures": {}}\n' "$1" "$2" >>"$records"
}

run_stage() { # NAME SECONDS LOG
  local log=$WORK/$1.log start=${EPOCHREALTIME/./} code
  [ -z "$DRY" ] || set -- "$1" "$(($2 * 4))" "$3" # the emulated device's speed is that of the CPU
  if [ $((SECONDS + $2)) -gt "$within" ]; then
    echo "SKIPPED it may take $2 s, and $((within - SECONDS)) s are left" >"$log"
    code=0
  else
    LIMIT=$2 timeout -k 5 "$2" bash "$0" --inside "$1" ${DRY:+--dry} --shape "$POLICY_SHAPE" --trl-shape "$TRL_SHAPE" \
      >"$log" 2>&1 </dev/null
    code=$?
  fi
  record "$1" "$(((${EPOCHREALTIME/./} - start) / 1000))e-3" "$code" "$log"
  { echo "==== $1" && tail -c 1500000 "$log"; } >>"$out/$3.log"
  tail -n 1 "$records" | cut -c1-600
}

unpack "$pack"
find_libraries
if wanted policy || wanted least-memory || wanted torch-policy || wanted generate || wanted trl; then
  make_checkpoint >"$WORK/checkpoint.log" 2>&1 </dev/null &
  background+=($!)
fi
while read -r name seconds log; do
  ! wanted "$name" || run_stage "$name" "$seconds" "$log"
done <<<"$stages"
[ ! -s "$WORK/checkpoint.log" ] || { echo "==== checkpoint" && tail -c 20000 "$WORK/checkpoint.log"; } >>"$out/baselines.log"

echo
"$PYTHON" scripts/gpu/record.py table "$records"
! grep -qE '"status": "(failed|timeout)"' "$records"
