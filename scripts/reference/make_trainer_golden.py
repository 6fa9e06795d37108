#!/usr/bin/env python3
"""Whole training runs in torch and transformers: every update's figures and the weights that it leaves.

    make_trainer_golden.py --data tests/golden/trainer --out tests/golden/trainer

Run from the repository's root. Reads DATA/rows.jsonl and the run files DATA/*.toml, does what they say, and writes

    completions.jsonl   the completions that GRPO's runs are trained on, for `rollout.replay`: two batches of rollouts
    golden.json         per run: the figures of every update; per checkpoint and parameter its norm, its distance from
                        where it began and its product with sin(1), sin(2), ...
    weights.safetensors some parameters of every run file's last checkpoint as they are: RUN/NAME

The loop is written from the paper's Eq. (1) to (5), TRL's and transformers' documentation and our run file's, not from
this program: one sequence at a time through transformers' Qwen2-VL, torch's autograd, `torch.optim.AdamW`,
`clip_grad_norm_`, transformers' schedules and processor. Everything is f32 on the CPU with eager attention. Every key
that the loop needs must stand in the run file; it has no defaults of its own.
"""
import argparse
import json
import math
import random
import re
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import refcommon as rc  # noqa: E402

import PIL  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import get_scheduler  # noqa: E402

# Which run files, and after how many updates: shorter runs show the weights inside a batch of rollouts.
RUNS = [("grpo-d", [5, 6, 7, 8]), ("grpo", [6]), ("sft", [6]), ("sft-prompt", [3])]
# In transformers' names: an embedding, a matrix, a bias and a norm of the language model, the same of the vision tower.
WHOLE = [
    "model.language_model.layers.0.self_attn.q_proj.weight", "model.language_model.layers.2.self_attn.v_proj.bias",
    "model.language_model.norm.weight", "model.language_model.layers.1.post_attention_layernorm.weight",
    "model.visual.blocks.1.attn.proj.weight", "model.visual.blocks.0.norm1.bias", "model.visual.merger.ln_q.weight",
]


# ------------------------------------------------------------------------------------------------ rows to tokens
def from_folder(config, folder):
    """The run file with its relative paths starting at its folder."""
    for section, key in [("model", "path"), ("data", "train"), ("data", "image_root"), ("rollout", "replay")]:
        if key in config.get(section, {}):
            config[section][key] = str(folder / config[section][key])
    return config


def read_rows(path):
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) | {"id": f"{Path(path).name}:{i + 1}"} for i, line in enumerate(lines)]


def make_prompt(processor, row, data):
    """The row's tokens and pixels, its pictures before its question."""
    pictures = [Image.open(Path(data["image_root"]) / name).convert("RGB") for name in row.get("images", [])]
    content = [{"type": "image"} for _ in pictures]
    content.append({"type": "text", "text": data["template"].replace("{problem}", row["problem"])})
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    encoded = processor(text=[text], images=pictures or None, return_tensors="pt", return_mm_token_type_ids=True)
    return {key: value for key, value in encoded.items() if key != "attention_mask"}


def token_logps(model, prompt, token_ids, temperature):
    """Log-probability and entropy of every token of a completion, given its prompt."""
    new = torch.tensor([token_ids])
    inputs = dict(prompt, input_ids=torch.cat([prompt["input_ids"], new], 1))
    inputs["mm_token_type_ids"] = torch.cat([prompt["mm_token_type_ids"], torch.zeros_like(new)], 1)
    logits = model(**inputs).logits[0, -len(token_ids) - 1:-1]
    logps = torch.log_softmax(logits / temperature, -1)
    return logps.gather(1, new[0][:, None])[:, 0], -(logps.exp() * logps).sum(-1)


# ------------------------------------------------------------------------------------------------ completions
def make_completions(tokenizer, rows, seed):
    """Two batches of rollouts of four prompts: right and wrong, in and out of form, cut off, and of random tokens."""
    rng = random.Random(seed)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")

    def closed(text):
        return {"token_ids": tokenizer(text)["input_ids"] + [end], "is_truncated": False}

    def cut(text, n):
        return {"token_ids": tokenizer(text)["input_ids"][:n], "is_truncated": True}

    def noise(n):
        return {"token_ids": [rng.randrange(end - 2) for _ in range(n)] + [end], "is_truncated": False}

    def thought(words, answer):
        return f"<think> {words} </think> <answer>{answer}</answer>"

    right = [row["solution"] for row in rows]
    groups = [
        (1, 0, [closed(thought("one two", right[0])), closed(thought("three", 9)), closed(f"So <answer>{right[0]}</answer>")]),
        (1, 1, [closed(f"<answer>{right[1]}</answer>"), cut("There are three distinct objects in the image", 7), noise(5)]),
        (1, 2, [closed(thought("two", right[2])), closed("There are"), cut(thought("I count the shapes one by one: one, two", 7), 24)]),
        (1, 3, [closed(thought("a", 1)), closed(thought("the same number", right[3])), closed(f"<answer>{right[3]}</answer> ")]),
        (5, 4, [noise(3), cut("So there are", 3), closed(thought("", right[4]))]),
        (5, 5, [closed(thought("five", 5)), closed(thought("two", 2)), closed(thought("one", 1))]),
        (5, 0, [closed(f"Therefore, <answer>{right[0]}</answer>"), closed(thought("one", right[0])), noise(11)]),
        (5, 1, [closed("<answer></answer>"), closed(thought("one two", right[1])), closed(f"<answer>{right[1]}</answer>")]),
    ]
    return [{"update": update, "prompt_id": rows[row]["id"], "completion_idx": i} | completion
            for update, row, group in groups for i, completion in enumerate(group)]


