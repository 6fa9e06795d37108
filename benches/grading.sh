#!/bin/sh
# Gradings a second, ours and math-verify's, on the same pairs, one after the other on one core.
# Needs a Python with math-verify 0.9.0; PYTHON names it.
set -eu
cd "$(dirname "$0")/.."
cargo bench --package othink-grading
"${PYTHON:-python3}" scripts/reference/bench_math_verify.py
