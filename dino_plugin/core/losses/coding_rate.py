"""Coding rate: features of different images fill all directions, so that they cannot collapse."""

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.precision import full_precision
from dino_plugin.core.reduce import gather_with_gradient
from dino_plugin.core.schedules import Schedule


def coding_rate(features: Float[Tensor, 'batch dim'], squared_error: float = 0.5) -> Float[Tensor, '']:
    """Nats that code a batch of features up to an error: large if they spread over many directions, 0 if all are 0.

    R(Z) = 1/2 log det(I + d / (n epsilon^2) Z^T Z)          Z: n features of d dimensions

    The determinant is that of the smaller of Z^T Z and Z Z^T, which have the same non-zero eigenvalues.

    Args:
        features: Of different images, of length 1 or less.
        squared_error: epsilon^2, the squared error that the code allows. What is smaller counts as noise.

    Returns:
        The rate in nats, computed in float32 under any autocast; NaN if a feature is not finite.

    Raises:
        ValueError: If ``squared_error`` is not positive.

    References:
        Ma et al. 2007; as used in Wu et al. 2025 (SimDINO), arXiv:2502.10385, section 4. Their code calls epsilon^2
        ``eps``, 0.5 for DINO and 0.05 for DINOv2.
    """
    if squared_error <= 0:
        raise ValueError(f'coding_rate: squared_error={squared_error} must be positive.')
    with torch.autocast(features.device.type, enabled=False):
        features = full_precision(features)
        number, dim = features.shape
        products = features.T @ features if dim <= number else features @ features.T
        identity = torch.eye(len(products), device=features.device, dtype=features.dtype)
        # cholesky would raise where a feature is not finite, and so end a training that can skip the step.
        factor, failed = torch.linalg.cholesky_ex(identity + dim / (number * squared_error) * products)
        rate = factor.diagonal().log().sum()  # half of the logarithm of the determinant
        return torch.where(failed == 0, rate, torch.nan)


class CodingRateLoss(Loss):
    """Minus the coding rate of class tokens after a head, for each global view separately, averaged over views.

    L = -(d + n) / (d n) R(Z)          n images, projections Z of d dimensions

    The factor keeps the term comparable to `AlignmentLoss` at any batch and width (of the order of 1).

    Args:
        head: Name of the head, such as a ``DINOHead`` without prototypes; its projections have length 1.
        squared_error: See `coding_rate`.
        weight: Factor of the term.
        with_teacher: Take the mean of the student's and the teacher's projections, as SimDINO's code does; the gradient
            is the student's. False takes the student's alone.
        over_ranks: Take the images of all ranks together, which must hold the same number of images. Otherwise each
            rank has the rate of its own images, as in SimDINO's code.

    References:
        Wu et al. 2025 (SimDINO), arXiv:2502.10385, section 4; the factor as in their code, which calls it a heuristic.
    """

    reads_patches = ()

    def __init__(
        self,
        head: str,
        squared_error: float = 0.5,
        weight: Schedule | float = 1.0,
        with_teacher: bool = True,
        over_ranks: bool = False,
    ) -> None:
        super().__init__(weight, [head])
        self.head = head
        self.squared_error = squared_error
        self.uses_teacher = with_teacher
        self.over_ranks = over_ranks

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Minus the rate, in nats times the factor."""
        views = full_precision(step.student_heads[self.head](step.student_global.class_token))
        if self.uses_teacher:
            views = (views + step.teacher_heads[self.head](step.teacher_global.class_token)) / 2
        if self.over_ranks:
            views = torch.stack([gather_with_gradient(features) for features in views])
        number, dim = views.shape[1:]
        rate = torch.stack([coding_rate(features, self.squared_error) for features in views]).mean()
        return -(dim + number) / (dim * number) * rate
