"""What a checkpoint of Qwen2.5-VL or Qwen3-VL consists of beside its weights: sizes, names, settings, tokenizer.

Not here: values of weights (make_checkpoint.draw), what transformers computes with them (make_family_goldens.py), Qwen2-VL
(make_checkpoint.py).
"""
from __future__ import annotations

import importlib.util
from pathlib import Path

import refcommon as rc

# Sizes of the goldens, `tied` and `untied`: sections of M-RoPE are unequal and the base is small, or axes that are confused
# would hardly be seen. `small` has the widths and depths of Qwen2-VL's, windows of the published size with about as large a
# share of full blocks as the published models (one of 6, one of 8 there), and their three DeepStack blocks.
SIZES = {
    ("qwen2_5_vl", "tied"): dict(
        text=dict(hidden_size=48, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, mrope_section=[3, 1, 2], rope_theta=60.0, rms_norm_eps=1e-6),
        vision=dict(depth=3, hidden_size=24, intermediate_size=40, num_heads=2, patch_size=14, window_size=84,
                    fullatt_block_indexes=[1])),
    ("qwen2_5_vl", "untied"): dict(
        text=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1, mrope_section=[2, 3, 1], rope_theta=1e4, rms_norm_eps=1e-3),
        vision=dict(depth=4, hidden_size=16, intermediate_size=36, num_heads=2, patch_size=14, window_size=64,
                    fullatt_block_indexes=[0, 3])),
    ("qwen2_5_vl", "small"): dict(
        text=dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=4,
                  num_key_value_heads=2, mrope_section=[8, 12, 12], rope_theta=1e6, rms_norm_eps=1e-6,
                  max_position_embeddings=32768),
        vision=dict(depth=6, hidden_size=384, intermediate_size=1024, num_heads=6, patch_size=14, window_size=112,
                    fullatt_block_indexes=[5])),
    ("qwen3_vl", "tied"): dict(
        text=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
                  num_key_value_heads=2, head_dim=16, mrope_section=[4, 1, 3], rope_theta=60.0, rms_norm_eps=1e-6),
        vision=dict(depth=4, hidden_size=16, intermediate_size=40, num_heads=2, patch_size=16,
                    num_position_embeddings=36, deepstack_visual_indexes=[0, 1, 2])),
    ("qwen3_vl", "untied"): dict(
        text=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                  num_key_value_heads=1, head_dim=16, mrope_section=[3, 1, 4], rope_theta=1e4, rms_norm_eps=1e-3),
        vision=dict(depth=3, hidden_size=24, intermediate_size=36, num_heads=3, patch_size=16,
                    num_position_embeddings=16, deepstack_visual_indexes=[2])),
    ("qwen3_vl", "small"): dict(
        text=dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=4,
                  num_key_value_heads=2, head_dim=64, mrope_section=[12, 10, 10], rope_theta=5e6, rms_norm_eps=1e-6,
                  max_position_embeddings=32768),
        vision=dict(depth=6, hidden_size=384, intermediate_size=1536, num_heads=6, patch_size=16,
                    num_position_embeddings=2304, deepstack_visual_indexes=[1, 2, 4])),
}

# Added tokens that are not special: in small vocabularies, and in the hub's.
ORDINARY = {"qwen2_5_vl": ["<tool_call>", "</tool_call>"],
            "qwen3_vl": ["<tool_call>", "</tool_call>", "<think>", "</think>"]}
HUB_ORDINARY = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
                "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
N_HUB_ORDINARY = {"qwen2_5_vl": 8, "qwen3_vl": 12}
HUB_VOCABULARY = 151936
# The hub's limits of a picture's pixels.
HUB_LIMITS = {"qwen2_5_vl": [3136, 12845056], "qwen3_vl": [65536, 16777216]}


def classes(family):
    import transformers as t
    if family == "qwen2_5_vl":
        return t.Qwen2_5_VLConfig, t.Qwen2_5_VLForConditionalGeneration, t.Qwen2_5_VLProcessor
    return t.Qwen3VLConfig, t.Qwen3VLForConditionalGeneration, t.Qwen3VLProcessor


def chat_template(family):
    """The hub's template (Apache-2.0, Qwen team), of which trl has a copy."""
    trl = Path(importlib.util.find_spec("trl").origin).parent
    return (trl / "chat_templates" / f"{family}.jinja").read_text(encoding="utf-8")


def hub_name(family, name):
    """The name of a parameter of transformers' in the family's checkpoints on the hub."""
    return rc.to_original_name(name) if family == "qwen2_5_vl" else name


