#!/usr/bin/env python3
"""Time TRL's GRPOTrainer on the CPU: the other side of this comparison.

    trl_grpo.py --model DIR --data FILE.jsonl [--group-size 8] [--completion-length 32]
                [--updates 5] [--threads 2] [--seed 42]

Trains on the first row of FILE ({"image_path", "problem", "solution"}, the image beside the file),
one prompt and its group of completions an update, and prints one JSON object:
{"s_per_update": [...], "peak_rss_bytes", "prompt_tokens", "completion_tokens", "versions", ...}.
The first update warms up and is not among the times. An update's time runs from the end of the one
before to its own end: rollout, rewards, reference, policy, backward pass and optimiser.

The settings are the paper's objective and R1-V's numbers, not TRL's defaults (beta 0, DAPO loss,
gradient checkpointing). Everything that makes TRL faster at equal results is left as TRL has it:
SDPA attention, fused AdamW, no logging of completions, nothing saved. Completions have a fixed
length, the end-of-text tokens being suppressed, so that both programs do the same work.
"""
import argparse
import json
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder in the Hugging Face layout")
    parser.add_argument("--data", required=True, help="JSON lines; the first row is used")
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--completion-length", type=int, default=32)
    parser.add_argument("--updates", type=int, default=5, help="timed ones, after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


def read_row(path):
    """The first row, its image opened."""
    from PIL import Image

    with open(path, encoding="utf-8") as lines:
        row = json.loads(next(lines))
    row["image"] = Image.open(Path(path).parent / row["image_path"]).convert("RGB")
    return row


def format_reward(completions, **_):
    pattern = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
    return [float(bool(pattern.fullmatch(text(completion)))) for completion in completions]


def accuracy_reward(completions, solution, **_):
    def answer(completion):
        found = re.search(r"<answer>\s*(.*?)\s*</answer>", text(completion), re.DOTALL)
        return found and found.group(1)

    return [float(answer(c) == str(s)) for c, s in zip(completions, solution, strict=True)]


def text(completion):
    return completion[0]["content"]


def settings(args, folder):
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=folder,
        # The objective.
        beta=0.04,
        loss_type="grpo",
        scale_rewards="group",
        use_bias_correction_kl=False,
        epsilon=0.2,
        num_iterations=1,
        # The rollouts.
        num_generations=args.group_size,
        max_completion_length=args.completion_length,
        generation_kwargs={"min_new_tokens": args.completion_length},
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        # One prompt an update.
        per_device_train_batch_size=args.group_size,
        gradient_accumulation_steps=1,
        max_steps=args.updates + 1,
        learning_rate=1e-6,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        weight_decay=0.0,
        # Full precision on the CPU, no recomputation.
        model_init_kwargs={"dtype": "float32"},
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        fp16=False,
        seed=args.seed,
        # Nothing beside training.
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def run(args):
    import torch
    from datasets import Dataset
    from transformers import AutoProcessor, PrinterCallback, TrainerCallback
    from trl import GRPOTrainer

    torch.set_num_threads(args.threads)

    class Clock(TrainerCallback):
        """Notes when each update ends."""

        def __init__(self):
            self.ends = []

        def on_step_end(self, *_, **__):
            self.ends.append(time.perf_counter())

    row = read_row(args.data)
    messages = [{"role": "user", "content": row["problem"]}]
    rows = args.updates + 1
    dataset = Dataset.from_dict({
        "prompt": [messages] * rows,
        "image": [row["image"]] * rows,
        "solution": [str(row["solution"])] * rows,
    })
    processor = AutoProcessor.from_pretrained(args.model)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=args.model,
            reward_funcs=[accuracy_reward, format_reward],
            args=settings(args, folder),
            train_dataset=dataset,
            processing_class=processor,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    logs = [entry for entry in trainer.state.log_history if "completions/mean_length" in entry]
    lengths = {entry["completions/mean_length"] for entry in logs}
    if lengths != {float(args.completion_length)}:
        sys.exit(f"completions are {lengths} tokens long, expected {args.completion_length}")
    return {
        "s_per_update": [after - before for before, after in zip(clock.ends, clock.ends[1:])],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "prompt_tokens": prompt_tokens(processor, row),
        "completion_tokens": args.completion_length,
        "group_size": args.group_size,
        "image": list(row["image"].size),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "kl": [entry.get("kl") for entry in logs],
        "threads": args.threads,
        "versions": versions(),
    }


def prompt_tokens(processor, row):
    content = [{"type": "image"}, {"type": "text", "text": row["problem"]}]
    messages = [{"role": "user", "content": content}]
    rendered = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return len(processor(text=[rendered], images=[row["image"]])["input_ids"][0])


def versions():
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "trl", "accelerate")}


def main():
    args = arguments()
    # Read once, when torch is imported.
    os.environ.update(OMP_NUM_THREADS=str(args.threads), CUDA_VISIBLE_DEVICES="")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(json.dumps(run(args)))


if __name__ == "__main__":
    main()
