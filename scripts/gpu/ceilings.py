#!/usr/bin/env python3
"""What the device can do at most: copies in TB/s (read and written), a bf16 matrix product in TFLOP/s.

    ceilings.py [--gigabytes 8] [--size 8192]

The product is of random numbers: zeros need less power, and the clock stays higher. Not here: the program's own speed.
"""
import argparse

from workload import device, figures, median_seconds


def copy(n_bytes):
    import torch

    source = torch.empty(n_bytes, dtype=torch.uint8, device=device()).random_()
    target = torch.empty_like(source)
    return 2 * n_bytes / median_seconds(lambda: target.copy_(source), 10) / 1e12


def matrix_product(size):
    import torch

    a, b = (torch.randn((size, size), device=device()).to(torch.bfloat16) for _ in range(2))
    return 2 * size**3 / median_seconds(lambda: a @ b, 20) / 1e12


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=8.0, help="read by a copy; as many are written")
    parser.add_argument("--size", type=int, default=8192, help="side of the square matrices")
    args = parser.parse_args()
    figures(copy_tb_per_s=copy(int(args.gigabytes * 1e9)))
    figures(matmul_tflops=matrix_product(args.size))


if __name__ == "__main__":
    main()
