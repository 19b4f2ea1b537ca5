"""Learnt position embeddings on another patch grid: the rules of the families.

All rules interpolate bicubically along rows and columns; they differ in two choices. With another rule than in
training, features differ, above all on the small grid of local views.

=============  ===========  ======  ==========================================================================
rule           antialiased  offset  used by
=============  ===========  ======  ==========================================================================
`timm`         yes          0       timm; DINOv2 with registers, the authors' code and Hugging Face's
`dino`         no           0.1     the authors' code of DINO, iBOT and DINOv2 without registers
`huggingface`  no           0       Hugging Face's `ViTModel` and `Dinov2Model`; mmpretrain
=============  ===========  ======  ==========================================================================
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Rule(NamedTuple):
    """How positions are resampled to another grid.

    Args:
        antialiased: Widen the kernel if the grid becomes smaller, so that every position counts.
        offset: Cells that the authors add to the new size before dividing it by the old one, against rounding errors.
            It shifts the sampling points a little.
    """

    antialiased: bool
    offset: float


RULES = {'timm': Rule(True, 0.0), 'dino': Rule(False, 0.1), 'huggingface': Rule(False, 0.0)}


def rule_named(name: str) -> Rule:
    """One of `RULES`.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in RULES:
        raise ValueError(f'position_resampling={name!r} is unknown; use one of {list(RULES)}.')
    return RULES[name]


def resampled(
    positions: Float[Tensor, '1 positions dim'], old: tuple[int, int], new: tuple, num_prefix: int, rule: Rule
) -> Tensor:
    """Position embeddings on another grid.

    This is PyTorch's bicubic interpolation (but for rounding), written as a product of matrices, because ONNX and
    `torch.export` cannot interpolate to a size that is not fixed.

    Args:
        positions: Of the prefix tokens, which stay unchanged, then of the patches of the old grid.
        old: Rows and columns of patches.
        new: The same for the new grid; symbols while the network is traced.
        num_prefix: Number of prefix tokens that have a position.
        rule: One of `RULES`.
    """
    prefix, patches = positions[:, :num_prefix], positions[0, num_prefix:].float()
    if torch.compiler.is_compiling():
        # On the network's own grid nothing is resampled. No `if`: a traced network keeps one branch for all sizes.
        same = torch.stack([torch.full((), a) == b for a, b in zip(new, old)]).all()
        offset = torch.where(same, 0.0, rule.offset)
        rows, columns = (_weights(a, b, rule.antialiased, offset) for a, b in zip(old, new))
    else:
        rows, columns = (cached_weights(a, b, *rule, positions.device) for a, b in zip(old, new))
    patches = torch.einsum('no,ocd->ncd', rows.to(patches.device), patches.unflatten(0, old))
    patches = torch.einsum('no,rod->rnd', columns.to(patches.device), patches)
    return torch.cat([prefix, patches.flatten(0, 1)[None].to(positions.dtype)], dim=1)


@lru_cache(maxsize=32)
def cached_weights(old: int, new: int, antialiased: bool, offset: float, device: torch.device) -> Tensor:
    """Computed once for each size, since the host waits for the copy to the device."""
    with torch.inference_mode(False):  # else training could not use what an evaluation computed
        return _weights(old, new, antialiased, torch.tensor(offset)).to(device)


def _weights(old: int, new: int | torch.SymInt, antialiased: bool, offset: Tensor) -> Tensor:
    """(new, old): the weight of each old position for each new one, by Keys' kernel, as in PyTorch.

    With antialiasing a = -1/2, and the weights inside the grid are normalised to sum 1. Without it a = -3/4, and the
    position at the edge is repeated beyond it.
    """
    step = old / (new + offset)  # old positions per new position
    centres = (torch.arange(new) + 0.5) * step
    if antialiased:
        weights = _kernel(((torch.arange(old) + 0.5 - centres[:, None]) / step.clamp(min=1)).abs(), -0.5)
        return weights / weights.sum(dim=1, keepdim=True)
    taps = (centres - 0.5).floor()[:, None] + torch.arange(-1, 3)
    weights = _kernel((taps + 0.5 - centres[:, None]).abs(), -0.75)
    at = taps.clamp(0, old - 1)[:, :, None] == torch.arange(old)
    return (weights[:, :, None] * at).sum(dim=1)


def _kernel(distance: Tensor, a: float) -> Tensor:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
