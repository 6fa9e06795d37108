#!/usr/bin/env python3
"""Micro checkpoints of Qwen2.5-VL and Qwen3-VL with what transformers makes of them.

    make_family_goldens.py --out tests/golden/families [--family qwen2_5_vl|qwen3_vl] [--seed N]

Two checkpoints a family, with random weights and the real structure: `tied` (f32, one file, as the hub has them) and
`untied` (bf16, shards, written by save_pretrained; other windows, DeepStack blocks and M-RoPE sections). Beside each stands
golden.json, the index, and golden.safetensors; a text value such as "two/merged" names a tensor there. All of it is f32 on
the CPU with eager attention; images are drawn by refcommon.draw_image and stored as PNG.

  cases      chat, ids, grids, positions, FNV-1a of the pixel values' bytes, logits of the last two rows, greedy ids without and
             with a repetition penalty of 1.2;
             for `detailed` ones the tower's patch embedding, every block, every feature, and every decoder layer
  scored     prompts with completions, each scored by itself: log-probabilities and
             loss = -sum_i advantage_i mean_t logp_it, with the gradient of every parameter
"""
from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import refcommon as rc  # noqa: E402
from family_files import ORDINARY, SIZES, chat_template, classes, hub_name, write_micro  # noqa: E402
from make_checkpoint import draw  # noqa: E402

import torch  # noqa: E402

# What the tower adds to its residual stream, by the ends of names.
STREAM = ("patch_embed.proj", "pos_embed", "attn.proj", "mlp.fc2", "mlp.down_proj", "mlp.linear_fc2")


def value_of(name, shape, seed, kind, eos):
    """Random weights. In `tied` the tower's residual stream is small, so that epsilons of its norms are seen."""
    value = draw(name, shape, seed, plain=False, eos=eos)
    part = name.rsplit(".", 1)[0]
    is_small = kind == "tied" and "merger" not in name and "visual." in name and part.endswith(STREAM)
    return value * 0.03 if is_small else value


def write_checkpoint(out, family, kind, seed):
    """The processor's files, the configuration and the weights."""
    from safetensors.torch import save_file
    spec = SIZES[family, kind]
    config_class, model_class, _ = classes(family)
    base = write_micro(out, family, spec["text"], spec["vision"], kind == "tied")
    model = model_class(config_class.from_pretrained(str(out)))
    tensors = {}
    for name, p in model.named_parameters():
        value = value_of(rc.to_original_name(name), tuple(p.shape), seed, kind, base + 2)
        if kind == "untied":
            value = value.bfloat16()
        p.data = value.float()
        tensors[hub_name(family, name)] = value.contiguous()
    if kind == "tied":
        save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
        (out / "model.safetensors").chmod(0o644)
    else:
        keep = {name: (out / name).read_bytes() for name in ("generation_config.json",)}
        model.bfloat16().save_pretrained(str(out), max_shard_size="100KB", save_original_format=False)
        for name, contents in keep.items():
            (out / name).write_bytes(contents)
    for file in out.iterdir():
        file.chmod(0o644)


def load(out, family):
    _, model_class, processor_class = classes(family)
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    model, info = model_class.from_pretrained(str(out), dtype=torch.float32, attn_implementation="eager",
                                              output_loading_info=True)
    missing = set(info["missing_keys"]) - ({"lm_head.weight"} if model.config.tie_word_embeddings else set())
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], info
    pre = rc.read_json(out / "preprocessor_config.json")
    pre.pop("image_processor_type")
    processor = processor_class(image_processor=Qwen2VLImageProcessorPil(**pre), video_processor=Qwen2VLVideoProcessor(),
                                tokenizer=AutoTokenizer.from_pretrained(str(out)), chat_template=chat_template(family))
    return model.eval(), processor


PENALTY = 1.2
IMAGES = [("square", 84, 84), ("thin", 300, 24), ("odd", 123, 77), ("tall", 60, 170)]


