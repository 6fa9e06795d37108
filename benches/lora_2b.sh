#!/bin/sh
# A real update of models of two billion parameters on the CPU, with low-rank factors: Qwen2-VL-2B's and Qwen3-VL-2B's shapes with
# random weights, rank 16, four completions of 32 tokens for one picture of 448 x 448. Prints the plan beside time and peak.
#
#     benches/lora_2b.sh
#
# Needs 24 GB of memory, 9 GB of disk, Python with numpy; a quarter of an hour on 2 cores.
set -eu
cd "$(dirname "$0")/.."
out=target/lora-2b
mkdir -p "$out"
cargo build --release --locked --bin othink
othink=target/release/othink

# What the rewards are does not matter, but that they differ within a group: else there is nothing to learn.
cat >"$out/reward.py" <<'PYTHON'
import json, sys, zlib
for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps({"id": row["id"], "score": zlib.crc32(line.encode()) % 97 / 97}), flush=True)
PYTHON

for shape in Qwen2-VL-2B:micro/policy Qwen3-VL-2B:families/qwen3_vl/tied; do
  name=${shape%%:*}
  [ -d "$out/$name" ] || python3 scripts/reference/make_shape.py --config "assets/published/$name.json" \
    --processor "tests/golden/${shape#*:}" --out "$out/$name"
  run() {
    "$othink" train --config grpo-synth-vc.toml --device cpu --set model.path="$out/$name" --set model.lora.rank=16 \
      --set data.image_size=448 --set grpo.group_size=4 --set grpo.prompts_per_update=1 --set rollout.max_new_tokens=32 \
      --set rollout.min_new_tokens=32 --set train.updates=2 --set train.checkpoint_every=0 --set optim.lr=1e-5 \
      --set eval.before_training=false --set eval.after_training=false --set reward.command.program=python3 \
      --set "reward.command.args=[\"$PWD/$out/reward.py\"]" "$@"
  }
  rm -rf "$out/run-$name"
  run --dry-run --json >"$out/$name.plan.json"
  run --quiet --out "$out/run-$name" >/dev/null
  python3 - "$name" "$out/$name.plan.json" "$out/run-$name/metrics.jsonl" <<'PYTHON'
import json, sys
name, plan, metrics = sys.argv[1], json.load(open(sys.argv[2])), [json.loads(line) for line in open(sys.argv[3])]
last = metrics[-1]
planned, held = plan["memory"]["total"], last["peak_bytes"]
stages = ", ".join(f"{stage} {last['s_' + stage]:.1f}" for stage in ("rollout", "reference", "policy", "optimizer"))
print(f"{name}: {last['s_total']:.1f} s the second update ({stages}), gradient norm {last['grad_norm']:.2g}; "
      f"{held / 1e9:.2f} GB held, {planned / 1e9:.2f} GB planned ({planned / held:.2f})")
PYTHON
done
