#!/usr/bin/env python3
"""Turns what programs print into figures of scripts/gpu_check.sh.

    figures.py tests PREFIX FILE          the output of a Rust test program
    figures.py learn PREFIX FILE          `othink gpu-check --json`
    figures.py run PREFIX FOLDER          a run's metrics.jsonl
    figures.py doctor FILE                `othink doctor --json`
    figures.py answers FILE               the emulator's test of the driver's answers
    figures.py ncu PREFIX FILE            `ncu --csv`: the kernels that took most time
    figures.py peak FILE                  megabytes in use, a line each, as nvidia-smi prints them

Not here: records and table (record.py).
"""
import csv
import json
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from record import parsed
from workload import figures

STAGES = ("s_rollout", "s_reference", "s_policy", "s_optimizer", "s_total")
HEALTH = ("loss", "reward", "kl", "entropy", "grad_norm", "completion_length", "logp_mismatch_max", "logp_mismatch_mean")
NCU_NAMES = {
    "gpu__time_duration.sum": "us",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_percent",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "sm_percent",
    "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active": "tensor_percent",
    "launch__registers_per_thread": "registers",
}

# What a test says of a time, after its name if that is on the same line: a line with a time and a rate.
TIMES = r"^(?:test \S+ \.\.\. )?(.+ [\d.]+ [um]s,? +[\d.]+ [GT](?:B|FLOP)/s\b.*)$"


def tests(prefix, path):
    """Counts, failed tests with their messages' first lines, and lines like `WHAT: 1.25 ms, 600 TFLOP/s`."""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    panics = re.findall(r"^thread '(.+?)'.* panicked at (.*):\n(.*)", text, re.MULTILINE)
    messages = {name: f"{place}: {message}" for name, place, message in reversed(panics)}
    started = re.findall(r"^test (\S+) \.\.\.", text, re.MULTILINE)
    counts = re.search(r"(\d+) passed; (\d+) failed; (\d+) ignored", text)
    if counts:
        passed, failed, ignored = map(int, counts.groups())
        names = re.findall(r"^    (\S+)$", text.rpartition("\nfailures:\n")[2], re.MULTILINE) if failed else []
        found = {"passed": passed, "failed": failed, "ignored": ignored}
    else:
        names = [name for name in started if name in messages]
        said = [line for line in text.splitlines() if line.strip() and not re.match(r"\S+: line \d+: ", line)]  # bash's: Aborted
        found = {"passed": len(re.findall(r"ok$", text, re.MULTILINE)), "ended_in": started[-1:], "last_line": said[-1:]}
    found["failed_tests"] = {name: messages.get(name, "no message") for name in names}
    if times := [" ".join(line.split()) for line in re.findall(TIMES, text, re.MULTILINE)]:
        found["times"] = times
    figures(**{f"{prefix}{name}": value for name, value in found.items()})


def learn(prefix, path):
    """A stage's figures, or why it did not end; lines that are no JSON object say nothing."""
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        stage = parsed(line)
        if "name" in stage:
            measured = {name: rounded(value) for name, value in stage["figures"]}
            figures(**{f"{prefix}{stage['name'].replace(' ', '_')}": stage["error"] or measured})


def run(prefix, folder):
    """Medians of the seconds of all updates but the first, and the last update's values."""
    lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    updates = [json.loads(line) for line in lines]
    timed = updates[1:] or updates
    values = {name: statistics.median(update[name] for update in timed) for name in STAGES}
    values |= {name: updates[-1].get(name) for name in HEALTH}
    values["first_s_total"] = updates[0]["s_total"]
    values["peak_gb"] = (updates[-1].get("peak_bytes") or 0) / 1e9
    figures(**{f"{prefix}{name}": rounded(value) for name, value in values.items()})


def rounded(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def doctor(path):
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    report = next(json.loads(line) for line in lines if line.startswith("{"))
    findings = defaultdict(list)
    for finding in report["findings"]:
        problem = finding["problem"]
        findings[finding["name"]].append(finding["found"] + (f" ({problem['hint']})" if problem else ""))
    figures(works=report["works"], **findings)


def answers(path):
    """Lines `NAME<tab>EXPECTED<tab>GOT`."""
    rows = [line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines() if line.count("\t") == 2]
    differ = {name: f"{got}, not {expected}" for name, expected, got in rows if got != expected}
    figures(answers=len(rows), answers_that_differ=differ)


def ncu(prefix, path):
    """Kernels by the sum of their times, with the values of each one's longest launch."""
    rows = [row for row in csv.reader(line for line in Path(path).read_text(errors="replace").splitlines()
                                      if line.startswith('"'))]
    if not rows:
        return
    header, kernels, launches = rows[0], defaultdict(list), defaultdict(dict)
    at = {name: header.index(name) for name in ("ID", "Kernel Name", "Metric Name", "Metric Unit", "Metric Value")}
    for row in rows[1:]:
        name = NCU_NAMES.get(row[at["Metric Name"]])
        value = number(row[at["Metric Value"]])
        if name is None or value is None:
            continue
        scale = {"ns": 1e-3, "nsecond": 1e-3, "ms": 1e3, "msecond": 1e3}.get(row[at["Metric Unit"]], 1.0)
        launches[row[at["ID"]], row[at["Kernel Name"]]][name] = value * (scale if name == "us" else 1.0)
    for (_, kernel), values in launches.items():
        kernels[kernel].append(values)
    total = {kernel: sum(one.get("us", 0.0) for one in all_) for kernel, all_ in kernels.items()}
    heaviest = sorted(total, key=total.get, reverse=True)[:12]
    report = [
        {"kernel": kernel[:90], "launches": len(kernels[kernel]), "total_us": rounded(total[kernel])}
        | max(kernels[kernel], key=lambda one: one.get("us", 0.0))
        for kernel in heaviest
    ]
    figures(**{f"{prefix}kernels": report, f"{prefix}launches": len(launches)})


def number(text):
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def peak(path):
    values = [int(line) for line in Path(path).read_text(encoding="utf-8").split() if line.isdigit()]
    if values:
        figures(gpu_peak_gb=max(values) * 2**20 / 1e9, gpu_idle_gb=values[0] * 2**20 / 1e9)


def main():
    readers = {"tests": tests, "learn": learn, "run": run, "doctor": doctor, "answers": answers, "ncu": ncu, "peak": peak}
    if len(sys.argv) < 3 or sys.argv[1] not in readers:
        sys.exit(__doc__)
    readers[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
