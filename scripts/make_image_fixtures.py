#!/usr/bin/env python3
"""Small image files of every kind a data set may hold, and the RGB pixels transformers and Pillow make of them.

    make_image_fixtures.py [--out tests/golden/processor] [--micro tests/golden/micro]

Writes the files, NAME.rgb (the expected pixels, row by row, 3 bytes each) for files that are not just a turned
copy, and images.json: for each file its size, where the pixels are, and how far a decoder may be off (0 for every
lossless format; JPEG decoders differ by a few levels because each has its own inverse DCT and chroma filter).
Also resize sums: FNV-1a hashes of Pillow's bicubic resize for a spread of sizes.

What counts as right is transformers' `load_image` (EXIF orientation applied) followed by its image processor
(transparency laid on white).
"""
from __future__ import annotations

import argparse
import json
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "reference"))
import refcommon as rc  # noqa: E402

import numpy as np  # noqa: E402
import PIL  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402

WIDTH, HEIGHT = 24, 17


def expected(path):
    """The pixels transformers' processor sees: upright, transparency on white."""
    from transformers.image_transforms import convert_to_rgb
    return np.asarray(convert_to_rgb(ImageOps.exif_transpose(Image.open(path)), return_numpy=True))


def fnv1a(data: bytes) -> str:
    """64-bit FNV-1a, short enough to write twice."""
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def write_png16(path, samples, color_type):
    """A 16-bit PNG of any colour type; Pillow writes 16 bits for grey alone. samples: [h, w, channels] uint16."""
    h, w, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = w.to_bytes(4, "big") + h.to_bytes(4, "big") + bytes([16, color_type, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows, 9))
                     + png_chunk(b"IEND", b""))


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def jpeg_segments(data: bytes):
    """(marker, start, end) of every segment before the scan."""
    at = 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2:at + 4], "big")
        yield data[at + 1], at, end
        at = end


def draw_files(out):
    """Every fixture; returns {file name: levels a decoder may be off}."""
    rgb = rc.draw_image(WIDTH, HEIGHT, 5)
    rgba = rc.draw_image(WIDTH, HEIGHT, 6, "RGBA")
    made = {}

    def save(name, image, levels=0, **options):
        image.save(out / name, **options)
        made[name] = levels

    deep = np.asarray(rgb).astype(np.uint16) * 257 + 101
    write_png16(out / "rgb16.png", deep, 2)
    write_png16(out / "rgba16.png", np.dstack([deep, np.asarray(rgba)[..., 3:].astype(np.uint16) * 257]), 6)
    write_png16(out / "la16.png", np.dstack([deep[..., :1], np.asarray(rgba)[..., 3:].astype(np.uint16) * 257]), 4)
    write_png16(out / "gray16_dark.png", np.asarray(rgb)[..., :1].astype(np.uint16), 0)
    write_png16(out / "gray16.png", deep[..., :1], 0)
    made |= {"rgb16.png": 0, "rgba16.png": 0, "la16.png": 0, "gray16_dark.png": 0, "gray16.png": None}

    save("bilevel.png", rgb.convert("1"))
    save("gray4.png", rgb.convert("L").quantize(4), bits=2)
    save("palette_alpha.png", rgb.quantize(15), transparency=3)
    save("palette_alphas.png", rgb.quantize(8), transparency=bytes([0, 40, 80, 120, 160, 200, 240, 255]))
    save("rgb_key.png", rgb, transparency=rgb.getpixel((4, 4)))
    save("first_frame.gif", rgb.quantize(16), save_all=True, append_images=[rgba.convert("RGB").quantize(16)])
    save("transparent.gif", rgb.quantize(16), transparency=2)
    save("plain.bmp", rgb)
    save("plain.tiff", rgb, compression="tiff_lzw")
    save("turned.tiff", rgb, exif=exif(6))
    save("lossless.webp", rgb, lossless=True, exact=True)
    save("lossless_alpha.webp", rgba, lossless=True, exact=True)
    save("turned.webp", rgb, lossless=True, exif=exif(8))
    save("lossy.webp", rgb, quality=80)
    for orientation in range(1, 9):
        save(f"exif{orientation}.png", rgb, exif=exif(orientation))

    large = rc.draw_image(40, 36, 7)
    save("chroma420.jpg", large, 8, quality=90, subsampling=2)
    save("chroma422.jpg", large, 8, quality=90, subsampling=1)
    save("progressive.jpg", large, 2, quality=90, subsampling=0, progressive=True)
    save("gray.jpg", large.convert("L"), 2, quality=90)
    save("cmyk_adobe.jpg", large.convert("CMYK"), 2, quality=95)
    data = (out / "cmyk_adobe.jpg").read_bytes()
    adobe = next((at, end) for marker, at, end in jpeg_segments(data) if marker == 0xEE)
    (out / "cmyk_bare.jpg").write_bytes(data[:adobe[0]] + data[adobe[1]:])
    # Transform 2 declares the same samples to be YCCK: odd colours, a fair test of the conversion.
    (out / "ycck.jpg").write_bytes(data[:adobe[1] - 1] + b"\x02" + data[adobe[1]:])
    made |= {"cmyk_bare.jpg": 2, "ycck.jpg": 2}
    return made


def resize_sums(micro):
    rows = []
    for name in ("large", "odd", "tiny", "verywide", "dot"):
        image = Image.open(micro / "images" / f"{name}.png").convert("RGB")
        w, h = image.size
        for size in ((w, h), (28, 28), (56, 308), (w + 1, max(h - 1, 1)), (w, 84), (84, h), (1, 1), (2 * w, 3 * h)):
            pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).tobytes()
            rows.append({"file": f"images/{name}.png", "width": size[0], "height": size[1], "fnv1a": fnv1a(pixels)})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/golden/processor"))
    parser.add_argument("--micro", type=Path, default=Path("tests/golden/micro"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, levels in draw_files(args.out).items():
        row = {"file": name, "levels": levels}
        if levels is None:
            row["refused"] = "Pillow clips 16-bit grey at 255 instead of scaling it, which turns most pictures white"
        else:
            pixels = expected(args.out / name)
            row |= {"width": pixels.shape[1], "height": pixels.shape[0], "rgb": f"{Path(name).name}.rgb"}
            (args.out / row["rgb"]).write_bytes(pixels.tobytes())
        files.append(row)
    for name in ("exif6.jpg", "jpeg.jpg"):
        pixels = expected(args.micro / "images" / name)
        (args.out / f"{name}.rgb").write_bytes(pixels.tobytes())
        files.append({"file": f"../micro/images/{name}", "levels": 2, "width": pixels.shape[1],
                      "height": pixels.shape[0], "rgb": f"{name}.rgb"})
    import transformers
    index = {"made_with": {"pillow": PIL.__version__, "transformers": transformers.__version__}, "images": files,
             "resize": resize_sums(args.micro)}
    (args.out / "images.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
