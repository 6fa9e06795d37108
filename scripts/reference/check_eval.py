#!/usr/bin/env python3
"""Compare the answers of `othink eval` with transformers' greedy ones, question by question.

    check_eval.py --othink BINARY --ckpt DIR --task superclevr --data FILE [--limit N] [--max-new-tokens 32] [--tie 1e-5]

Runs `othink eval` on the CPU in f32 with every answer written down, then AutoProcessor and
Qwen2VLForConditionalGeneration with R1-V's evaluation prompt on the same rows, one by one and greedily, and prints JSON: how many
answers are equal, and those that are not, each with how far apart transformers' two best logits were where the answers part,
relative to the largest. Exit status: 0 all equal but for ties closer than --tie; 2 a program failed; 4 they disagree.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from check_infer import open_upright

# R1-V, src/eval/test_qwen2vl_counting_superclevr.py and test_qwen2vl_geoqa.py.
ASK = "Output the thinking process in <think> </think> and final answer (number) in <answer> </answer> tags."
TEMPLATES = {"superclevr": "{Question} First o" + ASK[1:], "geoqa": "{Question} " + ASK}


def run_othink(args):
    """The answers' texts, in order."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answers.jsonl"
        command = [args.othink, "eval", "--task", args.task, "--data", args.data, "--model", args.ckpt, "--device", "cpu",
                   "--dtype", "f32", "--max-new-tokens", str(args.max_new_tokens), "--out", str(out), "--json"]
        if args.limit:
            command += ["--limit", str(args.limit)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"check_eval: othink failed:\n{done.stderr}", file=sys.stderr)
            sys.exit(2)
        return [json.loads(line)["completion"] for line in out.read_text().splitlines()]


def run_transformers(args):
    import torch
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration
    # The processor with Pillow's resampling: torchvision's differs from it by a level here and there.
    processor = AutoProcessor.from_pretrained(args.ckpt, use_fast=False)
    model = Qwen2VLForConditionalGeneration.from_pretrained(args.ckpt, dtype=torch.float32).eval()
    data = Path(args.data)
    rows = [json.loads(line) for line in data.read_text().splitlines() if line.strip()]
    for row in rows[: args.limit]:
        question = TEMPLATES[args.task].format(Question=row["question"])
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        image = open_upright(data.parent / row["image_path"])
        inputs = processor(text=[text], images=[image], return_tensors="pt")
        # The markers of images and video, and ids without a token, are no text: othink never generates them.
        config = model.config
        markers = range(config.vision_start_token_id, config.video_token_id + 1)
        nothing = range(len(processor.tokenizer), config.text_config.vocab_size)
        with torch.no_grad():
            made = model.generate(**inputs, do_sample=False, max_new_tokens=args.max_new_tokens, suppress_tokens=[*markers, *nothing],
                                  return_dict_in_generate=True, output_logits=True)
        ids = made.sequences[0][inputs["input_ids"].shape[1]:]
        texts = [processor.tokenizer.decode(ids[:n], skip_special_tokens=True) for n in range(1, len(ids) + 1)]
        best = [logits[0].float().topk(2).values for logits in made.logits]
        yield texts, [float((top[0] - top[1]) / logits.abs().max()) for top, logits in zip(best, made.logits)]


def parting(ours, texts, gaps):
    """How close the choice was at the first token after which the texts part."""
    # A text may end in half a character, which decodes to U+FFFD.
    return next((gap for text, gap in zip(texts, gaps) if not ours.startswith(text.rstrip("\ufffd"))), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--othink", required=True)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--task", required=True, choices=TEMPLATES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--tie", type=float, default=1e-5)
    args = parser.parse_args()
    ours, theirs = run_othink(args), list(run_transformers(args))
    pairs = enumerate(zip(ours, theirs))
    differ = [{"row": row, "othink": a, "transformers": texts[-1], "gap": parting(a, texts, gaps)}
              for row, (a, (texts, gaps)) in pairs if a != texts[-1]]
    ties = sum(case["gap"] is not None and case["gap"] < args.tie for case in differ)
    report = {"questions": len(theirs), "equal": len(theirs) - len(differ), "ties": ties, "differ": differ}
    print(json.dumps(report, ensure_ascii=False, indent=1))
    sys.exit(0 if len(differ) == ties and len(ours) == len(theirs) else 4)


main()
