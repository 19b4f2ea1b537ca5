"""Losses of depth maps in the logarithm, where an error of ten per cent counts the same near and far."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Depths = Float[Tensor, 'images 1 rows columns']
_SMALL = 1e-3  # metres, added before the logarithm


class ScaleInvariantLoss(nn.Module):
    """The spread of the error of ln(depth), and a part of its mean.

    g = ln(p + 0.001) - ln(t + 0.001) of all measured pixels of the batch
    loss = weight * sqrt(var(g) + mean_share * mean(g)^2)

    During the first `warm_up` batches the variance is left out: the scale comes first.

    Args:
        weight: Factor of the term.
        mean_share: Weight of the mean; 1 is the mean square, 0 forgets the scale.
        warm_up: Number of batches.

    References:
        Eigen et al. 2014, arXiv:1406.2283, equation 4; with 0.15 and the warm-up in Li et al. 2022, arXiv:2204.00987,
        and DINOv2.
    """

    seen: Float[Tensor, '']

    def __init__(self, weight: float = 1.0, mean_share: float = 0.15, warm_up: int = 100) -> None:
        super().__init__()
        self.weight, self.mean_share, self.warm_up = weight, mean_share, warm_up
        self.register_buffer('seen', torch.tensor(0.0))

    def forward(self, predicted: Depths, truth: Depths) -> Float[Tensor, '']:
        """The loss; 0 where no pixel was measured."""
        measured = truth > 0
        number = measured.sum().clamp(min=1)
        errors = _log_errors(predicted, truth).where(measured, 0)
        mean = errors.sum() / number
        variance = (errors - mean).where(measured, 0).square().sum() / number
        spread = torch.where(self.seen < self.warm_up, 0.0, variance)
        self.seen += 1
        # The root has no gradient at 0.
        return self.weight * (spread + self.mean_share * mean.square()).clamp(min=1e-12).sqrt()


class LogGradientLoss(nn.Module):
    """Differences of the error of ln(depth) between neighbouring pixels, at several sizes: sharp edges.

    g = ln(p + 0.001) - ln(t + 0.001)
    loss = weight * sum over scales s of [ mean |g[r + 2 s, c] - g[r, c]| + mean |g[r, c + 2 s] - g[r, c]| ]

    where both pixels are measured; s = 1, 2, 4, 8: each scale takes every s-th pixel of both axes.

    Args:
        weight: Factor of the term.
        scales: Number of scales.

    References:
        Li and Snavely 2018, arXiv:1804.00607, equation 5; Oquab et al. 2023, arXiv:2304.07193 (DINOv2's depth heads).
    """

    def __init__(self, weight: float = 0.5, scales: int = 4) -> None:
        super().__init__()
        self.weight, self.scales = weight, scales

    def forward(self, predicted: Depths, truth: Depths) -> Float[Tensor, '']:
        """The loss."""
        errors, measured = _log_errors(predicted, truth), truth > 0
        total = errors.new_zeros(())
        for scale in range(self.scales):
            step = 2**scale
            for axis in (2, 3):
                g, valid = (array[..., ::step, ::step].movedim(axis, 0) for array in (errors, measured))
                both = valid[2:] & valid[:-2]
                total = total + (g[2:] - g[:-2]).abs().where(both, 0).sum() / both.sum().clamp(min=1)
        return self.weight * total


def _log_errors(predicted: Depths, truth: Depths) -> Depths:
    return (predicted.float() + _SMALL).log() - (truth.float() + _SMALL).log()
