"""Attention maps: the patches that hold most of the mass."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def shares_of(maps: Float[Tensor, '*leading rows columns']) -> Float[Tensor, '*leading rows columns']:
    """Attention to the patches as shares of a map's sum, in float64.

    A class token attends to itself and to registers, too; here that part is left out.

    Args:
        maps: Attention to each patch, at least 0.

    Raises:
        ValueError: If a value is negative, NaN or infinite, or a map is 0 everywhere.
    """
    maps = maps.double()
    if not maps.isfinite().all() or (maps < 0).any():
        raise ValueError(
            'attention maps must be finite and at least 0, got '
            f'{"NaN or infinity" if not maps.isfinite().all() else "negative values"}: are the weights damaged?'
        )
    total = maps.sum(dim=(-2, -1), keepdim=True)
    if (total == 0).any():
        raise ValueError('an attention map is 0 at every patch: it says nothing about the image.')
    return maps / total


def mass_mask(
    maps: Float[Tensor, '*leading rows columns'], threshold: float = 0.6
) -> Bool[Tensor, '*leading rows columns']:
    """The fewest patches that hold a share of a map's mass.

    Patches leave by rising attention while the sum of those that left is at most 1 - threshold. Of equal patches the
    first ones leave first.

    Args:
        maps: Attention to each patch, at least 0.
        threshold: Share of the mass to keep, in (0, 1]; the authors of DINO take 0.6.

    Raises:
        ValueError: If the threshold is outside, or for maps that `shares_of` refuses.

    References:
        Caron et al. 2021, arXiv:2104.14294, figures 3 and 4 and their published visualize_attention.py.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f'threshold must be a share of the mass in (0, 1], got {threshold}.')
    shares, order = shares_of(maps).flatten(-2).sort(dim=-1, stable=True)
    kept = shares.cumsum(dim=-1) > 1 - threshold + 1e-12  # sums of a third and two thirds must not depend on rounding
    return torch.zeros_like(kept).scatter(-1, order, kept).unflatten(-1, maps.shape[-2:])
