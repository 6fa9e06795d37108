#!/usr/bin/env python3
"""The baseline of a policy step: transformers' forward and backward passes of one micro-batch, with and without recomputation.

    torch_policy.py --model DIR [--group 8] [--new-tokens 256] [--image 448]

One prompt with its group of completions, scored at the completions alone. TFLOP/s count the linear layers' products, the
head's and attention's once forward and twice backward; what is recomputed is not counted.
Not here: sampling (generate.py), the optimiser and the rest of an update (trl_step.py).
"""
import argparse

from workload import figures, load, median_seconds, peak_gb, prompts


def batch(model, processor, args):
    """The inputs with random completions behind the prompts; none of their tokens is a special one."""
    import torch

    inputs = prompts(processor, 1, args.group, args.image)
    ids = inputs["input_ids"]
    ordinary = min(model.config.text_config.vocab_size, len(processor.tokenizer)) - 16
    completions = torch.randint(ordinary, (args.group, args.new_tokens), device=ids.device)
    inputs["input_ids"] = torch.cat([ids, completions], dim=1)
    ones = torch.ones_like(completions)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], ones], dim=1)
    if "mm_token_type_ids" in inputs:
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(completions)], dim=1)
    return inputs, completions


def forward_flops(model, inputs, n_scored):
    """Multiplications and additions of one forward pass over the batch."""
    text = model.config.text_config
    rows, length = inputs["input_ids"].shape
    tokens, patches = rows * length, inputs["pixel_values"].shape[0]
    linear = {"visual": 0, "language_model": 0}
    for name, parameter in model.named_parameters():
        if parameter.dim() >= 2 and "embed_tokens" not in name and "lm_head" not in name:
            linear["visual" if "visual" in name else "language_model"] += parameter.numel()
    attention = 4 * text.num_hidden_layers * text.hidden_size * rows * length * length / 2
    vision = model.config.vision_config
    images = 4 * vision.depth * vision.embed_dim * patches * (patches / rows)
    products = 2 * (linear["language_model"] * tokens + linear["visual"] * patches)
    return products + attention + images + 2 * text.hidden_size * text.vocab_size * n_scored


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--image", type=int, default=448)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    model, processor = load(args.model)
    model.train()
    inputs, completions = batch(model, processor, args)
    flops = 3 * forward_flops(model, inputs, completions.numel())
    figures(rows=args.group, row_tokens=inputs["input_ids"].shape[1], tflop=flops / 1e12)

    def step():
        logits = model(**inputs, logits_to_keep=args.new_tokens + 1, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), completions.flatten())
        loss.backward()
        model.zero_grad(set_to_none=False)

    for name in ("plain", "recomputed"):
        if name == "recomputed":
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        time = median_seconds(step, args.repeats)
        figures(**{f"{name}_s": time, f"{name}_tflops": flops / time / 1e12, f"{name}_peak_gb": peak_gb()})


if __name__ == "__main__":
    main()
