#!/usr/bin/env python3
"""The baseline of rollouts: transformers' `generate` alone.

    generate.py --model DIR [--prompts 8] [--group 8] [--new-tokens 256] [--image 448]

Samples at temperature 1 from the whole distribution, every row to its full length. Not here: TRL's update (trl_step.py).
"""
import argparse

from workload import figures, load, peak_gb, prompts, seconds


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--image", type=int, default=448)
    args = parser.parse_args()
    model, processor = load(args.model)
    inputs = prompts(processor, args.prompts, args.group, args.image)
    rows, prompt_tokens = inputs["input_ids"].shape

    @torch.no_grad()
    def generate(new_tokens):
        return model.generate(
            **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            min_new_tokens=new_tokens, max_new_tokens=new_tokens,
        )

    generate(2)
    prefill = seconds(lambda: generate(1))[1]
    figures(rows=rows, prompt_tokens=prompt_tokens, new_tokens=args.new_tokens, s_one_token=prefill)
    total = seconds(lambda: generate(args.new_tokens))[1]
    step = (total - prefill) / max(args.new_tokens - 1, 1)
    figures(s_total=total, ms_per_step=step * 1e3, tokens_per_s=rows * args.new_tokens / total, peak_gb=peak_gb())


if __name__ == "__main__":
    main()
