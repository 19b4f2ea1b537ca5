"""Samples of our datasets and of Lightly's, made of random numbers."""

import torch


def block(views: int, rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (views, rows, columns, 3), dtype=torch.uint8, generator=generator)


def block_samples(batch: int = 5, num_local: int = 6) -> list[tuple]:
    return [(block(2, 14, 12, n), block(num_local, 8, 6, 99 - n) if num_local else None) for n in range(batch)]


def list_samples(batch: int = 5, num_global: int = 2, num_local: int = 4) -> list[tuple]:
    torch.manual_seed(0)
    sizes = [(14, 12)] * num_global + [(8, 6)] * num_local
    return [([torch.randn(3, *size) for size in sizes], n, f'{n}.jpg') for n in range(batch)]
