#!/usr/bin/env python3
"""LoRA adapters made by peft for micro checkpoints of make_family_goldens.py, with what training does to them.

    make_lora_goldens.py --checkpoints tests/golden/families --out tests/golden/lora

Needs peft beside what make_family_goldens.py needs. Each folder is one that peft's save_pretrained wrote, with random factors
(B too, or A would have no gradient); golden.json and golden.safetensors hold, in f32 on the CPU:

  logp       log-probabilities of the checkpoint's scored completions, and the loss of make_family_goldens.py
  grads      the gradient of every factor
  after      every factor after three steps of torch's AdamW (lr 2e-3, weight decay 0.1)
  merged     what merge_and_unload makes of the first blocks' weights with the factors as they were saved
  dropout    of the language model's factors: the loss and gradients with lora_dropout, whose masks are drawn as the program does
             for the prompts and completions one after another in one stream: by Philox4x32-10 (Salmon et al. 2011), 16 bits for
             each input in the order of rows, its key and counter named by seed, update, pass and map
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import make_family_goldens as families  # noqa: E402
import refcommon as rc  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

# The language model's maps where the tower's have the same names; every linear map, and the other scale.
LANGUAGE = r".*language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
CASES = {("qwen2_5_vl", "tied"): dict(r=4, lora_alpha=6, target_modules=LANGUAGE),
         ("qwen3_vl", "untied"): dict(r=3, lora_alpha=5, use_rslora=True, target_modules="all-linear")}
STEPS, LR, DECAY = 3, 2e-3, 0.1
FIRST = (".layers.0.", ".blocks.0.", "merger")
DROPOUT = dict(rate=0.25, seed=11, update=5)
PASS, PURPOSE = 1, 10


def philox(counter, key):
    """Four arrays of random words for the four of a counter."""
    counter = [np.asarray(word, dtype=np.uint64) for word in counter]
    low, key = np.uint64(0xFFFFFFFF), list(key)
    for _ in range(10):
        first, second = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        high = [product >> np.uint64(32) for product in (first, second)]
        counter = [high[1] ^ counter[1] ^ np.uint64(key[0]), second & low,
                   high[0] ^ counter[3] ^ np.uint64(key[1]), first & low]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter


class Mask(torch.nn.Module):
    """In the place of the dropout of one map's factors; `first_row` is where the sequence begins in the stream."""

    def __init__(self, place):
        super().__init__()
        seed = DROPOUT["seed"]
        self.key = [int(word) for word in philox([PURPOSE, 0, 0, 0], [seed % 2**32, seed >> 32])[:2]]
        self.place, self.first_row = place, 0

    def forward(self, x):
        _, rows, inner = x.shape
        start, n = self.first_row * inner, rows * inner
        blocks = np.arange((start + n + 7) // 8)
        words = philox([blocks, self.place, PASS, DROPOUT["update"]], self.key)
        halves = np.stack([half for word in words for half in (word & np.uint64(0xFFFF), word >> np.uint64(16))], 1)
        bits = halves.reshape(-1)[start:start + n].astype(np.int64)
        kept = torch.from_numpy(bits >= round(DROPOUT["rate"] * 2**16)).reshape(x.shape)
        return x * kept / (1 - DROPOUT["rate"])


def hub_name(name):
    """The name of a map or factor as the hub spells it, without what peft puts around it."""
    name = name.removeprefix("base_model.model.").replace(".default", "").replace(".base_layer", "")
    return rc.to_original_name(name)


def loss_of(model, processor, prompts, note=None, masks=()):
    loss = 0.0
    for name, texts in families.COMPLETIONS.items():
        inputs = prompts[name]
        for i, (text, advantage) in enumerate(zip(texts, families.ADVANTAGES[name])):
            new = processor.tokenizer(text + "<|im_end|>", return_tensors="pt")["input_ids"]
            ids = torch.cat([inputs["input_ids"], new], 1)
            types = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(new)], 1)
            more = {k: inputs[k] for k in ("pixel_values", "image_grid_thw") if k in inputs}
            model.base_model.model.model.rope_deltas = None
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, **more).logits
            logp = logits[0, -new.shape[1] - 1:-1].log_softmax(-1).gather(1, new[0][:, None])[:, 0]
            loss = loss - advantage * logp.mean()
            if note:
                note(f"logp/{name}{i}", logp)
            for mask in masks:
                mask.first_row += ids.shape[1] - 1  # a completion's last token is not fed
    return loss


