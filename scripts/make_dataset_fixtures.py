#!/usr/bin/env python3
"""Small data sets as Python's `datasets` writes them, and the rows that it reads back.

    make_dataset_fixtures.py [--out tests/golden/datasets]

Writes a folder each:
  sharded   two shards of `train` with an Image() column (PNG and JPEG bytes) and one of `test`; small row groups
            without a page index, as older versions wrote them
  paged     the same rows in one file whose row groups are cut into pages, with a page index, compressed with zstd
  lists     `images` columns: lists of pictures, among them empty ones; solutions that are numbers; one file in pages
  large     large_string and large_binary columns, dictionary-encoded text, a bare bytes column for pictures
  named     no bytes: `image_path` names files beside the shard
  folder    an image folder with metadata.csv
  bad       rows that cannot be used: a solution that is empty, null; a picture that is cut short, that is no
            picture; a problem that is no text
and expected.json: for each file, its rows in order with the FNV-1a of each picture's bytes and of the RGB pixels that
Pillow decodes (of PNG alone: JPEG decoders differ by a few levels).
"""
from __future__ import annotations

import argparse
import io
import json
import random
import shutil
from pathlib import Path

import datasets
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

WIDTH, HEIGHT = 24, 16


def picture(rng: random.Random, kind: str) -> bytes:
    """A small picture's file: noise over a gradient, so that no two are alike."""
    base = np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH) * 3)[..., None] + np.array([0, 40, 80])
    noise = np.frombuffer(rng.randbytes(HEIGHT * WIDTH * 3), np.uint8).reshape(HEIGHT, WIDTH, 3) % 16
    buffer = io.BytesIO()
    Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(buffer, kind, quality=90)
    return buffer.getvalue()


def fnv1a(data: bytes) -> str:
    """64-bit FNV-1a, short enough to write twice."""
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"


def pixels(data: bytes) -> str | None:
    image = Image.open(io.BytesIO(data))
    return fnv1a(image.convert("RGB").tobytes()) if image.format == "PNG" else None


def described(images: list[bytes]) -> list[dict]:
    return [{"bytes": fnv1a(data), "pixels": pixels(data)} for data in images]


def rows_of(path: Path, column: str) -> list[dict]:
    """What `datasets` reads back from a parquet file, pictures undecoded."""
    data = datasets.Dataset.from_parquet(str(path), cache_dir=str(path.parent / ".cache"))
    feature = data.features[column]
    if isinstance(feature, datasets.Image):
        data = data.cast_column(column, datasets.Image(decode=False))
    elif not isinstance(feature, datasets.Value):
        data = data.cast_column(column, datasets.List(datasets.Image(decode=False)))
    rows = []
    for row in data:
        value = row[column]
        stored = value if isinstance(value, list) else [] if value is None else [value]
        images = [item if isinstance(item, bytes) else item["bytes"] for item in stored]
        rows.append({"problem": row["problem"], "solution": str(row["solution"]), "images": described(images)})
    return rows


def plain_rows(rng: random.Random, n: int) -> dict:
    images = [picture(rng, "PNG" if i % 3 else "JPEG") for i in range(n)]
    return {
        "image": [{"bytes": data, "path": f"{i}.png" if i % 2 else None} for i, data in enumerate(images)],
        "problem": [f"How many items are in picture {i}? 物体" for i in range(n)],
        "solution": [f"<answer> {rng.randrange(10)} </answer>" for _ in range(n)],
        "thinking": [None if i % 2 else f"counting {i}" for i in range(n)],
    }


FEATURES = datasets.Features({
    "image": datasets.Image(),
    "problem": datasets.Value("string"),
    "solution": datasets.Value("string"),
    "thinking": datasets.Value("string"),
})


