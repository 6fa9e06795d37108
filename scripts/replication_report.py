#!/usr/bin/env python3
"""Writes what scripts/replicate_tiny.sh found into its document: Table 1 and the paper's Figures 1, 4, 5, 6 and 7.

    scripts/replication_report.py target/replication docs/replication.md

Reads cross.json with the answers that it names, alpha.json, beta.json, wall_s and the metrics of the runs in the first
folder, and replaces what stands below the document's marker. Nothing but the standard library of Python 3.11.
"""

import json
import math
import pathlib
import statistics
import sys
import tomllib

METHODS = ["base", "sft", "grpo", "grpo-d"]
TASKS = ["synth-vc", "synth-gr"]
MARKER = "<!-- Below this line everything is written by scripts/replicate_tiny.sh. -->\n"


def percent(part):
    return f"{100 * part:.1f}"


def interval(point):
    low, high = point["ci95"]
    return f"{percent(low)} to {percent(high)}"


def gain(value):
    return "-" if value is None else f"{100 * value:+.1f}%"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def cell_of(cells, train, test, method):
    return next(c for c in cells if (c["train"], c["test"], c["method"]) == (train, test, method))


def seeds_of(cell):
    return ", ".join(percent(a) for a in cell["accuracies"])


def compared(cells, train, test):
    rows = []
    for method in METHODS:
        cell = cell_of(cells, train, test, method)
        over_base = "-" if method == "base" else gain(cell["gain_over_base"])
        over_sft = "-" if method in ("base", "sft") else gain(cell["gain_over_sft"])
        row = [method, percent(cell["accuracy"]), interval(cell), seeds_of(cell)]
        rows.append([*row, over_base, over_sft, percent(cell["format_rate"])])
    return table(["method", "accuracy, %", "95%", "each seed", "over base", "over SFT", "format, %"], rows)


def right_ids(path):
    answers = map(json.loads, pathlib.Path(path).read_text().splitlines())
    return {answer["id"] for answer in answers if answer["accuracy"] == 1.0}


def mcnemar(b, c):
    """Both tails of b + c fair coins at the smaller count."""
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * tail / 2 ** (b + c))


def paired(cells):
    rows = []
    for train in TASKS:
        for test in TASKS:
            dynamic, constant = (cell_of(cells, train, test, method) for method in ("grpo-d", "grpo"))
            for seed, *files in zip(dynamic["seeds"], dynamic["answers"], constant["answers"], strict=True):
                ours, theirs = map(right_ids, files)
                only = len(ours - theirs), len(theirs - ours)
                difference = 100 * (only[0] - only[1]) / dynamic["n"]
                p = mcnemar(*only)
                p = f"{p:.3f}" if p >= 0.001 else "below 0.001"
                rows.append([train, test, seed, *only, f"{difference:+.1f}", p])
    head = ["trained on", "tested on", "seed", "only GRPO-D right", "only GRPO right", "difference, points"]
    return table([*head, "McNemar's p"], rows)


def runs_of(source, task, method, settings):
    """The updates of each run of a method with these settings, `section.key` to value."""
    for file in sorted(source.glob(f"runs/{task}-{method}-seed*/config.toml")):
        config = tomllib.loads(file.read_text())
        places = ((*key.split("."), value) for key, value in settings.items())
        if all(config[section][key] == value for section, key, value in places):
            yield [json.loads(line) for line in (file.parent / "metrics.jsonl").read_text().splitlines()]


def mean(updates, of):
    return statistics.mean(map(of, updates))


def weighed(source):
    rows = []
    for task in TASKS:
        for method in ("grpo", "grpo-d"):
            runs = runs_of(source, task, method, {"train.eval_every": 25})
            updates = [update for run in runs for update in run]
            rows.append([
                task,
                method,
                f"{mean(updates, lambda u: u['beta']):.4f}",
                f"{mean(updates, lambda u: u['kl']):.3f}",
                f"{mean(updates, lambda u: u['beta'] * u['kl']):.4f}",
                f"{mean(updates, lambda u: u['reward_std']):.3f}",
                percent(mean(updates, lambda u: u["zero_signal_fraction"])),
            ])
    head = ["task", "method", "beta", "KL, nats", "beta x KL", "reward's standard deviation in a group"]
    return table([*head, "groups without a signal, %"], rows)


def sweep(source, found, others):
    """- others: what the runs of the sweep have in common apart from the varied key"""
    rows = []
    for point in found["points"]:
        settings = {"train.eval_every": 0, **others, found["key"]: float(point["value"])}
        last = [update for run in runs_of(source, "synth-gr", "grpo", settings) for update in run[-50:]]
        row = [point["value"], percent(point["accuracy"]), interval(point), seeds_of(point)]
        row += [percent(point["format_rate"]), percent(mean(last, lambda u: u["format_reward"]))]
        rows.append([*row, f"{mean(last, lambda u: u['kl'] or 0.0):.3f}"])
    head = [found["key"], "accuracy, %", "95%", "each seed", "format, %", "format when sampled, %", "KL, nats"]
    return table(head, rows)


def main():
    source, document = map(pathlib.Path, sys.argv[1:3])
    cells = json.loads((source / "cross.json").read_text())["cells"]
    alpha, beta = (json.loads((source / f"{name}.json").read_text()) for name in ("alpha", "beta"))
    wall = sum(int(line) for line in (source / "wall_s").read_text().split())
    n = cells[0]["n"]
    seeds = len(cell_of(cells, TASKS[0], TASKS[0], "grpo")["seeds"])
    parts = [
        f"{seeds} seeds, {n} test questions each, greedy; {wall / 60:.0f} minutes on 2 cores. The intervals of methods are",
        "Student's over seeds, those of the base model Wilson's over questions.\n",
        "## Table 1: trained and tested on the same task\n",
    ]
    for task in TASKS:
        parts += [f"{task}:\n", compared(cells, task, task)]
    parts += [
        "## Figure 7: trained on one task, tested on the other\n",
        "![accuracy of every method on every pair of tasks](replication/figure7.svg)\n",
    ]
    for train, test in (("synth-gr", "synth-vc"), ("synth-vc", "synth-gr")):
        parts += [f"Trained on {train}, tested on {test}:\n", compared(cells, train, test)]
    parts += [
        "## GRPO-D and GRPO on the same questions\n",
        "The same seed, and so the same training questions in the same order:\n",
        paired(cells),
        "What the KL term weighs beside the rewards, means over all updates of all seeds:\n",
        weighed(source),
        "## Figure 4: the format's weight alpha, GRPO on synth-gr\n",
        "![accuracy and format over alpha](replication/figure4.svg)\n",
        sweep(source, alpha, {"kl.beta": 0.04}),
        "## Figure 6: the KL weight beta, GRPO on synth-gr\n",
        "![accuracy and format over beta](replication/figure6.svg)\n",
        sweep(source, beta, {"reward.alpha": 1.0}),
        "Format when sampled and KL are means over the last 50 updates.\n",
        "## Figures 1 and 5: over training\n",
        "Test accuracy (100 questions, every 25 updates), accuracy reward and format reward; means over seeds, smoothed.\n",
    ]
    figures = (f"{figure}-{task}" for task in TASKS for figure in ("figure1", "figure5-accuracy", "figure5-format"))
    parts.append("\n".join(f"![{figure}](replication/{figure}.svg)" for figure in figures) + "\n")
    written = document.read_text().split(MARKER)[0] if document.is_file() else ""
    document.write_text(written + MARKER + "\n" + "\n".join(parts))


main()
