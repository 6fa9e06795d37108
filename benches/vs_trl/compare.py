#!/usr/bin/env python3
"""Compare `othink train` with TRL's GRPOTrainer on the same checkpoints, image and numbers.

    compare.py --model DIR... --othink target/release/othink [--lora RANK...]
               [--image-sizes 224 448] [--updates 5] [--rounds 2] [--group-size 8]
               [--completion-length 32] [--threads 2] [--only trl|othink] [--out benches/results]

For each checkpoint, rank of low-rank factors (0: the weights themselves are trained, the default)
and image size the two programs run in turn, `--rounds` times, each in a process of its own; medians
over all timed updates are compared. Both must train as many numbers on prompts and completions of
as many tokens. Prints a table and writes OUT/vs_trl-DATE-MACHINE.json with every single time. Run
it with the Python of requirements.txt; `run.sh` makes one.
"""
import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PROBLEM = (
    "How many different items are there in the image?  Output the thinking process in "
    "<think> </think> and final answer (number) in <answer> </answer> tags."
)

# The same settings as `settings` in trl_grpo.py.
RUN_FILE = """\
method = "grpo"

[model]
path = {model}
dtype = "f32"
device = "cpu"
freeze_vision = false
activation_checkpointing = false

[data]
train = {data}
template = "{{problem}}"
min_pixels = {min_pixels}
max_pixels = {max_pixels}

[grpo]
group_size = {group_size}
prompts_per_update = 1
updates_per_rollout = 1
clip_low = 0.2
clip_high = 0.2
mask_truncated = false

[kl]
schedule = "constant"
beta = 0.04

[rollout]
temperature = 1.0
top_k = 0
top_p = 1.0
min_new_tokens = {completion_length}
max_new_tokens = {completion_length}

[optim]
lr = 1e-6
schedule = "linear"
weight_decay = 0.0
clip_norm = 1.0

[train]
updates = {updates}
seed = 42
checkpoint_every = 0
save_optimizer = false
"""


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, help="folders of checkpoints")
    parser.add_argument("--othink", default="target/release/othink")
    parser.add_argument("--lora", type=int, nargs="+", default=[0], metavar="RANK", help="0: none")
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[224, 448])
    parser.add_argument("--updates", type=int, default=5, help="timed ones, after one to warm up")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--completion-length", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["trl", "othink"])
    parser.add_argument("--out", default=str(HERE.parent / "results"))
    return parser.parse_args()


def write_data(folder, size):
    """One question about a drawn image of `size` x `size` pixels."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (size, size), (200, 205, 210))
    draw = ImageDraw.Draw(image)
    step = size // 4
    for row, colors in enumerate([("red", "teal", "gold"), ("navy", "plum", "olive")]):
        for column, color in enumerate(colors):
            left, top = step // 2 + column * step, step // 2 + row * 2 * step
            box = [left, top, left + step * 3 // 4, top + step * 3 // 4]
            (draw.ellipse if (row + column) % 2 else draw.rectangle)(box, fill=color)
    image.save(folder / "scene.png")
    row = {"image_path": "scene.png", "problem": PROBLEM, "solution": "6"}
    path = folder / "data.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def pixel_limits(model):
    """The smallest and the largest number of pixels that the checkpoint's image processor makes."""
    found = json.loads((Path(model) / "preprocessor_config.json").read_text(encoding="utf-8"))
    size = found.get("size", {})
    return (
        found.get("min_pixels", size.get("shortest_edge")),
        found.get("max_pixels", size.get("longest_edge")),
    )


def run_trl(args, case, data):
    command = [
        sys.executable, str(HERE / "trl_grpo.py"), "--model", case.model, "--data", str(data),
        "--group-size", str(args.group_size), "--completion-length", str(args.completion_length),
        "--updates", str(args.updates), "--threads", str(args.threads), "--lora", str(case.lora),
    ]
    return json.loads(output_of(command, {}).splitlines()[-1])


