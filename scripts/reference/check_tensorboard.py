#!/usr/bin/env python3
"""TensorBoard's own package against our event files. Needs `pip install tensorboard`.

    check_tensorboard.py golden --out tests/golden/events.tfevents   what its writer makes of the Rust test's figures
    check_tensorboard.py run RUN ...                                 reads runs' events and compares them with metrics.jsonl
"""
import argparse
import json
import pathlib

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

TIME = 1_700_000_000.25
EVALUATION = [("accuracy", 0.5), ("accuracy_ci95_low", 0.25), ("accuracy_ci95_high", 0.75),
              ("answer_tag_accuracy", 0.48), ("format_rate", 0.96), ("completions/mean_length", 21.0),
              ("completions/clipped_ratio", 0.0)]
UPDATE = [("loss", -0.125), ("grad_norm", 0.0), ("learning_rate", 1e-6), ("reward", 1.5),
          ("rewards/accuracy_reward/mean", 0.0), ("completions/mean_length", 20.5), ("step_time", 0.0),
          ("beta", 0.04), ("tokens_per_s", 0.0), ("time/rollout_s", 0.0), ("time/reference_s", 0.0),
          ("time/policy_s", 0.0), ("time/optimizer_s", 0.0), ("rewards/choice/mean", 0.25)]
TAGS = {"train/loss": "loss", "train/reward": "reward", "train/reward_std": "reward_std", "train/kl": "kl",
        "train/rewards/accuracy_reward/mean": "accuracy_reward", "train/rewards/format_reward/mean": "format_reward",
        "train/entropy": "entropy", "train/learning_rate": "lr", "train/grad_norm": "grad_norm", "train/beta": "beta",
        "train/completions/mean_length": "completion_length", "train/completions/clipped_ratio": "truncated_fraction",
        "train/frac_reward_zero_std": "zero_signal_fraction", "train/clip_ratio/region_mean": "clip_fraction",
        "train/step_time": "s_total", "train/time/rollout_s": "s_rollout"}


def summary(prefix, scalars):
    return Summary(value=[Summary.Value(tag=f"{prefix}/{tag}", simple_value=value) for tag, value in scalars])


def golden(out):
    events = [Event(wall_time=TIME, file_version="brain.Event:2"),
              Event(wall_time=TIME, step=300, session_log=SessionLog(status=SessionLog.START)),
              Event(wall_time=TIME, step=0, summary=summary("eval", EVALUATION)),
              Event(wall_time=TIME, step=300, summary=summary("train", UPDATE))]
    with open(out, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString(deterministic=True))


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def check(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()

    def scalars(tag):
        return [(event.step, event.value) for event in accumulator.Scalars(tag)]

    def expected(lines, figure):
        return [(line["update"], float(np.float32(figure(line)))) for line in lines]

    metrics, evaluations = records(folder / "metrics.jsonl"), records(folder / "evaluations.jsonl")
    present = set(accumulator.Tags()["scalars"])
    for tag, name in TAGS.items():
        lines = [line for line in metrics if line[name] is not None]
        assert (tag in present) == bool(lines), f"{folder}: {tag}"
        assert not lines or scalars(tag) == expected(lines, lambda line: line[name]), f"{folder}: {tag}"
    if evaluations:
        assert scalars("eval/accuracy") == expected(evaluations, lambda line: line["summary"]["accuracy"]), folder
    print(f"{folder}: {len(metrics)} updates and {len(evaluations)} evaluations under {len(present)} tags are equal")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("golden").add_argument("--out", required=True)
    commands.add_parser("run").add_argument("runs", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    if args.command == "golden":
        golden(args.out)
    else:
        for run in args.runs:
            check(run)


if __name__ == "__main__":
    main()