def judge(text, solution):
    """Accuracy and form, as the rules say for whole numbers, and whether there was an answer at all."""
    answers = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    answer = answers[-1].strip() if answers else ""
    form = re.fullmatch(r"<think>.*?</think>\s*<answer>.*?</answer>", text, re.DOTALL)
    return {"accuracy": float(answer == solution), "format": float(form is not None), "graded": answer != ""}


def advantages(rewards):
    """Eq. (2); a group of equal rewards says nothing."""
    r = torch.tensor(rewards, dtype=torch.float64)
    return torch.zeros_like(r) if r.max() == r.min() else (r - r.mean()) / (r.std() + 1e-4)


# ------------------------------------------------------------------------------------------------ optimiser
def rounded(x):
    """As many digits as mean anything in f32, and two to spare."""
    return float(f"{x:.9g}")


def span(value, total):
    """A stretch of the run: whole numbers are updates, others a fraction of all."""
    return value if isinstance(value, int) else math.floor(value * total + 0.5)


def kl_weight(kl, s, total):
    """Eq. (3) with the middle read where the paper prints beta_min twice."""
    if kl["schedule"] == "constant":
        return kl["beta"]
    low, high, w = kl["beta_min"], kl["beta_max"], span(kl["explore"], total)
    if s < w:
        middle = (low + high) / 2
        return middle - (middle - low) * s / w
    return low + (high - low) * (s - w) / (total - w)


class Trained:
    """A model with its optimiser and schedule, as the run file says."""

    def __init__(self, config, total):
        optim = config["optim"]
        self.model = rc.load_model(config["model"]["path"])
        if config["model"]["freeze_vision"]:
            self.model.model.visual.requires_grad_(False)
        modules = self.model.modules()
        matrices = (torch.nn.Linear, torch.nn.Conv3d, torch.nn.Embedding)
        matrices = {id(module.weight) for module in modules if isinstance(module, matrices)}
        trained = [p for p in self.model.parameters() if p.requires_grad]
        decays = [optim["decay_norms_and_biases"] or id(p) in matrices for p in trained]
        groups = [{"params": [p for p, d in zip(trained, decays) if d], "weight_decay": optim["weight_decay"]},
                  {"params": [p for p, d in zip(trained, decays) if not d], "weight_decay": 0.0}]
        self.clip_norm = optim["clip_norm"] or math.inf
        self.trained = trained
        self.adamw = torch.optim.AdamW(groups, lr=optim["lr"], betas=tuple(optim["betas"]), eps=optim["eps"])
        name = {"constant": "constant_with_warmup"}.get(optim["schedule"], optim["schedule"])
        self.schedule = get_scheduler(name, self.adamw, num_warmup_steps=span(optim["warmup"], total),
                                      num_training_steps=total)
        self.start = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def step(self, loss):
        """One step; the learning rate that it was made with and the gradient's norm before clipping."""
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.clip_norm).item()
        lr = self.schedule.get_last_lr()[0]
        self.adamw.step()
        self.schedule.step()
        self.adamw.zero_grad()
        return {"lr": lr, "grad_norm": norm}

    def weights(self):
        found = {}
        for name, p in self.model.named_parameters():
            w = p.detach().double().flatten()
            distance = (w - self.start[name].double().flatten()).norm().item()
            product = (w * torch.arange(1, w.numel() + 1, dtype=torch.float64).sin()).sum().item()
            found[rc.to_original_name(name)] = [rounded(x) for x in (w.norm().item(), distance, product)]
        return found

    def whole(self):
        parameters = dict(self.model.named_parameters())
        return {rc.to_original_name(name): parameters[name].detach().clone() for name in WHOLE}


