#!/usr/bin/env python3
"""Compare one answer of `othink infer` with transformers, step by step.

    check_infer.py --othink BINARY --ckpt DIR [--image FILE ...] [--prompt TEXT] [--max-new-tokens 32]
                   [--dtype float32] [--tol 1e-4]

Runs `othink infer --dump` greedily on the CPU, then AutoProcessor and Qwen2VLForConditionalGeneration on the
same question, and prints JSON: whether token ids, positions, grids and greedy ids are equal, and the largest
difference of pixels (in levels of 8 bits, after de-normalisation) and logits (relative to the largest logit).
Exit status: 0 all agree; 2 a program failed; 4 they disagree: any id, position or grid, a pixel by more than
one level, or a logit by more than --tol.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

DTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def run_othink(args, folder):
    """The printed object and the tensors of `othink infer`."""
    from safetensors.torch import load_file
    dump = Path(folder) / "infer.safetensors"
    command = [args.othink, "infer", "--model", args.ckpt, "--prompt", args.prompt, "--json", "--device", "cpu",
               "--dtype", DTYPES[args.dtype], "--max-new-tokens", str(args.max_new_tokens), "--dump", str(dump)]
    for image in args.image:
        command += ["--image", image]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"check_infer: othink failed:\n{done.stderr}", file=sys.stderr)
        sys.exit(2)
    return json.loads(done.stdout), load_file(dump)


def open_upright(path):
    """The picture as it should be seen, transparency on white."""
    from PIL import Image, ImageOps
    picture = ImageOps.exif_transpose(Image.open(path))
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def run_transformers(args):
    """The same tensors and text from transformers, with the picture's standard deviations."""
    import torch
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration
    # The processor with Pillow's resampling: torchvision's differs from it by a level here and there.
    processor = AutoProcessor.from_pretrained(args.ckpt, use_fast=False)
    model = Qwen2VLForConditionalGeneration.from_pretrained(args.ckpt, dtype=getattr(torch, args.dtype)).eval()
    content = [{"type": "image"} for _ in args.image] + [{"type": "text", "text": args.prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [open_upright(image) for image in args.image] or None
    inputs = processor(text=[text], images=images, return_tensors="pt")
    seen = {}

    def keep_positions(module, positional, named):
        seen.setdefault("position_ids", named["position_ids"])

    hook = model.model.language_model.register_forward_pre_hook(keep_positions, with_kwargs=True)
    with torch.no_grad():
        logits = model(**inputs).logits[0].float()
        hook.remove()
        made = model.generate(**inputs, do_sample=False, max_new_tokens=args.max_new_tokens)[0]
    n_prompt = inputs["input_ids"].shape[1]
    positions = seen["position_ids"]
    if positions is None:  # a prompt of text alone counts up
        positions = torch.arange(n_prompt)[None]
    tensors = {"input_ids": inputs["input_ids"][0], "logits": logits, "completion_ids": made[n_prompt:],
               # [3, batch, T], or with the text's own positions before them [4, batch, T].
               "position_ids": positions[-3:, 0] if positions.dim() == 3 else positions.expand(3, -1)}
    if images:
        tensors |= {"pixel_values": inputs["pixel_values"], "image_grid_thw": inputs["image_grid_thw"]}
    spoken = processor.tokenizer.decode(made[n_prompt:], skip_special_tokens=True)
    return spoken, tensors, processor.image_processor.image_std


def compare(args, printed, ours, spoken, theirs, std):
    """What is equal and how far the rest is apart."""
    equal = lambda name: ours[name].shape == theirs[name].shape and bool((ours[name] == theirs[name]).all())
    found = {name: equal(name) for name in ("input_ids", "position_ids", "completion_ids")}
    found["text"] = printed["text"] == spoken
    agrees = True
    if args.image:
        found["image_grid_thw"] = equal("image_grid_thw")
        same = ours["pixel_values"].shape == theirs["pixel_values"].shape
        if same:
            gap = (ours["pixel_values"] - theirs["pixel_values"]).abs().max().item()
            found["pixel_levels"] = 255 * max(std) * gap
        agrees = same and found["pixel_levels"] <= 1.001
    same = ours["logits"].shape == theirs["logits"].shape
    if same:
        gap = (ours["logits"] - theirs["logits"]).abs().max()
        found["logits_relative"] = (gap / theirs["logits"].abs().max()).item()
    agrees = agrees and same and found["logits_relative"] <= args.tol
    agrees = agrees and all(value for value in found.values() if isinstance(value, bool))
    return found, agrees


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--othink", required=True)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--image", action="append", default=[])
    parser.add_argument("--prompt", default="How many different items are there in the image?")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    parser.add_argument("--tol", type=float, default=1e-4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        printed, ours = run_othink(args, folder)
    spoken, theirs, std = run_transformers(args)
    found, agrees = compare(args, printed, ours, spoken, theirs, std)
    found |= {"prompt_tokens": printed["prompt_tokens"], "new_tokens": len(printed["completion_ids"]),
              "agrees": agrees}
    print(json.dumps(found, indent=1))
    sys.exit(0 if agrees else 4)


if __name__ == "__main__":
    main()
