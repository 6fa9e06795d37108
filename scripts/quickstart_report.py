#!/usr/bin/env python3
"""Turn the runs of scripts/quickstart_seeds.sh into files that can be committed.

    quickstart_report.py RUNS OUT

RUNS holds seed-N/{metrics.jsonl,evaluations.jsonl,wall_s}. Written to OUT: quickstart.json (a run's
figures each), quickstart.md (a table), quickstart.csv and quickstart.svg (the curves).
"""
import csv
import json
import os
import platform
import re
import sys
from pathlib import Path

COLORS = ["#1f77b4", "#d95f02", "#1b9e77"]
# Updates that a curve is averaged over; a single one has a few dozen completions.
WINDOW = 10


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_run(folder):
    evaluations = lines(folder / "evaluations.jsonl")
    metrics = lines(folder / "metrics.jsonl")
    return {
        "seed": int(folder.name.removeprefix("seed-")),
        "updates": len(metrics),
        "wall_s": int((folder / "wall_s").read_text()),
        "s_updates": round(sum(line["s_total"] for line in metrics), 1),
        "before": evaluations[0]["summary"],
        "after": evaluations[-1]["summary"],
        "metrics": metrics,
    }


def machine():
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        name = found.group(1) if found else name
    return f"{name}, {os.cpu_count()} cores"


def percent(summary):
    low, high = (100 * bound for bound in summary["ci95"])
    return f"{100 * summary['accuracy']:.1f} ({low:.1f} to {high:.1f})"


def table(runs, device):
    head = [
        "# The quickstart, three seeds",
        "",
        "`scripts/quickstart_seeds.sh`, which runs `othink train --config quickstart.toml --set train.seed=N`.",
        f"Accuracy in percent on {runs[0]['before']['n']} held-out questions, decoded greedily, with Wilson's 95%",
        "interval; the whole command's wall time, both evaluations included.",
        f"Machine: {device}.",
        "",
        "| seed | updates | before | after | points | format before | format after | wall time, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        before, after = run["before"], run["after"]
        gain = 100 * (after["accuracy"] - before["accuracy"])
        formats = [f"{100 * summary['format_rate']:.1f}" for summary in (before, after)]
        cells = [run["seed"], run["updates"], percent(before), percent(after), f"{gain:+.1f}", *formats, run["wall_s"]]
        head.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(head) + "\n\n![curves](quickstart.svg)\n"


def smooth(values):
    means = []
    for end in range(1, len(values) + 1):
        part = values[max(0, end - WINDOW):end]
        means.append(sum(part) / len(part))
    return means


def panel(runs, field, title, top, height, y_max, width=560):
    """One plot: a line per run of metrics[field], from 0 to y_max."""
    left, n = 60, max(run["updates"] for run in runs)
    parts = [f'<text x="{left}" y="{top - 8}">{title}</text>']
    for tick in (0, y_max / 2, y_max):
        y = top + height * (1 - tick / y_max)
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for run, color in zip(runs, COLORS):
        values = smooth([line[field] for line in run["metrics"]])
        points = " ".join(
            f"{left + width * i / max(n - 1, 1):.1f},{top + height * (1 - min(value, y_max) / y_max):.1f}"
            for i, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    parts.append(f'<text x="{left + width}" y="{top + height + 16}" text-anchor="end">update {n}</text>')
    return parts


def plot(runs):
    most = max(max(line["beta"] for line in run["metrics"]) for run in runs) or 1.0
    longest = max(max(smooth([line["kl"] for line in run["metrics"]])) for run in runs) or 1.0
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="660" height="640" font-family="sans-serif" font-size="12">',
             '<rect width="660" height="640" fill="white"/>']
    parts += panel(runs, "accuracy_reward", f"accuracy reward of the rollouts, mean of {WINDOW} updates", 50, 230, 1.0)
    parts += panel(runs, "kl", "KL to the base model, nats per token", 340, 100, round(longest * 1.05, 2))
    parts += panel(runs[:1], "beta", "KL weight", 500, 80, most)
    for i, (run, color) in enumerate(zip(runs, COLORS)):
        parts.append(f'<text x="{480 + 50 * i}" y="20" fill="{color}">seed {run["seed"]}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    runs_folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    runs = [read_run(folder) for folder in sorted(runs_folder.glob("seed-*"))]
    device = machine()
    figures = [{key: value for key, value in run.items() if key != "metrics"} for run in runs]
    document = {"command": "scripts/quickstart_seeds.sh", "machine": device, "runs": figures}
    (out / "quickstart.json").write_text(json.dumps(document, indent=2) + "\n")
    (out / "quickstart.md").write_text(table(runs, device))
    (out / "quickstart.svg").write_text(plot(runs))
    fields = ["update", "beta", "loss", "reward", "accuracy_reward", "format_reward", "kl", "entropy", "completion_length",
              "zero_signal_fraction", "grad_norm", "s_total"]
    with open(out / "quickstart.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", *fields])
        for run in runs:
            for line in run["metrics"]:
                cells = [f"{line[field]:.6g}" if isinstance(line[field], float) else line[field] for field in fields]
                writer.writerow([run["seed"], *cells])


if __name__ == "__main__":
    main()