# ------------------------------------------------------------------------------------------------ GRPO
def rollouts(config, rows, prompts, tokenizer, recorded, update, first_row):
    """The groups of a batch, rewarded, in the order of the rows."""
    grpo, groups = config["grpo"], []
    for i in range(grpo["prompts_per_update"] * grpo["mini_batches"]):
        row = rows[(first_row + i) % len(rows)]
        mine = [r for r in recorded if r["update"] == update and r["prompt_id"] == row["id"]]
        assert [r["completion_idx"] for r in mine] == list(range(grpo["group_size"]))
        judged = [judge(tokenizer.decode(r["token_ids"], skip_special_tokens=True), row["solution"]) for r in mine]
        rewards = [j["accuracy"] + config["reward"]["alpha"] * j["format"] for j in judged]
        groups.append({"prompt": prompts[row["id"]], "completions": mine, "judged": judged, "rewards": rewards,
                       "advantages": advantages(rewards)})
    return groups


def logps_of(model, group, temperature):
    return [token_logps(model, group["prompt"], c["token_ids"], temperature) for c in group["completions"]]


def grpo_loss(config, groups, model, anchors, beta):
    """Eq. (4) with clipping, as a mean over completions of their mean over tokens, and what it is made of."""
    grpo = config["grpo"]
    low, high, limit = 1 - grpo["clip_low"], 1 + grpo["clip_high"], grpo["log_ratio_limit"]
    loss, kl, entropies, clipped, counted = 0.0, 0.0, [], 0, 0
    n_completions = sum(len(group["completions"]) for group in groups)
    for group, (olds, refs) in zip(groups, anchors):
        found = logps_of(model, group, config["rollout"]["temperature"])
        for (logp, entropy), (old, _), (ref, _), c, a in zip(found, olds, refs, group["completions"], group["advantages"]):
            entropies.append(entropy.detach())
            if grpo["mask_truncated"] and c["is_truncated"]:
                continue
            ratio = (logp - old).clamp(-limit, limit).exp()
            gain = torch.minimum(ratio * a.float(), ratio.clamp(low, high) * a.float())
            d = (ref - logp).clamp(-limit, limit)
            k3 = d.exp() - d - 1
            loss = loss - (gain - beta * k3).mean() / n_completions
            kl += k3.detach().mean().item() / n_completions
            clipped += ((ratio < low) & (a < 0) | (ratio > high) & (a > 0)).sum().item()
            counted += len(c["token_ids"])
    return loss, {"loss": loss.item(), "kl": kl, "entropy": torch.cat(entropies).mean().item(),
                  "clip_fraction": clipped / max(counted, 1)}


def reward_figures(groups):
    judged = [j for group in groups for j in group["judged"]]
    completions = [c for group in groups for c in group["completions"]]
    rewards = torch.tensor([group["rewards"] for group in groups], dtype=torch.float64)

    def mean(values):
        values = [float(v) for v in values]
        return sum(values) / len(values)

    return {
        "reward": rewards.mean().item(), "reward_std": rewards.std(1).mean().item(),
        "accuracy_reward": mean(j["accuracy"] for j in judged), "format_reward": mean(j["format"] for j in judged),
        "ungraded_fraction": mean(not j["graded"] for j in judged),
        "completion_length": mean(len(c["token_ids"]) for c in completions),
        "truncated_fraction": mean(c["is_truncated"] for c in completions),
        "zero_signal_fraction": mean(row.max() == row.min() for row in rewards),
    }


def run_grpo(config, total, rows, prompts, tokenizer, recorded, on_checkpoint):
    grpo, temperature = config["grpo"], config["rollout"]["temperature"]
    trained, reference = Trained(config, total), rc.load_model(config["model"]["path"])
    per_update, lines, first_row = grpo["prompts_per_update"], [], 0
    while len(lines) < total:
        groups = rollouts(config, rows, prompts, tokenizer, recorded, len(lines) + 1, first_row)
        first_row += len(groups)
        with torch.no_grad():
            anchors = [(logps_of(trained.model, g, temperature), logps_of(reference, g, temperature)) for g in groups]
        for i in range(min(grpo["updates_per_rollout"], total - len(lines))):
            start = i % grpo["mini_batches"] * per_update
            part = slice(start, start + per_update)
            beta = kl_weight(config["kl"], len(lines), total)
            loss, figures = grpo_loss(config, groups[part], trained.model, anchors[part], beta)
            lines.append(figures | reward_figures(groups[part]) | {"beta": beta} | trained.step(loss))
        on_checkpoint(len(lines), trained)
    return lines


# ------------------------------------------------------------------------------------------------ supervised
def taught_text(row, target):
    bare = f"<answer> {row['solution']} </answer>"
    if target == "auto" and "completion" in row:
        return row["completion"]
    if target == "auto" and "thinking" in row:
        return f"<think>{re.sub('</?think>', '', row['thinking'])}</think>\n{bare}"
    return bare


