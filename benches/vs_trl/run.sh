#!/bin/sh
# Compares othink with TRL on one checkpoint: run.sh MODEL_FOLDER [further options of compare.py].
# PYTHON names an interpreter that has requirements.txt already; without it, one is made in .venv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
model=${1:?usage: run.sh MODEL_FOLDER [options of compare.py]}
shift
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$here/.venv/bin/python
    if [ ! -x "$PYTHON" ]; then
        echo "installing TRL and PyTorch into $here/.venv" >&2
        python3 -m venv "$here/.venv"
        "$PYTHON" -m pip install --quiet -r "$here/requirements.txt"
    fi
fi
(cd "$root" && cargo build --release)
exec "$PYTHON" "$here/compare.py" --model "$model" --othink "$root/target/release/othink" "$@"
