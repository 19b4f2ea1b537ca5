"""Tokens -> one descriptor an image, for search."""

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.core.views import Tokens
from dino_plugin.evaluation.features.extraction import pool

LEAST = 1e-6


def gem(patches: Float[Tensor, '*leading rows columns dim'], power: float = 4.0) -> Float[Tensor, '*leading dim']:
    """Generalised mean of the patches, channel by channel, in float32: the mean of x^power, to the power 1 / power.

    Values below 1e-6 count as 1e-6: a large power of a negative number would make it a large positive one.

    Args:
        patches: Patch features.
        power: 1 is the mean; the larger, the nearer to the maximum.

    Raises:
        ValueError: If the power is not positive.

    References:
        Radenović et al. 2018, arXiv:1711.02512, equation 3; power 4 as in DINO's evaluation of copies.
    """
    if power <= 0:
        raise ValueError(f'The power of GeM must be above 0, got {power}.')
    patches = patches.float().clamp(min=LEAST)
    largest = patches.amax(dim=(-3, -2), keepdim=True)  # taken out: a power of a large number leaves float32
    return ((patches / largest) ** power).mean(dim=(-3, -2)) ** (1 / power) * largest[..., 0, 0, :]


def describe(tokens: Tokens, features: str = 'class', power: float = 4.0) -> Float[Tensor, 'images dim']:
    """One float32 vector for each image.

    Args:
        tokens: Result of a backbone.
        features: `class`, `mean` or `class+mean` as in `pool`; `gem`: the generalised mean of the patches; `class+gem`:
            the class token and it, concatenated as they are, as in DINO's evaluation of copies.
        power: Of `gem`.

    Raises:
        ValueError: If `features` is another word, or as in `gem`.
    """
    if 'gem' not in features:
        return pool(tokens, features)
    pooled = gem(tokens.patches, power)
    if features == 'gem':
        return pooled
    if features == 'class+gem':
        return torch.cat([tokens.class_token.float(), pooled], dim=-1)
    raise ValueError(f"features must be 'class', 'mean', 'class+mean', 'gem' or 'class+gem', got {features!r}.")
