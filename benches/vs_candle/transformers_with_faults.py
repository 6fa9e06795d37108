#!/usr/bin/env python3
"""What candle-transformers' faults make of transformers' own logits: `run.sh logits` prints as much for candle.

    transformers_with_faults.py tests/golden/families/qwen3_vl/tied [FOLDER...]

For each case of a folder's golden.json (scripts/reference/make_family_goldens.py): the largest difference of the logits after the
prompt, relative to the largest, where transformers gets none of the faults, each by itself, and all. Not here: candle-transformers.
"""
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl import modeling_qwen3_vl as modeling

FAULTS = ("mask", "positions", "GELU")


def logits(model, case, positions, pictures, faults):
    """Of the token after the prompt, with these faults."""
    ids = torch.tensor([case["input_ids"]])
    for module in model.modules():
        if isinstance(module, modeling.Qwen3VLVisionPatchMerger):
            module.act_fn = torch.nn.GELU(approximate="tanh" if "GELU" in faults else "none")
    if "positions" in faults:
        positions = torch.arange(ids.shape[1]).expand(3, -1)
    inputs = {"mm_token_type_ids": (ids == model.config.image_token_id).int(), **pictures} if pictures else {}
    create_causal_mask = modeling.create_causal_mask
    if "mask" in faults:
        modeling.create_causal_mask = lambda *_, **__: None
    try:
        with torch.no_grad():
            return model(input_ids=ids, position_ids=positions[:, None], **inputs).logits[0, -1]
    finally:
        modeling.create_causal_mask = create_causal_mask


def main():
    print("| prompt | none | " + " | ".join(FAULTS) + " | all |\n|---|" + "---|" * (len(FAULTS) + 2))
    for folder in map(Path, sys.argv[1:]):
        golden, tensors = json.loads((folder / "golden.json").read_text()), load_file(folder / "golden.safetensors")
        processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
        model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        for name, case in golden["cases"].items():
            images = [Image.open(folder / "../../images" / f"{image}.png").convert("RGB") for image in case["images"]]
            pictures = dict(processor(images=images, return_tensors="pt")) if images else {}
            positions, expected = tensors[case["positions"]].long(), tensors[case["logits_last2"]][1]
            cells = []
            for faults in ((), *((fault,) for fault in FAULTS), FAULTS):
                found = logits(model, case, positions, pictures, faults)
                cells.append(f"{float((found - expected).abs().max() / expected.abs().max()):.2e}")
            print(f"| {folder.name}: {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
