#!/usr/bin/env python3
"""Time TRL's GRPOTrainer on the CPU: the other side of this comparison.

    trl_grpo.py --model DIR --data FILE.jsonl [--group-size 8] [--completion-length 32]
                [--updates 5] [--threads 2] [--seed 42] [--lora RANK]

Trains on the first row of FILE ({"image_path", "problem", "solution"}, the image beside the file),
one prompt and its group of completions an update, and prints one JSON object:
{"s_per_update": [...], "peak_rss_bytes", "prompt_tokens", "trained_parameters", "versions", ...}.
The first update warms up and is not among the times. An update's time runs from the end of the one
before to its own end: rollout, rewards, reference, policy, backward pass and optimiser.

The settings are the paper's objective and R1-V's numbers, not TRL's defaults (beta 0, DAPO loss,
gradient checkpointing). Everything that makes TRL faster at equal results is left as TRL has it:
SDPA attention, fused AdamW, no logging of completions, nothing saved. Completions have a fixed
length, the end-of-text tokens being suppressed, so that both programs do the same work. With --lora
peft's factors are trained on every linear map of the language model, and the reference is the model
without them, as TRL does it.
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
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="0: train the weights")
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


def data_set(problem, images, solution):
    """One row an image.

    It is given a fingerprint: to compute one fails where pyarrow is newer than datasets knows.
    """
    from datasets import Dataset, DatasetInfo, Features, Image, Value
    from datasets.table import InMemoryTable

    features = Features({
        "prompt": [{"role": Value("string"), "content": Value("string")}],
        "image": Image(),
        "solution": Value("string"),
    })
    columns = {
        "prompt": [[{"role": "user", "content": problem}]] * len(images),
        "image": [Image().encode_example(image) for image in images],
        "solution": [solution] * len(images),
    }
    table = InMemoryTable.from_pydict(columns, schema=features.arrow_schema)
    return Dataset(table, info=DatasetInfo(features=features), fingerprint="othink")


def factors(rank):
    """othink's `[model.lora]`: all of the language model's linear maps, no dropout."""
    from peft import LoraConfig

    maps = r".*language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
    return LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=maps
    )


def run(args):
    import torch
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
    images = [row["image"]] * (args.updates + 1)
    processor = AutoProcessor.from_pretrained(args.model)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=args.model,
            reward_funcs=[accuracy_reward, format_reward],
            args=settings(args, folder),
            train_dataset=data_set(row["problem"], images, str(row["solution"])),
            processing_class=processor,
            callbacks=[clock],
            peft_config=factors(args.lora) if args.lora else None,
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
        "prompt_tokens": int(logs[0]["num_tokens"] / args.group_size) - args.completion_length,
        "completion_tokens": args.completion_length,
        "group_size": args.group_size,
        "image": list(row["image"].size),
        "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "kl": [entry.get("kl") for entry in logs],
        "threads": args.threads,
        "versions": versions(args.lora),
    }


def versions(has_factors):
    from importlib.metadata import version

    names = ["torch", "transformers", "trl", "accelerate"] + ["peft"] * bool(has_factors)
    return {name: version(name) for name in names}


def main():
    args = arguments()
    # Read once, when torch is imported.
    os.environ.update(OMP_NUM_THREADS=str(args.threads), CUDA_VISIBLE_DEVICES="")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(json.dumps(run(args)))


if __name__ == "__main__":
    main()
