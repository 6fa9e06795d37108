#!/usr/bin/env python3
"""Load an adapter that another program wrote onto its model with peft, and compare what the two compute.

    check_adapter.py --adapter DIR --base DIR --image FILE --prompt TEXT --dump FILE [--tol 1e-4] [--merged DIR]

The dump is what `othink infer --model ADAPTER --image FILE --prompt TEXT --dump FILE` wrote. Prints JSON: factors loaded, the
largest difference of logits relative to the largest logit, and with --merged that of the weights of a model merged with
--dtype f32.

Exit status: 0 fine; 2 peft has other factors than the file, or warns; 4 numbers differ by more than --tol.
"""
from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import refcommon as rc  # noqa: E402
from check_export import compare_dump, tensors_of  # noqa: E402


def fail(code, message):
    print(f"check_adapter: {message}", file=sys.stderr)
    sys.exit(code)


def load(args):
    from peft import PeftModel
    from safetensors.torch import load_file
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(rc.load_model(args.base, dtype="float32"), str(args.adapter)).eval()
    said = [str(w.message) for w in caught if "adapter" in str(w.message)]
    if said:
        fail(2, said)
    loaded = {n.replace(".default", ""): p for n, p in model.named_parameters() if ".lora_" in n}
    stored = load_file(str(args.adapter / "adapter_model.safetensors"))
    if set(loaded) != set(stored):
        fail(2, f"not in both the file and the model: {sorted(set(loaded) ^ set(stored))[:10]}")
    for name, p in loaded.items():
        if not (p.detach() == stored[name].float()).all():
            fail(2, f"{name}: peft has other numbers than the file")
    return model, len(loaded)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("adapter", "base", "image", "dump"):
        ap.add_argument(f"--{name}", type=Path, required=True)
    ap.add_argument("--prompt", required=True)
    ap.add_argument("--merged", type=Path)
    ap.add_argument("--tol", type=float, default=1e-4)
    args = ap.parse_args()
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoProcessor
    model, n = load(args)
    proc = AutoProcessor.from_pretrained(str(args.base))
    proc.image_processor = AutoImageProcessor.from_pretrained(str(args.base), backend="pil")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": args.prompt}]}]
    text = proc.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    image = Image.open(args.image).convert("RGB")
    inputs = proc(text=[text], images=[image], return_tensors="pt", return_mm_token_type_ids=True)
    with torch.no_grad():
        logits = model(**inputs).logits[0].float()
    result = {"factors": n, "logits": compare_dump(args.dump, inputs, logits, args.tol)}
    if args.merged:
        theirs = dict(model.merge_and_unload().named_parameters())
        ours = tensors_of(args.merged)
        if set(theirs) != set(ours):
            fail(2, f"merged: not in both: {sorted(set(theirs) ^ set(ours))[:10]}")
        worst = max(float((theirs[k] - ours[k].float()).abs().max() / theirs[k].abs().max()) for k in theirs)
        if worst > args.tol:
            fail(4, f"merged weights differ by {worst:e} relative")
        result["merged"] = worst
    print(json.dumps(result))


if __name__ == "__main__":
    main()
