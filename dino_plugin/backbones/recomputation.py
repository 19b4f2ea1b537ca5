"""Gradient checkpointing: what the backward pass computes again instead of reading it from memory."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

PRODUCTS = 'all but products'
_aten = torch.ops.aten
# Products of matrices, and attention: nearly all operations of a block, but less than half of what it keeps.
_KEPT = [
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.baddbmm.default,
    _aten._scaled_mm.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
]


def checked_recomputation(choice: bool | str, plain_blocks: bool, compiled: bool | str) -> bool | str:
    """What `TimmBackbone(gradient_checkpointing=...)` was given.

    Raises:
        ValueError: If it is none of the choices, or keeping products needs other blocks.
    """
    if choice not in (True, False, PRODUCTS):
        raise ValueError(f'TimmBackbone: gradient_checkpointing={choice!r}, expected True, False or {PRODUCTS!r}.')
    if choice == PRODUCTS and (compiled or not plain_blocks):
        raise ValueError(
            f'TimmBackbone: gradient_checkpointing={PRODUCTS!r} is for plain vision transformers whose blocks are not '
            'compiled; use True.'
        )
    return choice


def runner_of_blocks(choice: bool | str) -> Callable[..., Tensor]:
    """``run(function, *inputs)``, which keeps what the choice says."""
    if not choice:
        return lambda function, *inputs: function(*inputs)
    return _keep_products if choice == PRODUCTS else functools.partial(checkpoint, use_reentrant=False)


def _keep_products(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    contexts = functools.partial(create_selective_checkpoint_contexts, _KEPT)
    # PyTorch pairs the operations of both passes by counting. A weight that autocast has cast for an earlier block,
    # such as the last one of two sizes of images, would be cast in the second pass only.
    caches = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        return checkpoint(function, *inputs, use_reentrant=False, context_fn=contexts)
    finally:
        torch.set_autocast_cache_enabled(caches)
