#!/usr/bin/env python3
"""Writes what scripts/replicate_tiny.sh found as Markdown: Table 1 and the paper's Figures 1, 4, 5, 6 and 7.

    scripts/replication_report.py target/replication docs/replication

Reads cross.json, alpha.json, beta.json and wall_s of the first folder, and writes results.md into the second, beside the
charts that are there already. Nothing but Python's standard library.
"""

import json
import pathlib
import sys

METHODS = ["base", "sft", "grpo", "grpo-d"]


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


def table1(cells, tasks):
    rows = []
    for method in METHODS:
        row = [method]
        for task in tasks:
            cell = cell_of(cells, task, task, method)
            row += [percent(cell["accuracy"]), interval(cell), seeds_of(cell)]
        rows.append(row)
    head = ["method"]
    for task in tasks:
        head += [f"{task}, %", "95%", "each seed"]
    return table(head, rows)


def figure7(cells, train, test):
    rows = []
    for method in METHODS:
        cell = cell_of(cells, train, test, method)
        over_base = "-" if method == "base" else gain(cell["gain_over_base"])
        over_sft = "-" if method in ("base", "sft") else gain(cell["gain_over_sft"])
        row = [method, percent(cell["accuracy"]), interval(cell), seeds_of(cell)]
        rows.append([*row, over_base, over_sft, percent(cell["format_rate"])])
    return table(["method", "accuracy, %", "95%", "each seed", "over base", "over SFT", "format, %"], rows)


def sweep(found):
    rows = []
    for point in found["points"]:
        row = [point["value"], percent(point["accuracy"]), interval(point), seeds_of(point)]
        rows.append([*row, percent(point["format_rate"])])
    return table([found["key"], "accuracy, %", "95%", "each seed", "format, %"], rows)


def main():
    source, target = map(pathlib.Path, sys.argv[1:3])
    cells = json.loads((source / "cross.json").read_text())["cells"]
    alpha, beta = (json.loads((source / f"{name}.json").read_text()) for name in ("alpha", "beta"))
    wall = sum(int(line) for line in (source / "wall_s").read_text().split())
    tasks = ["synth-vc", "synth-gr"]
    n = cells[0]["n"]
    seeds = len(cell_of(cells, tasks[0], tasks[0], "grpo")["seeds"])
    parts = [
        "<!-- Written by scripts/replicate_tiny.sh; do not edit. -->\n",
        "# What the replication found\n",
        f"The tiny model, {seeds} seeds, {n} test questions each; {wall / 60:.0f} minutes on 2 cores. The intervals of methods",
        "are Student's over seeds, those of the base model Wilson's over questions.\n",
        "## Table 1: trained and tested on the same task\n",
        table1(cells, tasks),
        "## Figure 7: trained on one task, tested on the other\n",
        "![accuracy of every method on every pair of tasks](figure7.svg)\n",
    ]
    for train, test in (("synth-gr", "synth-vc"), ("synth-vc", "synth-gr")):
        parts += [f"Trained on {train}, tested on {test}:\n", figure7(cells, train, test)]
    parts += [
        "## Figure 4: the format's weight alpha, GRPO on synth-gr\n",
        "![accuracy and format over alpha](figure4.svg)\n",
        sweep(alpha),
        "## Figure 6: the KL weight beta, GRPO on synth-gr\n",
        "![accuracy and format over beta](figure6.svg)\n",
        sweep(beta),
        "## Figures 1 and 5: over training\n",
        "Test accuracy (100 questions, every 25 updates), accuracy reward and format reward; means over seeds, smoothed.\n",
    ]
    for task in tasks:
        for figure in ("figure1", "figure5-accuracy", "figure5-format"):
            parts.append(f"![{figure} on {task}]({figure}-{task}.svg)\n")
    (target / "results.md").write_text("\n".join(parts))


main()