def othink_train(args, case, data):
    """`othink train` with the run file of the case."""
    run_file = data.parent / "run.toml"
    min_pixels, max_pixels = pixel_limits(case.model)
    run_file.write_text(RUN_FILE.format(
        model=json.dumps(str(Path(case.model).resolve())), data=json.dumps(str(data.resolve())),
        group_size=args.group_size, completion_length=args.completion_length,
        updates=args.updates + 1, min_pixels=min_pixels, max_pixels=max_pixels,
    ), encoding="utf-8")
    command = [args.othink, "train", "--config", str(run_file)]
    if case.lora:
        sets = {"model.lora.rank": case.lora, "model.lora.alpha": 2 * case.lora}
        command += [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    return command


def run_othink(args, case, data):
    command, threads = othink_train(args, case, data), {"RAYON_NUM_THREADS": str(args.threads)}
    plan = json.loads(output_of([*command, "--dry-run", "--json"], threads))
    with tempfile.TemporaryDirectory(dir=data.parent) as folder:
        out = Path(folder) / "run"
        output_of([*command, "--out", str(out)], threads)
        with open(out / "metrics.jsonl", encoding="utf-8") as lines:
            updates = [json.loads(line) for line in lines]
    if len(updates) != args.updates + 1:
        sys.exit(f"othink wrote {len(updates)} updates, expected {args.updates + 1}")
    lengths = {update["completion_length"] for update in updates}
    if lengths != {args.completion_length}:
        sys.exit(f"othink's completions are {lengths} tokens, expected {args.completion_length}")
    timed = updates[1:]
    stages = ("s_rollout", "s_reference", "s_policy", "s_optimizer")
    return {
        "s_per_update": [update["s_total"] for update in timed],
        "peak_rss_bytes": max(update["peak_bytes"] for update in updates),
        "stages": {stage: statistics.median(update[stage] for update in timed) for stage in stages},
        "prompt_tokens": plan["workload"]["prompt_tokens"],
        "trained_parameters": plan["trained_parameters"],
        "threads": args.threads,
        "version": output_of([args.othink, "--version"], {}).splitlines()[:2],
    }


def output_of(command, environment):
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nfailed with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


class Case(NamedTuple):
    """What is trained, and how: rank 0 trains the weights themselves."""

    model: str
    lora: int
    image_size: int

    def describe(self):
        how = f"rank {self.lora}" if self.lora else "weights"
        return f"{Path(self.model).name}, {how}, {self.image_size} px"


def compare(args, case):
    """Every round's measurements of one case, and what they come to."""
    programs = {"trl": run_trl, "othink": run_othink}
    if args.only:
        programs = {args.only: programs[args.only]}
    rounds = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder), case.image_size)
        for round_idx in range(args.rounds):
            for name, run in programs.items():
                at = f"{case.describe()}, round {round_idx + 1}"
                print(f"{at}: {name}", file=sys.stderr, flush=True)
                rounds[name].append(run(args, case, data))
    for what in ("prompt_tokens", "trained_parameters"):
        found = {name: {one[what] for one in runs} for name, runs in rounds.items()}
        if len(set.union(*found.values())) != 1:
            sys.exit(f"{case.describe()}: the programs do not do the same work: {what} {found}")
    summary = {
        name: {
            "s_per_update": statistics.median(s for one in runs for s in one["s_per_update"]),
            "peak_rss_bytes": max(one["peak_rss_bytes"] for one in runs),
        }
        for name, runs in rounds.items()
    }
    return {"model": Path(case.model).name, "lora": case.lora, "image_size": case.image_size,
            "summary": summary, "rounds": rounds}


def machine():
    """The processor's name and how many of its threads this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        name = found.group(1).strip() if found else name
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": name, "threads": threads, "load_before": os.getloadavg()[0]}


def print_table(results):
    print(f"{'model':>16} {'rank':>4} {'image':>6} {'program':>7} {'s/update':>8} {'peak GB':>7} "
          f"{'faster':>6} {'memory':>6}")
    for result in results:
        trl = result["summary"].get("trl")
        for name, one in result["summary"].items():
            ratios = ("", "")
            if trl and name != "trl":
                faster = trl["s_per_update"] / one["s_per_update"]
                memory = one["peak_rss_bytes"] / trl["peak_rss_bytes"]
                ratios = (f"{faster:.1f}x", f"{memory:.2f}x")
            print(
                f"{result['model']:>16} {result['lora']:>4} {result['image_size']:>3} px {name:>7} "
                f"{one['s_per_update']:>8.2f} {one['peak_rss_bytes'] / 1e9:>7.2f} "
                f"{ratios[0]:>6} {ratios[1]:>6}"
            )


def write_record(args, before, results):
    """Writes what has been measured so far; returns the file's path."""
    date = datetime.date.today().isoformat()
    slug = re.sub(r"[^a-z0-9]+", "-", before["processor"].lower()).strip("-")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"vs_trl-{date}-{slug}.json"
    settings = {key: getattr(args, key) for key in
                ("updates", "rounds", "group_size", "completion_length", "threads")}
    record = {"date": date, "machine": before, "settings": settings, "results": results}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def main():
    args = arguments()
    before, results = machine(), []
    for model in args.model:
        for lora in args.lora:
            for size in args.image_sizes:
                results.append(compare(args, Case(model, lora, size)))
                path = write_record(args, before, results)
    print_table(results)
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
