#!/usr/bin/env python3
"""The records of scripts/gpu_check.sh: one JSON object a stage, and the table of them.

    record.py stage NAME SECONDS EXIT_CODE LOG     prints the record of a stage that has ended
    record.py table FILE                           prints the table of the records in FILE

In a stage's log, lines `FIGURES {...}` are JSON objects that add up to the record's figures, `SKIPPED why` says that there
was nothing to do, and a failed stage's last line is its reason. Lines that are neither are ignored, broken ones too.
Not here: reading what programs print (figures.py).
"""
import json
import sys
from pathlib import Path

TIMEOUT_CODES = {"124": "TERM", "137": "KILL"}  # of the command timeout


def stage(name, seconds, code, log):
    figures, skipped, last = {}, None, ""
    for line in Path(log).read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FIGURES":
            figures.update(parsed(rest))
        elif word == "SKIPPED":
            skipped = rest
        elif line.strip():
            last = line.strip()
    record = {"stage": name, "seconds": round(float(seconds), 1), "status": "ok", "figures": figures}
    if code in TIMEOUT_CODES:
        record.update(status="timeout", reason=f"ended by {TIMEOUT_CODES[code]}; last line: {last[:300]}")
    elif code != "0":
        record.update(status="failed", reason=f"code {code}: {last[:300]}")
    elif skipped:
        record.update(status="skipped", reason=skipped)
    return record


def parsed(text):
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def shown(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def parts(value):
    """What stands on lines of its own: an object's fields, a list's elements."""
    if isinstance(value, dict):
        return [f"{name}: {shown(one)}" for name, one in value.items()]
    return value if isinstance(value, list) else [value]


def table(path):
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for record in map(parsed, lines):
        if not record:
            continue
        print(f"{record['stage']:<13} {record['status']:<8} {record['seconds']:>6.1f} s  {record.get('reason', '')}")
        for name, value in record["figures"].items():
            lines = [shown(one) for one in parts(value)] or ["none"]
            for heading, text in zip([name, *[""] * len(lines)], lines):
                print(f"    {heading:<28} {text if len(text) <= 240 else text[:240] + '...'}")


def main():
    match sys.argv[1:]:
        case ["stage", name, seconds, code, log]:
            print(json.dumps(stage(name, seconds, code, log), allow_nan=False, default=str))
        case ["table", path]:
            table(path)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