def make_sharded(out: Path, rng: random.Random) -> list[str]:
    whole = datasets.Dataset.from_dict(plain_rows(rng, 11), features=FEATURES)
    names = []
    for split, n_shards in [("train", 2), ("test", 1)]:
        for idx in range(n_shards):
            shard = whole.shard(n_shards, idx, contiguous=True) if split == "train" else whole.select([3, 1])
            name = f"sharded/data/{split}-{idx:05}-of-{n_shards:05}.parquet"
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shard.to_parquet(out / name, batch_size=3, write_page_index=False, use_content_defined_chunking=False)
            names.append(name)
    (out / "paged").mkdir()
    table = whole.data.table
    pq.write_table(table, out / "paged/train.parquet", row_group_size=7, data_page_size=600, write_batch_size=1,
                   use_dictionary=False, compression="zstd", write_page_index=True)
    return [*names, "paged/train.parquet"]


def make_lists(out: Path, rng: random.Random) -> list[str]:
    counts = [1, 2, 0, 3, 1]
    data = datasets.Dataset.from_dict(
        {
            "images": [[{"bytes": picture(rng, "PNG"), "path": None} for _ in range(n)] for n in counts],
            "problem": [f"Compare {n} pictures." for n in counts],
            "solution": [rng.randrange(-5, 100) for _ in counts],
        },
        features=datasets.Features({
            "images": datasets.List(datasets.Image()),
            "problem": datasets.Value("string"),
            "solution": datasets.Value("int32"),
        }),
    )
    (out / "lists").mkdir()
    data.to_parquet(out / "lists/test.parquet", batch_size=2)
    pq.write_table(data.data.table, out / "lists/paged.parquet", data_page_size=600, write_batch_size=1,
                   use_dictionary=False, write_page_index=True)
    return ["lists/test.parquet", "lists/paged.parquet"]


def make_large(out: Path, rng: random.Random) -> list[str]:
    images = [picture(rng, "PNG") for _ in range(4)]
    problem = pa.array([f"Question {i}?" for i in range(4)], pa.large_string())
    table = pa.table({
        "image": pa.array(images, pa.large_binary()),
        "problem": problem,
        "solution": pa.array(["7", "8", "7", "7"]).dictionary_encode(),
        "completion": pa.nulls(4),
    })
    (out / "large").mkdir()
    pq.write_table(table, out / "large/train.parquet", compression="gzip")
    return ["large/train.parquet"]


def make_named(out: Path, rng: random.Random) -> None:
    (out / "named/images").mkdir(parents=True)
    (out / "folder/train").mkdir(parents=True)
    lines = ["file_name,problem,solution"]
    for i in range(2):
        (out / f"named/images/{i}.png").write_bytes(picture(rng, "PNG"))
        (out / f"folder/train/{i}.png").write_bytes(picture(rng, "PNG"))
        lines.append(f'{i}.png,"How many, in all?",{i}')
    (out / "folder/train/metadata.csv").write_text("\n".join(lines) + "\n")
    table = pa.table({
        "image_path": ["./Some/images/0.png", "images/1.png"],
        "problem": ["a?", "b?"],
        "solution": [0.5, 2.0],
    })
    pq.write_table(table, out / "named/train.parquet")


def make_bad(out: Path, rng: random.Random) -> None:
    good = picture(rng, "PNG")
    images = [good, good[: len(good) // 2], b"no picture", good, good, good, good]
    table = pa.table({
        "image": pa.array([{"bytes": data, "path": None} for data in images]),
        "problem": pa.array([b"?", b"?", b"?", b"?", b"?", b"\xff\xfe", b"?"]),
        "solution": ["1", "2", "3", "<answer> </answer>", None, "6", "7"],
    })
    (out / "bad").mkdir()
    pq.write_table(table, out / "bad/train.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/golden/datasets"))
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    rng = random.Random(0)
    files = make_sharded(out, rng) + make_lists(out, rng) + make_large(out, rng)
    make_named(out, rng)
    make_bad(out, rng)
    rows = {name: rows_of(out / name, "images" if name.startswith("lists") else "image") for name in files}
    for cache in out.glob("*/**/.cache"):
        shutil.rmtree(cache)
    expected = {
        "versions": {"datasets": datasets.__version__, "pyarrow": pa.__version__, "pillow": PIL.__version__},
        "files": rows,
    }
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
