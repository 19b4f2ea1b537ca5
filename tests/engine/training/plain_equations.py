"""The equations of heads, targets and losses in plain loops, one symbol after the other, for `plain_training`.

References:
    DINO (arXiv:2104.14294), iBOT (2111.07832), DINOv3 (2508.10104); KoLeo (1806.03198), Sinkhorn-Knopp (2006.09882),
    weight normalisation (1602.07868).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Ramp:
    """start + (end - start) p / share for p < share, and end from there on."""

    start: float
    share: float
    end: float

    def __call__(self, p: float) -> float:
        return self.start + (self.end - self.start) * p / self.share if p < self.share else self.end


CONSTANT = Ramp(1.0, 0.0, 1.0)


def cosine(start: float, end: float, p: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * p)) / 2


def scores(weights: Weights, head: str, tokens: Tensor) -> Tensor:
    """Three layers, a normalised bottleneck, and its product with each prototype."""
    own = {name.removeprefix(f'heads.{head}.'): weight for name, weight in weights.items()}
    x = tokens
    for layer in (0, 2):
        x = x @ own[f'mlp.{layer}.weight'].T + own[f'mlp.{layer}.bias']
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    x = x @ own['mlp.4.weight'].T + own['mlp.4.bias']
    x = x / x.square().sum(dim=1, keepdim=True).sqrt()
    if 'last_layer.weight' in own:
        return x @ own['last_layer.weight'].T
    magnitude, direction = (own[f'last_layer.parametrizations.weight.original{i}'] for i in (0, 1))
    return x @ (magnitude * direction / direction.square().sum(dim=1, keepdim=True).sqrt()).T


def sinkhorn_knopp(found: Tensor, temperature: float) -> Tensor:
    table = (found / temperature).exp().T
    prototypes, samples = table.shape
    for _ in range(3):
        table = table / table.sum(dim=1, keepdim=True) / prototypes
        table = table / table.sum(dim=0, keepdim=True) / samples
    return (table * samples).T


def koleo(class_tokens: Tensor, group: int) -> Tensor:
    x = class_tokens / class_tokens.square().sum(dim=1, keepdim=True).sqrt()
    total = 0.0
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and j // group == i // group]
        nearest = torch.stack([(x[i] - x[j]).square().sum().sqrt() for j in others]).min()
        total = total - (nearest + 1e-8).log()
    return total / len(x)


def gram(patches: Tensor, anchor: Tensor) -> Tensor:
    """Mean squared difference of the cosines of all pairs of patches; the anchor's are resampled to the same grid."""
    resized = interpolate(anchor.movedim(-1, 1), patches.shape[1:3], mode='bicubic', align_corners=False)
    tables = []
    for x in (patches.flatten(1, 2), resized.movedim(1, -1).flatten(1, 2)):
        x = x / x.square().sum(dim=-1, keepdim=True).sqrt()
        tables.append(torch.einsum('bid,bjd->bij', x, x))
    return (tables[0] - tables[1]).square().mean()
