"""Stochastic depth for packed images of several sizes: drawn for whole images, applied to their tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dino_plugin.backbones.stochastic_depth import SubsetDropPath

Shapes = Sequence[tuple[int, int]]  # number of images and tokens per image, for each size


class Depth(NamedTuple):
    """What stochastic depth drew for one residual branch f.

    y = x,  y[tokens] += factors * f(x[tokens])

    Args:
        shapes: Of the images that enter the branch.
        tokens: Indices of the tokens that enter the branch; None: all.
        factors: One for each of these tokens; None: 1.
    """

    shapes: Shapes
    tokens: Int[Tensor, ' entering'] | None = None
    factors: Float[Tensor, 'entering 1'] | None = None

    def entering(self, x: Float[Tensor, 'tokens dim']) -> Float[Tensor, 'entering dim']:
        """x[tokens]."""
        return x if self.tokens is None else x.index_select(0, self.tokens)

    def add(
        self, x: Float[Tensor, 'tokens dim'], residual: Float[Tensor, 'entering dim']
    ) -> Float[Tensor, 'tokens dim']:
        """y of the equation, given the residual f(x[tokens])."""
        if self.factors is not None:
            residual = self.factors * residual
        return x + residual if self.tokens is None else x.index_add(0, self.tokens, residual)


def draw_depth(drop_path: nn.Module, shapes: Shapes, x: Float[Tensor, 'tokens dim']) -> Depth:
    """Draws for each size as the drop path of a block does: timm's, a :class:`SubsetDropPath`, or none.

    Args:
        drop_path: Of the block.
        shapes: Of the packed images.
        x: Their tokens.
    """
    if not drop_path.training or type(drop_path) is nn.Identity:
        return Depth(shapes)
    if type(drop_path) is SubsetDropPath:
        return _subsets(drop_path, shapes, x)
    factors = [drop_path(x.new_ones(batch, 1)).expand(batch, length) for batch, length in shapes]
    return Depth(shapes, factors=torch.cat([factor.flatten() for factor in factors])[:, None])


def _subsets(drop_path: SubsetDropPath, shapes: Shapes, x: Tensor) -> Depth:
    tokens, factors, kept, first = [], [], [], 0
    for batch, length in shapes:
        subset = drop_path.draw(batch, x.device)
        tokens.append((first + subset[:, None] * length + torch.arange(length, device=x.device)).flatten())
        factors.append(x.new_full((len(tokens[-1]), 1), batch / len(subset)))
        kept.append((len(subset), length))
        first += batch * length
    return Depth(kept, torch.cat(tokens), torch.cat(factors))
