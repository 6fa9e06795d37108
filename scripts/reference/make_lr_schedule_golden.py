#!/usr/bin/env python3
"""Golden values of transformers' learning-rate schedules.

    make_lr_schedule_golden.py --out tests/golden/lr_schedule.json

`lr[s]` is the learning rate with which update s + 1 is made, that is after s finished updates, s = 0 .. total.
"""
import argparse
import json

import torch
import transformers

CASES = [("constant_with_warmup", 1e-6, 0, 6), ("constant_with_warmup", 2e-5, 3, 8), ("linear", 1e-6, 0, 7),
         ("linear", 1e-5, 2, 10), ("linear", 3e-4, 5, 5), ("cosine", 2e-5, 0, 9), ("cosine", 1e-3, 4, 13)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    cases = []
    for name, base, warmup, total in CASES:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        schedule = transformers.get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
        values = []
        for _ in range(total + 1):
            values.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        cases.append({"name": name, "base_lr": base, "warmup": warmup, "total": total, "lr": values})
    golden = {"made_with": {"script": "scripts/reference/make_lr_schedule_golden.py",
                            "transformers": transformers.__version__}, "cases": cases}
    with open(args.out, "w", encoding="utf-8") as out:
        json.dump(golden, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
