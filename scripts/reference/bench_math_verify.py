"""Times math-verify on the pairs that crates/grading/benches/grading.rs grades.

    python bench_math_verify.py [--limit N] [--repeat 3]

Prints gradings a second on one core, the best of the repetitions: parse and verify of an answer in its tag against the gold,
once with the gold parsed before and once with it parsed each time. math-verify caches the last 20 strings it parsed;
the pairs are long enough a list for that not to matter.
"""

import argparse
import json
import logging
import pathlib
import time

from math_verify import parse, verify

PAIRS = pathlib.Path(__file__).resolve().parents[2] / "crates/grading/tests/golden/pairs.jsonl"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=1000, help="pairs, spread over all forms")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rows = [json.loads(line) for line in open(PAIRS, encoding="utf-8")]
    rows = rows[:: max(1, len(rows) // args.limit)]
    pairs = [(f"<answer> {row['answer']} </answer>", row["gold"]) for row in rows]
    golds = [parse(gold) for _, gold in pairs]

    def parsed_before():
        for (answer, _), gold in zip(pairs, golds):
            verify(parse(answer), gold)

    def parsed_each_time():
        for answer, gold in pairs:
            verify(parse(answer), parse(gold))

    for name, run in (("gold parsed before", parsed_before), ("gold parsed each time", parsed_each_time)):
        best = min(timed(run) for _ in range(args.repeat))
        print(f"math-verify, {name}: {len(pairs) / best:.0f} gradings/s ({len(pairs)} pairs)")


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
