#!/usr/bin/env python3
"""The baseline of a whole update: TRL's GRPOTrainer on a GPU.

    trl_step.py --model DIR [--prompts 8] [--group 8] [--new-tokens 256] [--image 448] [--steps 2] [--micro-batch 8]

The paper's objective and R1-V's numbers (as benches/vs_trl has them), TRL's own choices for speed and memory: bf16, SDPA,
fused AdamW, gradient checkpointing, one micro-batch at a time. Every completion has full length. The first update
warms up; `step_s` lists all of them, the stages are the last one's.
Not here: the comparison on the CPU (benches/vs_trl).
"""
import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from workload import QUESTION, device, figures, images, peak_gb, synchronize

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benches" / "vs_trl"))
from trl_grpo import accuracy_reward, data_set, format_reward  # noqa: E402


def settings(args, out):
    from trl import GRPOConfig

    on_gpu = device() == "cuda"
    return GRPOConfig(
        output_dir=out,
        # The objective.
        beta=0.04, loss_type="grpo", scale_rewards="group", use_bias_correction_kl=False, epsilon=0.2,
        num_iterations=1,
        # The rollouts.
        num_generations=args.group, max_completion_length=args.new_tokens,
        generation_kwargs={"min_new_tokens": args.new_tokens}, temperature=1.0, top_p=1.0, top_k=0,
        # One update.
        per_device_train_batch_size=args.micro_batch,
        gradient_accumulation_steps=args.prompts * args.group // args.micro_batch,
        max_steps=args.steps, learning_rate=1e-6, lr_scheduler_type="linear", max_grad_norm=1.0, weight_decay=0.0,
        # Numbers and memory.
        model_init_kwargs={"dtype": "bfloat16" if on_gpu else "float32", "attn_implementation": "sdpa"},
        bf16=on_gpu, use_cpu=not on_gpu, gradient_checkpointing=True, seed=42,
        # Nothing beside training.
        save_strategy="no", report_to="none", logging_steps=1, disable_tqdm=True, dataloader_pin_memory=False,
    )


class Clock:
    """Seconds spent inside methods of the trainer, by name."""

    def __init__(self, trainer, names):
        self.spent = Counter()
        for name in names:
            self.watch(trainer, name)

    def watch(self, trainer, name):
        method = getattr(trainer, name)

        def timed(*arguments, **options):
            synchronize()
            start = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                synchronize()
                self.spent[name] += time.perf_counter() - start

        setattr(trainer, name, timed)


def run(args, folder):
    from transformers import AutoProcessor, TrainerCallback
    from trl import GRPOTrainer

    watched = ("_generate_single_turn", "_generate_and_score_completions", "training_step")

    class Steps(TrainerCallback):
        """Reports every update when it ends."""

        times, start, clock = [], 0.0, None

        def on_step_begin(self, *_, **__):
            synchronize()
            self.start = time.perf_counter()
            self.clock.spent.clear()

        def on_step_end(self, *_, **__):
            synchronize()
            self.times.append(time.perf_counter() - self.start)
            sampled, scored, trained = (self.clock.spent[name] for name in watched)
            figures(
                step_s=self.times, s_generate=sampled, s_score=scored - sampled, s_policy=trained - scored,
                s_optimizer=self.times[-1] - trained, peak_gb=peak_gb(),
            )

    dataset = data_set(QUESTION, images(args.prompts * args.steps, args.image), "6")
    steps = Steps()
    trainer = GRPOTrainer(
        model=args.model, reward_funcs=[accuracy_reward, format_reward], args=settings(args, folder),
        train_dataset=dataset, processing_class=AutoProcessor.from_pretrained(args.model), callbacks=[steps],
    )
    steps.clock = Clock(trainer, watched)
    trainer.train()
    lengths = {entry["completions/mean_length"] for entry in trainer.state.log_history
               if "completions/mean_length" in entry}
    figures(completion_tokens=sorted(lengths), prompts=args.prompts, group=args.group)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--image", type=int, default=448)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=8, help="completions in one forward pass")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(args, folder)


if __name__ == "__main__":
    main()