def hub_config(family, text, vision, base, vocab, tied, dtype="float32"):
    """config.json as the hub has it: flat for Qwen2.5-VL, nested for Qwen3-VL."""
    text = {**text, "vocab_size": vocab, "max_position_embeddings": text.get("max_position_embeddings", 4096),
            "hidden_act": "silu"}
    sections, theta = text.pop("mrope_section"), text.pop("rope_theta")
    common = {"architectures": [classes(family)[1].__name__], "model_type": family, "image_token_id": base + 12,
              "video_token_id": base + 13, "vision_start_token_id": base + 9, "vision_end_token_id": base + 10,
              "tie_word_embeddings": tied}
    vision = dict(vision, out_hidden_size=text["hidden_size"], spatial_merge_size=2, temporal_patch_size=2)
    if family == "qwen2_5_vl":
        vision = dict(vision, hidden_act="silu", in_chans=3, spatial_patch_size=14, tokens_per_second=2)
        return {**common, **text, "rope_theta": theta, "rope_scaling": {"type": "mrope", "mrope_section": sections},
                "bos_token_id": base, "eos_token_id": base + 2, "torch_dtype": dtype, "use_sliding_window": False,
                "sliding_window": 4096, "max_window_layers": text["num_hidden_layers"], "vision_config": vision}
    rope = {"mrope_interleaved": True, "mrope_section": sections, "rope_type": "default"}
    text = dict(text, model_type="qwen3_vl_text", rope_theta=theta, rope_scaling=rope, attention_bias=False,
                bos_token_id=base, eos_token_id=base + 2, dtype=dtype, tie_word_embeddings=tied)
    vision = dict(vision, model_type="qwen3_vl", hidden_act="gelu_pytorch_tanh", in_channels=3)
    return {**common, "text_config": text, "vision_config": vision}


def parameters(out, family):
    """(name on the hub, shape) of every parameter that the configuration in `out` makes transformers' model have."""
    import torch
    config_class, model_class, _ = classes(family)
    with torch.device("meta"):
        model = model_class(config_class.from_pretrained(str(out)))
    return [(hub_name(family, name), tuple(p.shape)) for name, p in model.named_parameters()]


def add_to_tokenizer(out, family, ordinary, base):
    """Gives the Qwen2-VL tokenizer in `out` the family's tokens and chat template."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        doc = rc.read_json(out / name)
        for i, content in enumerate(ordinary, base + len(rc.SPECIAL_TOKENS)):
            token = {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                     "special": False}
            if name == "tokenizer.json":
                doc["added_tokens"].append({"id": i, **token})
            else:
                doc["added_tokens_decoder"][str(i)] = token
                doc["chat_template"] = chat_template(family)
        rc.write_json(out / name, doc, compact=True)
    rc.write_json(out / "chat_template.json", {"chat_template": chat_template(family)})


def write_settings(out, family, config, base, patch, limits):
    """The configuration, the image processor's settings and those of sampling."""
    clip = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    pre = {"patch_size": patch, "temporal_patch_size": 2, "merge_size": 2, "image_processor_type": "Qwen2VLImageProcessor"}
    if family == "qwen2_5_vl":
        pre |= {"min_pixels": limits[0], "max_pixels": limits[1], **clip}
    else:
        pre |= {"size": {"shortest_edge": limits[0], "longest_edge": limits[1]},
                "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    rc.write_json(out / "preprocessor_config.json", pre)
    rc.write_json(out / "generation_config.json", {"bos_token_id": base, "pad_token_id": base, "do_sample": True,
                                                   "eos_token_id": [base + 2, base]})
    rc.write_json(out / "config.json", config)


def write_micro(out, family, text, vision, tied, dtype="float32"):
    """All files but the weights' with a small vocabulary of its own; returns the first special token's id."""
    vocab, merges, base = rc.train_micro_bpe(90)
    rc.write_tokenizer(out, vocab, merges, base, with_vocab_files=False)
    add_to_tokenizer(out, family, ORDINARY[family], base)
    size = base + len(rc.SPECIAL_TOKENS) + len(ORDINARY[family]) + 3
    area = vision["patch_size"] ** 2
    config = hub_config(family, text, vision, base, size, tied, dtype)
    write_settings(out, family, config, base, vision["patch_size"], [4 * area, 60 * area])
    return base


def write_small(out, family, text, vision, tied, tiktoken, dtype="float32"):
    """All files but the weights' with the hub's vocabulary and limits; returns the first special token's id."""
    import make_tokenizer
    base = len(make_tokenizer.build(tiktoken, out))
    add_to_tokenizer(out, family, HUB_ORDINARY[:N_HUB_ORDINARY[family]], base)
    config = hub_config(family, text, vision, base, HUB_VOCABULARY, tied, dtype)
    write_settings(out, family, config, base, vision["patch_size"], HUB_LIMITS[family])
    return base