def with_dropout(model, processor, prompts, factors, g):
    layers = {n: m for n, m in model.named_modules() if isinstance(getattr(m, "lora_dropout", None), torch.nn.ModuleDict)}
    names = sorted((hub_name(n), n) for n in layers)
    masks = [Mask(place) for place in range(len(names))]
    for mask, (_, name) in zip(masks, names):
        layers[name].lora_dropout["default"] = mask
    for p in factors.values():
        p.grad = None
    loss = loss_of(model, processor, prompts, masks=masks)
    loss.backward()
    g.index["dropout"] = {**DROPOUT, "pass": PASS, "loss": loss.item(),
                          "grads": {n: g.tensor(f"dropout/{n}", p.grad) for n, p in factors.items()}}
    for name in layers:
        layers[name].lora_dropout["default"] = torch.nn.Identity()


def make(checkpoints, out, family, kind, settings):
    import peft
    from PIL import Image
    from safetensors.torch import save_file
    model, processor = families.load(checkpoints / family / kind, family)
    prompts = {}
    for name, (messages, images) in families.samples().items():
        opened = [Image.open(checkpoints / "images" / f"{i}.png").convert("RGB") for i in images]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompts[name] = processor(text=[text], images=opened or None, return_tensors="pt", return_mm_token_type_ids=True)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    factors = {hub_name(n): p for n, p in model.named_parameters() if ".lora_" in n}
    random = torch.Generator().manual_seed(5)
    for p in factors.values():
        p.data = torch.randn(p.shape, generator=random) * 0.2
    folder = out / family
    folder.mkdir(parents=True, exist_ok=True)
    model.peft_config["default"].base_model_name_or_path = f"tests/golden/families/{family}/{kind}"
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    g = families.Golden()
    g.index = {"checkpoint": f"{family}/{kind}", "lr": LR, "weight_decay": DECAY, "steps": STEPS,
               "made_with": {"torch": torch.__version__, "peft": peft.__version__}, "logp": [], "losses": []}

    def note(name, logp):
        g.index["logp"].append(g.tensor(name, logp))
    if settings["target_modules"] == LANGUAGE:
        with_dropout(model, processor, prompts, factors, g)
    optimizer = torch.optim.AdamW(factors.values(), lr=LR, weight_decay=DECAY)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model, processor, prompts, note if step == 0 else None)
        loss.backward()
        g.index["losses"].append(loss.item())
        if step == 0:
            g.index["grads"] = {n: g.tensor(f"grad/{n}", p.grad) for n, p in factors.items()}
        optimizer.step()
    g.index["after"] = {n: g.tensor(f"after/{n}", p) for n, p in factors.items()}
    base, _ = families.load(checkpoints / family / kind, family)
    merged = peft.PeftModel.from_pretrained(base, str(folder)).merge_and_unload()
    maps = {n.rsplit(".lora_", 1)[0] + ".weight" for n in factors}
    g.index["merged"] = {}
    for name, p in merged.named_parameters():
        name = rc.to_original_name(name)
        if name in maps and any(part in name for part in FIRST):
            g.index["merged"][name] = g.tensor(f"merged/{name}", p)
    rc.write_json(folder / "golden.json", g.index, compact=True)
    save_file(g.tensors, str(folder / "golden.safetensors"), metadata={"format": "pt"})
    for file in folder.iterdir():
        file.chmod(0o644)
    print(family, len(factors), "factors", g.index["losses"], rc.dir_bytes(folder), "bytes", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--checkpoints", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True)
    args = ap.parse_args()
    torch.set_num_threads(1)
    for (family, kind), settings in CASES.items():
        make(args.checkpoints, args.out, family, kind, settings)


if __name__ == "__main__":
    main()
