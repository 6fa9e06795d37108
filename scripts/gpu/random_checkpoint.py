#!/usr/bin/env python3
"""Write a checkpoint of Qwen2-VL-2B's exact shapes with random weights, in seconds where there is a GPU.

    random_checkpoint.py OUT [--size 2b|micro]

Weights are N(0, 0.02) in bf16, norms 1 and biases 0, so that time and memory are the real model's and answers are noise.
The vocabulary has the real one's size and special tokens; tokens beyond a small byte-level vocabulary are runs of
control characters, which no text holds. `micro` writes scripts/reference/make_checkpoint.py's smallest one.
Not here: checkpoints whose values matter (scripts/reference/make_checkpoint.py).
"""
import argparse
import itertools
import math
import subprocess
import sys
from pathlib import Path

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
sys.path.insert(0, str(REFERENCE))
import make_checkpoint  # noqa: E402
import refcommon  # noqa: E402

REAL_VOCABULARY = 151643  # ordinary tokens; the special ones follow


def fill(vocab, merges):
    """Adds merges of control characters until the vocabulary has the real one's size."""
    table = refcommon.bytes_to_unicode()
    symbols = [table[byte] for byte in range(1, 9)]
    longer = symbols
    while True:
        shorter, longer = longer, []
        for start, end in itertools.product(shorter, symbols):
            if len(vocab) == REAL_VOCABULARY:
                return
            vocab[start + end] = len(vocab)
            merges.append(f"{start} {end}")
            longer.append(start + end)


def write_weights(path, text, vision, seed):
    import torch
    from safetensors.torch import save_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    chance = torch.Generator(device).manual_seed(seed)
    tensors = {}
    for name, shape in make_checkpoint.tensor_list(text, vision, tied=True):
        if name.endswith("bias"):
            values = torch.zeros(shape, dtype=torch.bfloat16)
        elif "norm" in name or "ln_q" in name:
            values = torch.ones(shape, dtype=torch.bfloat16)
        else:
            values = torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(0, 0.02, generator=chance)
        tensors[name] = values.cpu()
    save_file(tensors, str(path), metadata={"format": "pt"})
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def write_2b(out, layers):
    spec = make_checkpoint.SIZES["2b"]
    text, vision = dict(spec["text"]), dict(spec["vision"])
    if layers is not None:
        text["num_hidden_layers"] = text["max_window_layers"] = vision["depth"] = layers
    vocab, merges, base = refcommon.train_micro_bpe(200)
    fill(vocab, merges)
    base = len(vocab)
    out.mkdir(parents=True, exist_ok=True)
    refcommon.write_tokenizer(out, vocab, merges, base)
    config = make_checkpoint.original_config(text, vision, base, tied=True, dtype="bfloat16")
    layout = argparse.Namespace(original_config="on")
    make_checkpoint.write_side_files(out, layout, text, vision, spec["pre"], base, config)
    return write_weights(out / "model.safetensors", text, vision, seed=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=["2b", "micro"], default="2b")
    parser.add_argument("--layers", type=int, help="fewer layers in both towers, to try the script")
    args = parser.parse_args()
    if args.size == "micro":
        script = str(REFERENCE / "make_checkpoint.py")
        subprocess.run([sys.executable, script, "--size", "micro", "--out", str(args.out)], check=True)
    else:
        print(f"{write_2b(args.out, args.layers)} parameters")


if __name__ == "__main__":
    main()
