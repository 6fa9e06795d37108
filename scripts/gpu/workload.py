"""What the Python baselines of the GPU check share: the prompts, the model, times and the form of their figures.

Not here: the baselines themselves (the other scripts of this folder).
"""
import json
import statistics
import time

QUESTION = (
    "How many different items are there in the image?  Output the thinking process in "
    "<think> </think> and final answer (number) in <answer> </answer> tags."
)


def figures(**values):
    """Prints figures as scripts/gpu_check.sh collects them; later ones are added to earlier ones."""
    print("FIGURES " + json.dumps(values), flush=True)


def device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def synchronize():
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gb():
    """The most memory that torch has held on the GPU, GB of 10^9 bytes; None on the CPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None


def seconds(work):
    """What `work` returns, and how long it took on the device, s."""
    synchronize()
    start = time.perf_counter()
    result = work()
    synchronize()
    return result, time.perf_counter() - start


def median_seconds(work, repeats):
    """The median of `repeats` times after a warm-up; by CUDA events where there is a GPU."""
    import torch

    work()
    if not torch.cuda.is_available():
        return statistics.median(seconds(work)[1] for _ in range(repeats))
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def images(n_prompts, size):
    """`n_prompts` RGB images of `size` x `size` pixels, each of a few shapes; always the same ones."""
    import random

    from PIL import Image, ImageDraw

    chance = random.Random(0)
    drawn = []
    for _ in range(n_prompts):
        image = Image.new("RGB", (size, size), (200, 205, 210))
        draw = ImageDraw.Draw(image)
        for _ in range(6):
            left, top = chance.randrange(size * 3 // 4), chance.randrange(size * 3 // 4)
            color = tuple(chance.randrange(256) for _ in range(3))
            draw.rectangle([left, top, left + size // 5, top + size // 5], fill=color)
        drawn.append(image)
    return drawn


def load(folder):
    """Model in bf16 (f32 on the CPU) with SDPA attention, and processor, of a checkpoint's folder."""
    import torch
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    model = Qwen2VLForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa"
    )
    return model.to(device()), AutoProcessor.from_pretrained(folder)


def prompts(processor, n_prompts, group_size, size):
    """Inputs of `n_prompts` prompts, each `group_size` times in a row, padded on the left, on the device."""
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    pictures = [image for image in images(n_prompts, size) for _ in range(group_size)]
    return processor(
        text=[text] * len(pictures), images=pictures, padding=True, padding_side="left", return_tensors="pt"
    ).to(device())