def taught_logps(config, model, prompt, token_ids, image_id):
    """Log-probabilities and entropies of what is taught: the answer, and the prompt's text where that is asked for."""
    if not config["sft"]["train_on_prompt"]:
        return token_logps(model, prompt, token_ids, 1.0)
    ids = prompt["input_ids"][0].tolist()
    start = dict(prompt, input_ids=prompt["input_ids"][:, :1], mm_token_type_ids=prompt["mm_token_type_ids"][:, :1])
    new = ids[1:] + token_ids
    types = torch.cat([prompt["mm_token_type_ids"], torch.zeros(1, len(token_ids), dtype=torch.long)], 1)
    inputs = dict(start, input_ids=torch.tensor([ids + token_ids]), mm_token_type_ids=types)
    logps = torch.log_softmax(model(**inputs).logits[0, :-1], -1)
    kept = torch.tensor(new) != image_id
    chosen = logps.gather(1, torch.tensor(new)[:, None])[:, 0]
    return chosen[kept], -(logps.exp() * logps).sum(-1)[kept]


def run_sft(config, total, rows, prompts, tokenizer, on_checkpoint):
    trained, lines = Trained(config, total), []
    end, image_id = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|image_pad|>"))
    n_prompts = config["grpo"]["prompts_per_update"]
    while len(lines) < total:
        batch = [rows[(len(lines) * n_prompts + i) % len(rows)] for i in range(n_prompts)]
        answers = [tokenizer(taught_text(row, config["sft"]["target"]))["input_ids"] + [end] for row in batch]
        found = [taught_logps(config, trained.model, prompts[row["id"]], answer, image_id)
                 for row, answer in zip(batch, answers)]
        loss = -torch.cat([logps for logps, _ in found]).mean()
        entropy = torch.cat([entropies for _, entropies in found]).detach().mean()
        lengths = [len(answer) for answer in answers]
        lines.append({"loss": loss.item(), "entropy": entropy.item(), "completion_length": sum(lengths) / len(lengths)}
                     | trained.step(loss))
        on_checkpoint(len(lines), trained)
    return lines


# ------------------------------------------------------------------------------------------------ everything
def check_coverage(run, lines, clip_norm):
    """Checks that what the run is to test occurs in it: clipped ratios, a KL term, equal rewards, clipped gradients."""
    def seen(key):
        return {line[key] > 0 for line in lines}
    if "kl" in lines[0]:
        assert True in seen("clip_fraction") and max(line["kl"] for line in lines) > 1e-3, run
        assert seen("zero_signal_fraction") == {True, False}, run
    if clip_norm:
        assert {line["grad_norm"] > clip_norm for line in lines} == {True, False}, (run, [line["grad_norm"] for line in lines])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    runs, whole, recorded = {}, {}, None
    for name, lengths in RUNS:
        config = from_folder(tomllib.loads((args.data / f"{name}.toml").read_text(encoding="utf-8")), args.data)
        data = config["data"]
        rows, processor = read_rows(data["train"]), rc.load_pil_processor(config["model"]["path"])
        processor.image_processor.size = {"shortest_edge": data["min_pixels"], "longest_edge": data["max_pixels"]}
        prompts = {row["id"]: make_prompt(processor, row, data) for row in rows}
        recorded = recorded or make_completions(processor.tokenizer, rows, args.seed)
        for total in lengths:
            checkpoints = {}

            def on_checkpoint(update, trained):
                checkpoints[update] = trained.weights()
                if update == lengths[-1]:
                    whole.update({f"{name}-{total}/{key}": w for key, w in trained.whole().items()})

            if config["method"] == "sft":
                lines = run_sft(config, total, rows, prompts, processor.tokenizer, on_checkpoint)
            else:
                lines = run_grpo(config, total, rows, prompts, processor.tokenizer, recorded, on_checkpoint)
            check_coverage(name, lines, config["optim"]["clip_norm"])
            runs[f"{name}-{total}"] = {"file": f"{name}.toml", "updates": total, "metrics": lines, "weights": checkpoints}
    with open(args.out / "completions.jsonl", "w", encoding="utf-8") as out:
        out.writelines(json.dumps(record) + "\n" for record in recorded)
    made_with = {"script": "scripts/reference/make_trainer_golden.py", "seed": args.seed, "torch": torch.__version__,
                 "transformers": transformers.__version__, "Pillow": PIL.__version__}
    rc.write_json(args.out / "golden.json", {"made_with": made_with, "runs": runs}, compact=True)
    save_file(whole, str(args.out / "weights.safetensors"), metadata={"format": "pt"})
    (args.out / "weights.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
