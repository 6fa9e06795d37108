#!/usr/bin/env python3
"""Golden values of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.

    make_adamw_golden.py --out tests/golden/adamw.json

Two parameters follow given gradients for several steps with a changing learning rate; before each step the
gradients are clipped by their global norm (max norm 1), which binds in some steps and not in others. "decayed"
takes weight decay, "plain" does not. Recorded: the gradients, norm, and after each step parameters and moments.
"""
import argparse
import json

import torch

BETAS, EPS, WEIGHT_DECAY, MAX_NORM = (0.9, 0.99), 1e-8, 0.1, 1.0
LEARNING_RATES = [1e-2, 5e-3, 2e-3, 1e-3, 1e-4]
GRAD_SCALES = [0.05, 1.0, 3.0, 0.2, 0.01]


def run(dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"decayed": (3, 4), "plain": (5,)}
    parameters = {n: torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for n, s in shapes.items()}
    initial = {n: p.detach().flatten().tolist() for n, p in parameters.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [parameters["decayed"]], "weight_decay": WEIGHT_DECAY},
         {"params": [parameters["plain"]], "weight_decay": 0.0}], lr=1.0, betas=BETAS, eps=EPS)
    steps = []
    for lr, scale in zip(LEARNING_RATES, GRAD_SCALES):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for p in parameters.values():
            p.grad = torch.randn(p.shape, generator=generator, dtype=dtype) * scale
        grads = {n: p.grad.flatten().tolist() for n, p in parameters.items()}
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM).item()
        clipped = {n: p.grad.flatten().tolist() for n, p in parameters.items()}
        optimizer.step()
        state = {n: optimizer.state[p] for n, p in parameters.items()}
        steps.append({
            "lr": lr, "grads": grads, "norm": norm, "clipped": clipped,
            "parameters": {n: p.detach().flatten().tolist() for n, p in parameters.items()},
            "m": {n: s["exp_avg"].flatten().tolist() for n, s in state.items()},
            "v": {n: s["exp_avg_sq"].flatten().tolist() for n, s in state.items()},
        })
    return {"shapes": shapes, "initial": initial, "steps": steps}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    golden = {
        "made_with": {"script": "scripts/reference/make_adamw_golden.py", "seed": args.seed, "torch": torch.__version__},
        "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS, "weight_decay": WEIGHT_DECAY, "max_norm": MAX_NORM,
        "f32": run(torch.float32, args.seed), "f64": run(torch.float64, args.seed + 1),
    }
    with open(args.out, "w", encoding="utf-8") as out:
        json.dump(golden, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
