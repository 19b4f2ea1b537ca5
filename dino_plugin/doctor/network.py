"""The network on one batch: dead units, lengths of patch tokens, what the features tell apart."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_plugin.core import statistics
from dino_plugin.core.views import ClassTokenOnly
from dino_plugin.doctor.findings import Finding

DEAD = 1e-5  # deviation of a unit's output over the batch, below which it says nothing
LONG = 4.0  # times the median length, from which on a patch token is an outlier
FEW = (16, 128)  # prototypes below which it is warned of, and told; published recipes have 1,024 to 262,144
ACTIVATIONS = (nn.GELU, nn.ReLU, nn.SiLU)


class Look(NamedTuple):
    """Measured on the global views of one batch.

    Attributes:
        parameters: Trained numbers of the backbone.
        dead: Share of the units behind activations that give the same for all tokens.
        long: Share of the patch tokens that are longer than `LONG` times the median of their image.
        rank: Effective rank of the class tokens, at most their number.
        spread: `feature_std` of the class tokens: 0 if all point one way.
        images: Images in the batch.
    """

    parameters: int
    dead: float
    long: float
    rank: float
    spread: float
    images: int


@torch.no_grad()
def look_at_network(backbone: nn.Module, views: Float[Tensor, 'views batch channels rows columns']) -> Look:
    """One forward pass, in evaluation mode; the mode is restored.

    Batch norm that has seen no batch yet does not normalise in this mode, so dead units are not counted behind it.
    """
    units: list[Tensor] = []

    def listen(module: nn.Module, inputs: Any, output: Tensor) -> None:
        axis = 1 if output.ndim == 4 else -1
        units.append(output.movedim(axis, -1).flatten(end_dim=-2).float().std(dim=0))

    normed = [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    fresh = any(module.num_batches_tracked == 0 for module in normed)
    watched = [module for module in backbone.modules() if isinstance(module, ACTIVATIONS) and not fresh]
    handles = [module.register_forward_hook(listen) for module in watched]
    training = backbone.training
    tokens = backbone.eval()(views[:1])
    backbone.train(training)
    for handle in handles:
        handle.remove()
    deviations = torch.cat(units) if units else torch.ones(1)
    classes = tokens.class_token.flatten(end_dim=-2)
    return Look(
        sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad),
        float((deviations < DEAD).float().mean()),
        0.0 if isinstance(tokens, ClassTokenOnly) else long_patches(tokens.patches.flatten(2, 3).flatten(0, 1)),
        float(statistics.effective_rank(classes)),
        float(statistics.feature_std(classes)),
        len(classes),
    )


def long_patches(patches: Float[Tensor, 'images patches dim']) -> float:
    """Share of the patches that are longer than `LONG` times the median length of their image's patches."""
    lengths = patches.float().norm(dim=-1)
    return float((lengths > LONG * lengths.median(dim=1, keepdim=True).values).float().mean())


def judge_network(look: Look, released: bool) -> list[Finding]:
    """Findings.

    Args:
        look: Measured.
        released: Whether the network starts from trained weights.
    """
    said = [Finding('ok', 'network', f'{look.parameters / 1e6:.1f} million trained parameters in the backbone')]
    if not look.parameters:
        said = [Finding('fault', 'network', 'no parameter of the backbone is trained', 'lr_mult=0 in paramwise_cfg?')]
    if look.dead > 0.05:
        found = f'{look.dead:.0%} of the units behind activations give the same for all tokens'
        remedy = 'check the normalisation of the images, and weights that a file did not fill'
        said.append(Finding('warning' if look.dead > 0.5 else 'notice', 'dead units', found, remedy))
    if look.long > 0.005:
        found = f"{look.long:.1%} of the patches are more than {LONG:.0f} times as long as their image's median"
        remedy = 'they hold no patch any more: a network with registers; leave them out of pictures'
        said.append(Finding('notice', 'long patch tokens', found, remedy))
    found = f'effective rank {look.rank:.1f} of {look.images} images, spread {look.spread:.2f}'
    if look.spread < 0.02 and released:
        remedy = 'were the weights loaded? The log says how many keys were'
        return [*said, Finding('warning', 'features', f'{found}: no image is told from another', remedy)]
    return [*said, Finding('ok', 'features at the start', found)]


def judge_heads(heads: Iterable[tuple[str, nn.Module]]) -> list[Finding]:
    """Prototypes: a target can tell its image by at most ln K, so few of them leave little to learn."""
    said = []
    for name, head in heads:
        prototypes = getattr(head, 'prototypes', None)
        if not isinstance(prototypes, int):
            continue
        found = f'{prototypes:,}: a target tells at most {math.log2(prototypes):.1f} bits of its image'
        if prototypes >= FEW[1]:
            said.append(Finding('ok', f'prototypes of {name}', found))
            continue
        level = 'warning' if prototypes < FEW[0] else 'notice'
        found += '; published recipes have 1,024 to 262,144'
        said.append(Finding(level, f'prototypes of {name}', found, f'model.heads.{name}.prototypes=512 or more'))
    return said
