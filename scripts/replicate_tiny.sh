#!/bin/sh
# The paper's experiment on the drawn twins, from the built-in tiny model, three seeds: Table 1, Figures 1, 4, 5, 6 and 7.
#
#     scripts/replicate_tiny.sh [SEEDS]
#
# 1. cross-eval trains SFT, GRPO and GRPO-D on each task and tests each on both: Table 1 and Figure 7.
# 2. sweep varies the format's weight alpha (Figure 4) and the KL weight beta (Figure 6) on the geometry task, as in the paper.
# 3. report draws the training curves (Figures 1 and 5).
#
# Everything lands in target/replication; what is there already is not computed again, so that an interrupted replication goes
# on where it was. Tables are then written into docs/replication.md, charts beside it. Needs Python 3.11 for the last
# step (nothing beyond its standard library).
set -eu
cd "$(dirname "$0")/.."
seeds=${1:-3}
out=target/replication
figures=docs/replication
mkdir -p "$out" "$figures"
cargo build --release --locked --bin othink
othink=target/release/othink
start=$(date +%s)
# The time of interrupted attempts counts too.
note_time() { echo "$(($(date +%s) - start))" >>"$out/wall_s"; }
trap note_time EXIT

# Each run measures itself during training, for the curves; the test at its end is a separate evaluation of all 500 questions.
common="--runs $out/runs --seeds $seeds --json
  --set eval.before_training=true --set eval.after_training=true --set eval.limit=100 --set train.eval_every=25"

# shellcheck disable=SC2086
$othink cross-eval --train synth-gr,synth-vc --test synth-gr,synth-vc $common \
  --plot "$figures/figure7.svg" >"$out/cross.json"

# The sweeps' runs are measured on the same 500 test questions.
sweep="--config grpo-synth-gr.toml --runs $out/runs --seeds $seeds --json
  --set eval.before_training=false --set eval.after_training=false"
# shellcheck disable=SC2086
$othink sweep $sweep --vary reward.alpha=0,0.25,0.5,0.75,1 --plot "$figures/figure4.svg" >"$out/alpha.json"
# shellcheck disable=SC2086
$othink sweep $sweep --vary kl.beta=0,0.01,0.02,0.03,0.04,0.05 --plot "$figures/figure6.svg" >"$out/beta.json"

# Runs of one configuration are drawn as their mean with a band.
for task in synth-gr synth-vc; do
  runs=$(grep -l 'eval_every = 25' "$out"/runs/"$task"-*/config.toml | xargs -n1 dirname)
  # shellcheck disable=SC2086
  $othink report $runs --out "$out/$task.html" --plots "$out/$task-plots" >/dev/null
  cp "$out/$task-plots/evaluation_accuracy.svg" "$figures/figure1-$task.svg"
  cp "$out/$task-plots/accuracy_reward.svg" "$figures/figure5-accuracy-$task.svg"
  cp "$out/$task-plots/format_reward.svg" "$figures/figure5-format-$task.svg"
done
trap - EXIT
note_time
python3 scripts/replication_report.py "$out" docs/replication.md