def samples():
    image = {"type": "image"}

    def user(*parts):
        return {"role": "user", "content": [p if isinstance(p, dict) else {"type": "text", "text": p} for p in parts]}
    return {
        "one": ([user(image, "How many items are there?")], ["odd"]),
        "thin": ([user(image, "What?")], ["thin"]),
        "two": ([user("Compare ", image, " and ", image, "Count.")], ["tall", "odd"]),
        "text": ([user("Describe 7 + 5 = ? <think> step </think> by <tool_call>.")], []),
        "turns": ([{"role": "system", "content": "Be brief."}, user(image, "Left?"),
                   {"role": "assistant", "content": "<answer>3</answer>"}, user("Sure? 你好 🙂")], ["square"]),
    }


COMPLETIONS = {"two": ["<answer>5</answer>", "I count three, four."], "text": ["12", "<think>\nseven\n</think> 9"]}
ADVANTAGES = {"two": [1.0, -0.7], "text": [0.4, -1.3]}


def fnv1a(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return f"{h:016x}"


class Golden:
    def __init__(self):
        self.index, self.tensors = {}, {}

    def tensor(self, name, x):
        x = x.detach().contiguous().clone()
        self.tensors[name] = x.to(torch.int32) if x.dtype == torch.int64 else x
        return name


def hooked(model, inputs):
    """Every hidden state on the way, in the order in which they are made."""
    store, handles = {}, []
    vis, lm = model.model.visual, model.model.language_model
    out_of = lambda o: o[0] if isinstance(o, tuple) else o  # noqa: E731

    def note(module, name):
        handles.append(module.register_forward_hook(lambda m, a, o: store.__setitem__(name, out_of(o).detach())))
    note(vis.patch_embed, "vis_patch")
    for i, block in enumerate(vis.blocks):
        note(block, f"vis_block{i}")
    for i, merger in enumerate(getattr(vis, "deepstack_merger_list", [])):
        note(merger, f"deepstack{i}")
    for i, layer in enumerate(lm.layers):
        note(layer, f"layer{i}")
    note(lm.norm, "norm")
    with torch.no_grad():
        model.model.rope_deltas = None
        store["logits"] = model(**inputs).logits
    for handle in handles:
        handle.remove()
    return store


def record_case(g, name, model, processor, messages, images):
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], images=images or None, return_tensors="pt", return_mm_token_type_ids=True)
    ids, grids = inputs["input_ids"], inputs.get("image_grid_thw")
    record = {"chat_text": text, "input_ids": ids[0].tolist(), "grids": grids.tolist() if grids is not None else []}
    if grids is not None:
        positions, delta = model.model.get_rope_index(ids, inputs["mm_token_type_ids"], image_grid_thw=grids,
                                                      attention_mask=inputs["attention_mask"])
        pixels = inputs["pixel_values"].float().contiguous()
        record["pixel_values_fnv1a"] = fnv1a(pixels.numpy().tobytes())
        record["pixel_values_sum"] = float(pixels.double().sum())
        record["pixel_row"] = g.tensor(f"{name}/pixel_row", pixels[-1])
        with torch.no_grad():
            features = model.model.get_image_features(inputs["pixel_values"], grids)
        merged = torch.cat(list(features.pooler_output), 0)
        record["merged"] = g.tensor(f"{name}/merged", merged)
    else:
        positions, delta = torch.arange(ids.shape[1]).expand(3, 1, -1), torch.zeros(1)
    record["positions"] = g.tensor(f"{name}/positions", positions[-3:, 0])
    record["rope_delta"] = int(delta.reshape(-1)[0])
    states = hooked(model, inputs)
    if name == "two":
        hidden = {k: (v[0] if v.dim() == 3 else v) for k, v in states.items() if k != "logits"}
        record["hidden"] = {k: g.tensor(f"{name}/{k}", v) for k, v in hidden.items()}
    logits = states["logits"][0]
    record["logits_last2"] = g.tensor(f"{name}/logits_last2", logits[-2:])
    record["logsumexp"] = g.tensor(f"{name}/logsumexp", logits.logsumexp(-1))
    gc = copy.deepcopy(model.generation_config)
    gc.do_sample = False
    for key in ("temperature", "top_p", "top_k"):
        setattr(gc, key, None)
    model.model.rope_deltas = None
    with torch.no_grad():
        out = model.generate(**inputs, generation_config=gc, max_new_tokens=24, output_scores=True,
                             return_dict_in_generate=True)
    record["greedy24"] = out.sequences[0, ids.shape[1]:].tolist()
    gc.repetition_penalty = PENALTY
    model.model.rope_deltas = None
    with torch.no_grad():
        penalized = model.generate(**inputs, generation_config=gc, max_new_tokens=24)
    record["penalized24"] = penalized[0, ids.shape[1]:].tolist()
    margins = [s.topk(2, -1).values[0] for s in out.scores]
    record["smallest_margin"] = min(float(top[0] - top[1]) for top in margins)
    return record, inputs


