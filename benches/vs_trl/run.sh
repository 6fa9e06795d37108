#!/bin/sh
# Compares othink with TRL.
#
#     run.sh MODEL_FOLDER... [options of compare.py, such as --lora 16]
#     run.sh table [options of compare.py]
#
# `table` compares on `small` checkpoints of the three families, with all weights and with factors of rank 16.
# PYTHON names an interpreter that has requirements.txt already; without it, one is made in .venv. OTHINK names a program;
# without it, the release is built. The checkpoints are made in target/vs-trl, with Qwen's vocabulary from PyPI.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${1:?usage: run.sh MODEL_FOLDER...|table [options of compare.py]}"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$here/.venv/bin/python
    if [ ! -x "$PYTHON" ]; then
        echo "installing TRL and PyTorch into $here/.venv" >&2
        python3 -m venv "$here/.venv"
        "$PYTHON" -m pip install --quiet -r "$here/requirements.txt"
    fi
fi
if [ -z "${OTHINK:-}" ]; then
    (cd "$root" && cargo build --release --locked --bin othink)
    OTHINK=$root/target/release/othink
fi
if [ "$1" = table ]; then
    shift
    small=$root/target/vs-trl
    mkdir -p "$small"
    vocabulary=$small/dashscope/resources/qwen.tiktoken
    if [ ! -e "$vocabulary" ]; then
        "$PYTHON" -m pip download --quiet --no-deps --dest "$small" dashscope==2.0.2
        "$PYTHON" -m zipfile -e "$small/dashscope-2.0.2-py3-none-any.whl" "$small"
    fi
    for family in qwen2_vl qwen2_5_vl qwen3_vl; do
        [ -e "$small/small-$family/model.safetensors" ] || "$PYTHON" "$root/scripts/reference/make_checkpoint.py" \
            --family "$family" --size small --tiktoken "$vocabulary" --out "$small/small-$family"
    done
    set -- "$small/small-qwen2_vl" "$small/small-qwen2_5_vl" "$small/small-qwen3_vl" --lora 0 16 "$@"
fi
exec "$PYTHON" "$here/compare.py" --othink "$OTHINK" --model "$@"
