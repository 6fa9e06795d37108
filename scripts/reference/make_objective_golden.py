#!/usr/bin/env python3
"""Golden values of the clipped objective with its KL penalty, from TRL's own loss code.

    make_objective_golden.py --out tests/golden/objective.json

Runs `GRPOTrainer._compute_loss` itself (loss_type "grpo", token-level ratios, no bias correction of the KL) on
random log-probabilities: the trainer object is made without its constructor and its forward pass is replaced by
the given tensors, so that nothing but the formula runs. Needs torch, transformers and trl.

Each case holds per completion (ragged, padding removed) logp_theta, logp_old, logp_ref; the advantage, whether the
completion is masked as truncated; the settings; and TRL's loss, its gradient through logp_theta, and the metric
"clip_ratio/region_mean" (a mean over the tokens that are not masked).
"""
import argparse
import collections
import json
import types

import torch
import transformers
import trl
from trl import GRPOTrainer

CASES = [  # clip low, clip high, beta, truncated completions masked
    (0.2, 0.2, 0.0, False),
    (0.2, 0.2, 0.04, False),
    (0.2, 0.28, 0.0, False),
    (0.2, 0.28, 0.01, True),
    (0.1, 0.4, 0.5, True),
    (0.3, 0.15, 1.0, False),
]
LENGTHS = [5, 1, 7, 3]
TRUNCATED = [False, False, True, False]


class OneProcess:
    """What the loss asks of accelerate, for a single process."""

    num_processes = 1

    def gather(self, x):
        return x

    def gather_for_metrics(self, x):
        return x

    def reduce(self, x, reduction="sum"):
        return x


def trl_loss(logp, old, ref, advantages, mask, low, high, beta):
    trainer = object.__new__(GRPOTrainer)
    settings = {
        "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "importance_sampling_level": "token",
        "beta": beta, "epsilon_low": low, "epsilon_high": high, "loss_type": "grpo", "use_vllm": False,
        "aux_loss_enabled": False, "current_gradient_accumulation_steps": 1, "_entropy_bonus_enabled": False,
        "args": types.SimpleNamespace(use_bias_correction_kl=False, delta=None),
        "accelerator": OneProcess(), "model": types.SimpleNamespace(training=True),
        "_metrics": {"train": collections.defaultdict(list)},
    }
    for name, value in settings.items():
        object.__setattr__(trainer, name, value)
    entropies = torch.zeros_like(logp)
    trainer._get_per_token_logps_and_entropies = lambda *a, **k: (logp, entropies, None)
    ids = torch.zeros(mask.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": torch.ones_like(ids[:, :1]), "completion_ids": ids,
        "completion_mask": mask, "advantages": advantages, "old_per_token_logps": old, "ref_per_token_logps": ref,
    }
    loss = trainer._compute_loss(None, inputs)
    return loss, trainer._metrics["train"]


def make_case(generator, low, high, beta, masks_truncated):
    rows, width = len(LENGTHS), max(LENGTHS)

    def normal(scale):
        return torch.randn(rows, width, generator=generator) * scale

    logp = (-normal(1.5).abs() - 0.05).requires_grad_()
    old = logp.detach() + normal(0.25)
    ref = logp.detach() + normal(0.4)
    advantages = torch.randn(rows, generator=generator)
    kept = torch.tensor([not (t and masks_truncated) for t in TRUNCATED])
    mask = (torch.arange(width)[None] < torch.tensor(LENGTHS)[:, None]) & kept[:, None]
    loss, metrics = trl_loss(logp, old, ref, advantages, mask.int(), low, high, beta)
    loss.backward()

    def ragged(x):
        return [x[i, :n].tolist() for i, n in enumerate(LENGTHS)]

    return {
        "clip_low": low, "clip_high": high, "beta": beta, "masked": [not k for k in kept.tolist()],
        "logp_theta": ragged(logp.detach()), "logp_old": ragged(old), "logp_ref": ragged(ref),
        "advantages": advantages.tolist(), "loss": loss.item(), "grad": ragged(logp.grad),
        "clip_fraction": metrics["clip_ratio/region_mean"][0],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(args.seed)
    golden = {
        "made_with": {"script": "scripts/reference/make_objective_golden.py", "seed": args.seed,
                      "torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__},
        "cases": [make_case(generator, *case) for case in CASES],
    }
    with open(args.out, "w", encoding="utf-8") as out:
        json.dump(golden, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
