"""Floating-point operations of a training step, by formula: what a processor could do at best."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import NamedTuple

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

# Operations a second: taken as the most that matrix products in bf16 reach on an H100 or H200 (data sheet: 989e12).
ATTAINABLE = 790e12


class Recipe(NamedTuple):
    """What an image costs: the network, its head, and the views."""

    dim: int
    depth: int
    patch: int = 16
    prototypes: int = 65536
    hidden_dim: int = 2048
    bottleneck_dim: int = 256
    global_size: int = 224
    local_size: int = 96
    num_global: int = 2
    num_local: int = 8


def forward_flops(recipe: Recipe, size: int) -> int:
    """Of the backbone on one view; a multiplication and an addition are two operations.

    depth * (24 dim^2 N + 4 N^2 dim) + 2 (N - 1) * 3 patch^2 * dim        for N tokens
    """
    patches = (size // recipe.patch) ** 2
    tokens = patches + 1
    blocks = recipe.depth * (24 * recipe.dim**2 * tokens + 4 * tokens**2 * recipe.dim)
    return blocks + 2 * patches * 3 * recipe.patch**2 * recipe.dim


def head_flops(recipe: Recipe) -> int:
    """Of the head on the class token of one view."""
    widths = recipe.dim, recipe.hidden_dim, recipe.hidden_dim, recipe.bottleneck_dim, recipe.prototypes
    return 2 * sum(before * after for before, after in pairwise(widths))


def step_flops(recipe: Recipe) -> int:
    """Of one image in one step: the student on all views, three times for forward and backward, the teacher once.

    3 * (global + local) + 1 * global        backbone and head alike

    What a clever implementation leaves out still counts, so that two implementations have one measure.
    """
    head = head_flops(recipe)
    global_views = recipe.num_global * (forward_flops(recipe, recipe.global_size) + head)
    local_views = recipe.num_local * (forward_flops(recipe, recipe.local_size) + head)
    return 3 * (global_views + local_views) + global_views


@contextmanager
def counted_flops(device: str) -> Iterator[FlopCounterMode]:
    """What PyTorch counts of the operations that are computed inside.

    On a CPU attention is written out meanwhile, as the products that it consists of: PyTorch's counter has no formula
    for the fused operation there (seen in 2.6 and 2.14) and would leave it out without a word.
    """
    written_out = sdpa_kernel(SDPBackend.MATH) if device == 'cpu' else nullcontext()
    with written_out, FlopCounterMode(display=False) as counter:
        yield counter
