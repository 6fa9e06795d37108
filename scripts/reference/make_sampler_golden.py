#!/usr/bin/env python3
"""What transformers keeps of a row of logits: the set of tokens that can be sampled and their probabilities.

    make_sampler_golden.py --out tests/golden/sampler.json

The processors come from `GenerationMixin._get_logits_processor` itself, so their order is transformers'. Rows are
small multiples of 1/8 with many ties, or normal draws. A case is drawn again where a threshold falls within 1e-4
of a token's value, since float32 rounding alone would decide there.
"""
import argparse
import json

import torch
import transformers
from transformers import GenerationConfig
from transformers.generation.logits_process import MinPLogitsWarper, TopPLogitsWarper
from transformers.generation.utils import GenerationMixin

VOCAB, PROMPT_LENGTH = 40, 5
SETTINGS = [  # temperature, top_k, top_p, min_p, repetition penalty, suppressed ids, min new tokens
    (1.0, 0, 1.0, None, 1.0, None, 0), (0.7, 0, 1.0, None, 1.0, None, 0), (1.0, 5, 1.0, None, 1.0, None, 0),
    (1.0, 0, 0.9, None, 1.0, None, 0), (1.0, 0, 1.0, 0.1, 1.0, None, 0), (1.0, 0, 1.0, None, 1.3, None, 0),
    (1.5, 10, 0.8, 0.05, 1.1, [3, 7, 39], 0), (0.5, 1, 1.0, None, 1.0, [0], 0), (1.0, 0, 0.001, None, 1.0, None, 0),
    (0.9, 50, 0.95, 0.02, 0.8, [1, 2], 4), (1.2, 0, 0.5, 0.3, 1.05, None, 4), (1.0, 3, 0.6, None, 1.0, [5], 4),
]
STOP_IDS = [11, 12]


class Bare(GenerationMixin):
    """Enough of a model for `_get_logits_processor`."""

    config = transformers.PretrainedConfig()


def processors(setting):
    temperature, top_k, top_p, min_p, penalty, suppress, min_new = setting
    cfg = GenerationConfig(do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
                           repetition_penalty=penalty, suppress_tokens=suppress, min_new_tokens=min_new or None,
                           eos_token_id=STOP_IDS)
    cfg._eos_token_tensor = torch.tensor(STOP_IDS)
    return Bare()._get_logits_processor(cfg, input_ids_seq_length=PROMPT_LENGTH)


def near_a_threshold(warpers, ids, row):
    """Whether the top-p or min-p cut comes within 1e-4 of a token's value."""
    for warper in warpers:
        probs = row.double().softmax(-1)
        kept = row[row > -torch.inf]
        if isinstance(warper, TopPLogitsWarper):
            cumulative = probs.sort().values.cumsum(-1)
            if (cumulative - (1 - warper.top_p)).abs().min() < 1e-4 and len(kept) > 1:
                return True
        if isinstance(warper, MinPLogitsWarper) and (probs - warper.min_p * probs.max()).abs().min() < 1e-6:
            return True
        row = warper(ids, row)
    return False


def draw_case(generator, setting, tied):
    warpers = processors(setting)
    while True:
        if tied:
            row = torch.randint(-20, 21, (1, VOCAB), generator=generator) / 8
        else:
            row = torch.randn(1, VOCAB, generator=generator) * 2
        n_new = int(torch.randint(0, 7, (1,), generator=generator))
        ids = torch.randint(0, VOCAB, (1, PROMPT_LENGTH + n_new), generator=generator)
        if not near_a_threshold(warpers, ids, row):
            break
    temperature, top_k, top_p, min_p, penalty, suppress, min_new = setting
    scores = warpers(ids, row)[0]
    kept = (scores > -torch.inf).nonzero()[:, 0]
    return {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p or 0.0, "repetition_penalty": penalty,
        "suppressed": suppress or [], "stop_ids": STOP_IDS, "min_new_tokens": min_new, "n_new_tokens": n_new,
        "seen": ids[0].tolist(), "logits": row[0].tolist(), "kept": kept.tolist(),
        "probabilities": scores.double().softmax(-1)[kept].tolist(),
        "logp": (row[0].double() / temperature).log_softmax(-1).tolist(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(args.seed)
    golden = {
        "made_with": {"script": "scripts/reference/make_sampler_golden.py", "seed": args.seed,
                      "torch": torch.__version__, "transformers": transformers.__version__},
        "cases": [draw_case(generator, s, tied) for s in SETTINGS for tied in (False, True, False)],
    }
    with open(args.out, "w", encoding="utf-8") as out:
        json.dump(golden, out)
        out.write("\n")


if __name__ == "__main__":
    main()
