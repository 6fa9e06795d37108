#!/usr/bin/env python3
"""Random weights of a published model's shape, to measure what a run of that size takes. Needs numpy alone.

    make_shape.py --config assets/published/Qwen2-VL-2B.json --processor tests/golden/micro/policy --out DIR
    make_shape.py --config assets/published/Qwen3-VL-2B.json --processor tests/golden/families/qwen3_vl/tied --out DIR

Qwen2-VL and dense Qwen3-VL. Weights are N(0, 0.02) in bf16, norms one, in one file under the hub's names; tokenizer, image
settings and special ids are those of the processor's folder, a micro checkpoint of the same family.
"""
from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

IDS = ("bos_token_id", "eos_token_id", "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
FILES = ("chat_template.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")
STD = 0.02


def with_bias(name, *dims):
    return [(f"{name}.weight", dims), (f"{name}.bias", dims[:1])]


def language(text, prefix, is_qwen3):
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    heads, kv = text["num_attention_heads"], text["num_key_value_heads"]
    dim = text.get("head_dim", hidden // heads)
    shapes = [(f"{prefix}.embed_tokens.weight", (text["vocab_size"], hidden)), (f"{prefix}.norm.weight", (hidden,))]
    for i in range(text["num_hidden_layers"]):
        at = f"{prefix}.layers.{i}"
        for name, n in (("q", heads), ("k", kv), ("v", kv)):
            both = with_bias(f"{at}.self_attn.{name}_proj", n * dim, hidden)
            shapes += both[:1] if is_qwen3 else both
        if is_qwen3:
            shapes += [(f"{at}.self_attn.{name}_norm.weight", (dim,)) for name in "qk"]
        shapes += [(f"{at}.self_attn.o_proj.weight", (hidden, heads * dim)), (f"{at}.mlp.gate_proj.weight", (inner, hidden)),
                   (f"{at}.mlp.up_proj.weight", (inner, hidden)), (f"{at}.mlp.down_proj.weight", (hidden, inner)),
                   (f"{at}.input_layernorm.weight", (hidden,)), (f"{at}.post_attention_layernorm.weight", (hidden,))]
    return shapes


def tower(vision, hidden, prefix, is_qwen3):
    width = vision["hidden_size"] if is_qwen3 else vision["embed_dim"]
    inner = vision["intermediate_size"] if is_qwen3 else int(width * vision["mlp_ratio"])
    patch, merged = vision["patch_size"], 4 * width
    maps = ("linear_fc1", "linear_fc2") if is_qwen3 else ("fc1", "fc2")
    patches = with_bias(f"{prefix}.patch_embed.proj", width, 3, 2, patch, patch)
    shapes = patches if is_qwen3 else patches[:1]
    if is_qwen3:
        shapes += [(f"{prefix}.pos_embed.weight", (vision["num_position_embeddings"], width))]
    for i in range(vision["depth"]):
        at = f"{prefix}.blocks.{i}"
        shapes += with_bias(f"{at}.norm1", width) + with_bias(f"{at}.norm2", width)
        shapes += with_bias(f"{at}.attn.qkv", 3 * width, width) + with_bias(f"{at}.attn.proj", width, width)
        shapes += with_bias(f"{at}.mlp.{maps[0]}", inner, width) + with_bias(f"{at}.mlp.{maps[1]}", width, inner)
    norm, first, second = ("norm", "linear_fc1", "linear_fc2") if is_qwen3 else ("ln_q", "mlp.0", "mlp.2")
    mergers = [("merger", width)]
    if is_qwen3:
        mergers += [(f"deepstack_merger_list.{i}", merged) for i in range(len(vision["deepstack_visual_indexes"]))]
    for name, normed in mergers:
        at = f"{prefix}.{name}"
        shapes += with_bias(f"{at}.{norm}", normed) + with_bias(f"{at}.{first}", merged, merged)
        shapes += with_bias(f"{at}.{second}", hidden, merged)
    return shapes


def bf16(x):
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("config", "processor", "out"):
        ap.add_argument(f"--{name}", type=Path, required=True)
    args = ap.parse_args()
    config, micro = (json.loads(path.read_text()) for path in (args.config, args.processor / "config.json"))
    is_qwen3 = config["model_type"] == "qwen3_vl"
    text = config.get("text_config", config)
    for key in IDS:
        for to, of in ((config, micro), (config.get("text_config", {}), micro.get("text_config", {}))):
            if key in of:
                to[key] = of[key]
    assert config.get("tie_word_embeddings", text.get("tie_word_embeddings")), "an untied head is not written"
    args.out.mkdir(parents=True)
    for name in FILES:
        shutil.copy(args.processor / name, args.out / name)
    pre = json.loads((args.out / "preprocessor_config.json").read_text())
    limits = {"shortest_edge": 65536, "longest_edge": 16777216} if is_qwen3 else {"min_pixels": 3136, "max_pixels": 12845056}
    pre |= {"size": limits} if is_qwen3 else limits
    pre["patch_size"] = config["vision_config"]["patch_size"]
    (args.out / "preprocessor_config.json").write_text(json.dumps(pre))
    (args.out / "config.json").write_text(json.dumps(config, indent=2))
    prefixes = ("model.language_model", "model.visual") if is_qwen3 else ("model", "visual")
    shapes = language(text, prefixes[0], is_qwen3) + tower(config["vision_config"], text["hidden_size"], prefixes[1], is_qwen3)
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for name, dims in shapes:
        end = start + 2 * int(np.prod(dims))
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [start, end]}
        start = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    rng = np.random.default_rng(7)
    pool = bf16(rng.standard_normal(1 << 24, dtype=np.float32) * STD)
    with open(args.out / "model.safetensors", "wb") as out:
        out.write(len(head).to_bytes(8, "little") + head)
        for name, dims in shapes:
            n, is_norm = int(np.prod(dims)), len(dims) == 1 and name.endswith("weight")
            if is_norm:
                out.write(bf16(np.ones(n)).tobytes())
            while n > 0 and not is_norm:
                first = int(rng.integers(len(pool) // 2))
                piece = pool[first:first + n]
                out.write(piece.tobytes())
                n -= len(piece)
    print(f"{args.out}: {start / 2e6:.1f} million parameters")


if __name__ == "__main__":
    main()
