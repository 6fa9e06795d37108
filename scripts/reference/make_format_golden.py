#!/usr/bin/env python3
"""Verdicts of Python's `re` on the format reward's pattern, R1-V's `fullmatch` with DOTALL.

    make_format_golden.py --out crates/grading/tests/golden/format.json

Hand-written cases first, then strings drawn from the pattern's own pieces (tags, halves of tags, white space of
all kinds, text), half of them mutations of a matching one so that both verdicts are common.
"""
import argparse
import json
import random
import re
import sys

PATTERN = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)
HAND = [
    "", "<think></think><answer></answer>", "<think>a</think> <answer>5</answer>", "<think>a</think>\n\n<answer>5</answer>",
    " <think>a</think><answer>5</answer>", "<think>a</think><answer>5</answer>\n", "<think>a</think>x<answer>5</answer>",
    "<think>a</think><answer>5</answer><answer>6</answer>", "<think>a</think>b</think><answer>5</answer>",
    "<think>a</think>b<think>c</think> <answer>5</answer>", "<think><think>a</think></think><answer>5</answer>",
    "<think>a</think><answer>5</answer> and </answer>", "<think>a</think><answer>5", "<think>a<answer>5</answer>",
    "<answer>5</answer><think>a</think>", "<think>a</think> <answer>5</think> <answer>6</answer>",
    "<think>a</think><answer></answer", "<think></think><answer>", "<think>a\nb\n</think>\n<answer>\n7\n</answer>",
    "<THINK>a</THINK><answer>5</answer>", "<think >a</think><answer>5</answer>", "<think>a</think><answer/></answer>",
    "<think>\u00e9\u4e2d</think>\u3000<answer>\u221a3</answer>", "<think>a</think>\u200b<answer>5</answer>",
    "<think>a</think>\ufeff<answer>5</answer>", "<think></answer></think><answer></answer></answer>",
    "<think></think></think><answer><answer></answer>", "<think>a</think>\x1c\x1d\x1e\x1f\x85\xa0<answer>5</answer>",
]
PIECES = ["<think>", "</think>", "<answer>", "</answer>", "a", "5", "\n", " ", "\t", "<think", "answer>", "</", ">", "<",
          "\u00a0", "\x1f", "\u200b", "\u2028", "\u00e9"]


def draw(rng):
    if rng.random() < 0.5:
        return "".join(rng.choices(PIECES, k=rng.randint(0, 9)))
    parts = ["<think>", rng.choice(["", "a", "</think>", "<answer>"]), "</think>", rng.choice(["", " ", "\n\t", "x"]),
             "<answer>", rng.choice(["", "5", "</answer>", "</think><answer>"]), "</answer>"]
    if rng.random() < 0.5:
        parts.insert(rng.randint(0, len(parts)), rng.choice(PIECES))
    if rng.random() < 0.3:
        parts.pop(rng.randrange(len(parts)))
    return "".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    drawn = sorted({draw(rng) for _ in range(900)} - set(HAND))
    golden = {
        "made_with": {"script": "scripts/reference/make_format_golden.py", "seed": args.seed, "python": sys.version.split()[0]},
        # Every character that \s matches, for the matcher written by hand.
        "whitespace": [c for c in range(0x110000) if re.fullmatch(r"\s", chr(c))],
        "matching": [s for s in HAND + drawn if PATTERN.fullmatch(s)],
        "other": [s for s in HAND + drawn if not PATTERN.fullmatch(s)],
    }
    with open(args.out, "w", encoding="utf-8") as out:
        json.dump(golden, out, indent=0)
        out.write("\n")


if __name__ == "__main__":
    main()
