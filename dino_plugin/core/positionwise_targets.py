"""Targets that are balanced at each place of the patch grid, so that a place says nothing about the target."""

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.core.precision import full_precision
from dino_plugin.core.targets import SinkhornKnopp, balanced


class PositionwiseSinkhornKnopp(SinkhornKnopp):
    """`SinkhornKnopp` at each cell of the patch grid by itself: the samples are the views of all images and ranks.

    Balanced over all patches together, a cluster may stand for a place, such as the upper edge, which the student knows
    without looking. Balanced at each place, every cluster is used equally often there, so it must stand for content.

    Args:
        iterations: Rounds of normalisation; at least 1.

    Raises:
        ValueError: If there is no round.

    References:
        Darcet et al. 2025 (CAPI), arXiv:2502.08769, section 3.
    """

    def __init__(self, iterations: int = 3) -> None:
        super().__init__(iterations)

    @torch.no_grad()
    def forward(
        self, scores: Float[Tensor, 'views batch rows columns prototypes'], temperature: float
    ) -> Float[Tensor, 'views batch rows columns prototypes']:
        """Probabilities in float32, each row summing to 1."""
        places = full_precision(scores).flatten(0, 1).flatten(1, 2).movedim(1, 0)
        shared = balanced(places / temperature, self.iterations).movedim(0, 1)
        return shared.reshape(scores.shape)
