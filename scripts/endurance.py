#!/usr/bin/env python3
"""Whether a long run stays as it began: its memory, open files and time per update over thousands of updates.

    scripts/endurance.py [--othink target/release/othink] [--updates 10000] [--out benches/results/endurance.md]

Trains the micro model by GRPO-D with every kind of record, checkpoints and evaluations, reads the process's resident memory and open
files from /proc meanwhile (Linux), and writes a table: for each, the slope over the updates with its 95% interval, and what it comes to
over the whole run. The first tenth, in which buffers grow to their size, is left out. Exit code 1: one of them grows by more than 2%
of itself over the run, and its interval is without 0.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

RUN_FILE = """\
method = "grpo-d"
[model]
path = "{model}"
device = "cpu"
[data]
task = "synth-vc"
[grpo]
group_size = 3
prompts_per_update = 2
[rollout]
max_new_tokens = 8
[optim]
lr = 1e-4
[train]
updates = {updates}
checkpoint_every = 50
keep = 2
keep_best = true
eval_every = 250
warn_after_silent_updates = 0
warn_truncated_fraction = 1.0
warn_duplicate_fraction = 1.0
[eval]
limit = 2
max_new_tokens = 4
"""
# Two-sided 95%; there are hundreds of points.
NORMAL = 1.96
PARTS = 100


def watch(command, metrics):
    """Runs the command; (updates made, resident KiB, open files), read a few times a second."""
    points = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        proc = Path(f"/proc/{process.pid}")
        made, read = 0, 0
        while process.poll() is None:
            time.sleep(0.2)
            try:
                with open(metrics, "rb") as file:
                    file.seek(read)
                    new = file.read()
                made, read = made + new.count(b"\n"), read + len(new)
                status = (proc / "status").read_text()
                files = len(os.listdir(proc / "fd"))
            except OSError:
                continue
            resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
            if resident:
                points.append((made, float(resident[0]), float(files)))
        if process.returncode != 0:
            sys.exit(f"endurance: the run ended with {process.returncode}")
    return points


def means(pairs):
    """The means of consecutive parts: neighbours in time are alike, and an interval of single points would be too narrow."""
    size = max(1, len(pairs) // PARTS)
    parts = [pairs[i : i + size] for i in range(0, len(pairs) - size + 1, size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def slope(pairs):
    """Least squares: mean of y, slope, and half of its 95% interval."""
    n = len(pairs)
    mean_x, mean_y = sum(x for x, _ in pairs) / n, sum(y for _, y in pairs) / n
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    found = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread
    rest = sum((y - mean_y - found * (x - mean_x)) ** 2 for x, y in pairs)
    return mean_y, found, NORMAL * math.sqrt(rest / (n - 2) / spread)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--othink", default="target/release/othink")
    parser.add_argument("--updates", type=int, default=10000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = Path("tests/golden/micro/policy").resolve()
    with tempfile.TemporaryDirectory() as folder:
        run, config = Path(folder) / "run", Path(folder) / "run.toml"
        config.write_text(RUN_FILE.format(model=model, updates=args.updates))
        began = time.monotonic()
        points = watch([args.othink, "train", "--config", config, "--out", run, "--quiet"], run / "metrics.jsonl")
        took = time.monotonic() - began
        lines = [json.loads(line) for line in open(run / "metrics.jsonl")]
    if len(lines) != args.updates:
        sys.exit(f"endurance: {len(lines)} updates on record, expected {args.updates}")
    first = args.updates // 10
    points = [point for point in points if point[0] > first]
    series = {
        "resident memory, KiB": [(made, resident) for made, resident, _ in points],
        "open files": [(made, files) for made, _, files in points],
        "time of an update, ms": [(line["update"], 1e3 * line["s_total"]) for line in lines if line["update"] > first],
    }
    grew = []
    rows = []
    for name, pairs in series.items():
        mean, per_update, half = slope(means(pairs))
        over_run, half_run = per_update * args.updates, half * args.updates
        rows.append(f"| {name} | {mean:.2f} | {over_run:+.3f} ± {half_run:.3f} | {100 * over_run / mean:+.2f}% |")
        if abs(over_run) > half_run and over_run > 0.02 * mean:
            grew.append(name)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    text = f"""# A run of {args.updates} updates

`scripts/endurance.py --updates {args.updates}`: {date.today()}, commit {commit}, {platform.machine()}, {os.cpu_count()} cores,
{took:.0f} s. The micro model by GRPO-D with records, TensorBoard's events, a checkpoint every 50 updates (two stay, and the best one),
an evaluation every 250. Slopes after the first {first} updates by least squares over {PARTS} means of consecutive parts.

| | mean | change over {args.updates} updates, 95% | of the mean |
|---|---|---|---|
""" + "\n".join(rows) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)
    if grew:
        sys.exit(f"endurance: grows: {', '.join(grew)}")


if __name__ == "__main__":
    main()
