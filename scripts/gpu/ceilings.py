#!/usr/bin/env python3
"""What the device can do at most: copies in TB/s (read and written), a bf16 matrix product in TFLOP/s.

    ceilings.py [--gigabytes 8] [--size 8192]

The product is of random numbers: zeros need less power, and the clock stays higher. Not here: the program's own speed.
"""
import argparse

from workload import device, figures, median_seconds


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=8.0, help="read by a copy; as many are written")
    parser.add_argument("--size", type=int, default=8192, help="side of the square matrices")
    args = parser.parse_args()
    n_bytes = int(args.gigabytes * 1e9)
    source = torch.empty(n_bytes, dtype=torch.uint8, device=device()).random_()
    target = torch.empty_like(source)
    time = median_seconds(lambda: target.copy_(source), 10)
    figures(copy_tb_per_s=2 * n_bytes / time / 1e12)
    del source, target
    shape = (args.size, args.size)
    a, b = (torch.randn(shape, device=device()).to(torch.bfloat16) for _ in range(2))
    time = median_seconds(lambda: a @ b, 20)
    figures(matmul_tflops=2 * args.size**3 / time / 1e12)
    one_row = a[:1]
    weight = torch.randn((8960, 1536), device=device()).to(torch.bfloat16)
    row = one_row[:, :1536].contiguous() if args.size >= 1536 else torch.zeros((1, 1536), dtype=a.dtype, device=a.device)
    time = median_seconds(lambda: row @ weight.T, 50)
    figures(mlp_row_us=time * 1e6)


if __name__ == "__main__":
    main()
