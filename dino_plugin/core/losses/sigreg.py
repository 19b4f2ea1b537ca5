"""SIGReg: features of different images are distributed like an isotropic Gaussian, so that they cannot collapse."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.dino import class_projections
from dino_plugin.core.precision import full_precision
from dino_plugin.core.reduce import gather_with_gradient, num_ranks
from dino_plugin.core.schedules import Schedule

LIMIT, KNOTS = 5.0, 17  # of the integral over t: from -LIMIT to LIMIT by the trapezoidal rule


def gaussian_distance(
    features: Float[Tensor, 'batch dim'], directions: Float[Tensor, 'dim slices'], over_ranks: bool = False
) -> Float[Tensor, '']:
    """Epps and Pulley's statistic of the features along each direction, averaged over directions.

    T(a) = n int |1/n sum_j exp(i t a.z_j) - exp(-t^2 / 2)|^2 exp(-t^2) dt

    It compares the characteristic function of the n projections with that of the standard normal distribution: 0 only
    if they are equal. Features that are normal give a T near 0.5, whatever n is; equal features a T that grows with n.

    The integral is a sum over 17 knots on [-5, 5], so the gap is 0.625. The README of the authors' repository names
    17 knots on [0, 3], a gap of 0.1875. Near the goal both are within 0.1 % of the integral. Far from it a sum over
    knots sees projections only modulo 2 pi / gap, which is 10.05 here and 33.5 there: a projection of 10.05 counts like
    0, and T of features that are 5 times too wide is 5 % too small, of 20 times 42 % (theirs: 0 and 3 %).

    Args:
        features: z, of different images, of any length.
        directions: a, of length 1.
        over_ranks: n counts the images of all ranks, which must hold the same number and the same directions.

    Returns:
        The statistic, computed in float32 under any autocast.

    References:
        Balestriero and LeCun 2025 (LeJEPA), arXiv:2511.08544, section 4; Epps and Pulley 1983. Written from the
        equation. The integrand is even in t, so only t >= 0 is computed.
    """
    with torch.autocast(features.device.type, enabled=False):
        projections = full_precision(features) @ directions.to(full_precision(features).dtype)
        t = torch.linspace(0, LIMIT, KNOTS // 2 + 1, device=features.device, dtype=projections.dtype)
        angles = projections[..., None] * t
        parts = torch.stack([angles.cos().mean(dim=0), angles.sin().mean(dim=0)])
        number = len(features)
        if over_ranks:
            parts, number = gather_with_gradient(parts[None]).mean(dim=0), number * num_ranks()
        widths = torch.full_like(t, 2 * LIMIT / (KNOTS // 2))  # both signs of t
        widths[0] = widths[-1] = LIMIT / (KNOTS // 2)
        gaps = (parts[0] - (-t.square() / 2).exp()).square() + parts[1].square()
        return number * (gaps * (-t.square()).exp() * widths).sum(dim=-1).mean()


class SIGRegLoss(Loss):
    """`gaussian_distance` of class tokens after a head, for each view of the student separately, averaged over views.

    With `ViewMeanLoss` it is LeJEPA: no teacher, no prototypes, no temperature. The directions are new at each step and
    the same on all ranks and after a resumption: they follow from the progress.

    Args:
        head: Name of the head; its outputs must be free to take any length (a ``DINOHead`` normalises them).
        slices: Number of directions.
        weight: Factor of the term; lambda in LeJEPA, where that of `ViewMeanLoss` is 1 - lambda.
        over_ranks: See `gaussian_distance`.

    Raises:
        ValueError: If ``slices`` is less than 1.
    """

    uses_teacher = False
    reads_patches = ()

    def __init__(self, head: str, slices: int = 256, weight: Schedule | float = 0.05, over_ranks: bool = False) -> None:
        super().__init__(weight, [head])
        if slices < 1:
            raise ValueError(f'SIGRegLoss: slices={slices}; at least one direction is needed.')
        self.head = head
        self.slices = slices
        self.over_ranks = over_ranks

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Mean over views and directions."""
        views, _ = class_projections(step, self.head)
        generator = torch.Generator(views.device).manual_seed(int(step.progress * 2**53))
        directions = torch.randn(views.shape[-1], self.slices, generator=generator, device=views.device)
        directions = normalize(directions, dim=0)
        return torch.stack([gaussian_distance(view, directions, self.over_ranks) for view in views]).mean()