def record_scored(g, model, processor, prompts):
    """Each completion behind its own copy of the prompt."""
    model.zero_grad(set_to_none=True)
    loss, groups = 0.0, []
    for name, texts in COMPLETIONS.items():
        inputs = prompts[name]
        group = {"prompt": name, "completions": [], "advantages": ADVANTAGES[name]}
        for text, advantage in zip(texts, ADVANTAGES[name]):
            new = processor.tokenizer(text + "<|im_end|>", return_tensors="pt")["input_ids"]
            ids = torch.cat([inputs["input_ids"], new], 1)
            more = {k: inputs[k] for k in ("pixel_values", "image_grid_thw") if k in inputs}
            types = inputs["mm_token_type_ids"]
            types = torch.cat([types, torch.zeros_like(new)], 1)
            model.model.rope_deltas = None
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, **more).logits
            logp = logits[0, -new.shape[1] - 1:-1].log_softmax(-1).gather(1, new[0][:, None])[:, 0]
            loss = loss - advantage * logp.mean()
            key = f"logp/{name}{len(group['completions'])}"
            group["completions"].append({"ids": new[0].tolist(), "logp": g.tensor(key, logp)})
        groups.append(group)
    loss.backward()
    grads = {}
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        grads[rc.to_original_name(name)] = g.tensor(f"grad/{rc.to_original_name(name)}", p.grad)
    g.index["scored"] = {"groups": groups, "loss": loss.item(), "grads": grads}


def make(root, family, kind, seed):
    import PIL
    import transformers
    from PIL import Image
    from safetensors.torch import save_file
    out = root / family / kind
    out.mkdir(parents=True, exist_ok=True)
    for stale in out.glob("*"):
        stale.unlink()
    write_checkpoint(out, family, kind, seed)
    model, processor = load(out, family)
    g = Golden()
    g.index["made_with"] = {"torch": torch.__version__, "transformers": transformers.__version__,
                            "pillow": PIL.__version__, "seed": seed}
    g.index["cases"], prompts = {}, {}
    for name, (messages, images) in samples().items():
        opened = [Image.open(root / "images" / f"{i}.png").convert("RGB") for i in images]
        record, prompts[name] = record_case(g, name, model, processor, messages, opened)
        g.index["cases"][name] = {"messages": messages, "images": images, **record}
        print(family, kind, name, record["grids"], record["smallest_margin"], record["greedy24"], flush=True)
    record_scored(g, model, processor, prompts)
    rc.write_json(out / "golden.json", g.index, compact=True)
    save_file(g.tensors, str(out / "golden.safetensors"), metadata={"format": "pt"})
    (out / "golden.safetensors").chmod(0o644)
    print(family, kind, rc.dir_bytes(out), "bytes", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--family", choices=list(ORDINARY), action="append")
    ap.add_argument("--kind", choices=["tied", "untied"], action="append")
    ap.add_argument("--seed", type=int, default=3)
    args = ap.parse_args()
    torch.set_num_threads(1)
    (args.out / "images").mkdir(parents=True, exist_ok=True)
    for i, (name, width, height) in enumerate(IMAGES):
        rc.draw_image(width, height, 100 + i).save(args.out / "images" / f"{name}.png", optimize=True)
    for family in args.family or list(ORDINARY):
        for kind in args.kind or ["tied", "untied"]:
            make(args.out, family, kind, args.seed)


if __name__ == "__main__":
    main()
