"""Distances between a student's vectors and a frozen teacher's, and the running statistics that standardise targets."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dino_plugin.core.losses.gram import gram_difference
from dino_plugin.core.precision import full_precision
from dino_plugin.core.reduce import sum_over_ranks


def smooth_l1_distance(
    student: Float[Tensor, 'sets vectors dim'], target: Float[Tensor, 'sets vectors dim']
) -> Float[Tensor, '']:
    """Mean over all entries of x^2 / 2 where |x| < 1 and |x| - 1/2 elsewhere, x = student - target; in float32.

    References:
        Girshick 2015, Fast R-CNN, arXiv:1504.08083, equation 3.
    """
    return functional.smooth_l1_loss(full_precision(student), full_precision(target))


def cosine_distance(
    student: Float[Tensor, 'sets vectors dim'], target: Float[Tensor, 'sets vectors dim']
) -> Float[Tensor, '']:
    """Mean over all vectors of 1 - cos(student, target), in [0, 2]; in float32."""
    return 1 - functional.cosine_similarity(full_precision(student), full_precision(target), dim=-1).mean()


# A set is what a relation holds within: the patches of an image, or the images of a batch. The first two ignore it.
DISTANCES = {'smooth_l1': smooth_l1_distance, 'cosine': cosine_distance, 'relational': gram_difference}


class Standardise(nn.Module):
    """Subtract the running mean of each channel and divide by its running standard deviation.

    mean <- (1 - a) mean + a mean(batch),   second <- (1 - a) second + a mean(batch^2),   a = max(1 / batches, 1 - m)
    y = (x - mean) / sqrt(second - mean^2 + 1e-6)

    Channels of a network differ in spread by orders of magnitude; standardised, all count in a distance, and targets of
    several networks have one scale. The statistics include the batch itself, of all ranks; they are the plain mean over
    the first 1 / (1 - m) batches, then a moving average. They move in training mode only, never after a batch that is
    not finite.

    Args:
        dim: Channels.
        momentum: m, the share of the old statistics that is kept, in [0, 1).

    References:
        Shang et al. 2024 (Theia), arXiv:2407.20179, section 3, and Ranzinger et al. 2024 (PHI-S), arXiv:2410.01680,
        which compares it with other normalisations; both measure before training.
    """

    def __init__(self, dim: int, momentum: float = 0.99) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f'Standardise: momentum={momentum} is not in [0, 1); it is the share that is kept.')
        self.momentum = momentum
        self.register_buffer('batches', torch.tensor(0.0))
        self.register_buffer('mean', torch.zeros(dim))
        self.register_buffer('second_moment', torch.ones(dim))

    @torch.no_grad()
    def forward(self, features: Float[Tensor, '*leading dim']) -> Float[Tensor, '*leading dim']:
        """The standardised features, in float32."""
        features = full_precision(features)
        if self.training:
            self._follow(features.flatten(end_dim=-2))
        return (features - self.mean) / (self.second_moment - self.mean.square()).clamp(min=0).add(1e-6).sqrt()

    def _follow(self, features: Float[Tensor, 'vectors dim']) -> None:
        sums = torch.cat([features.sum(0), features.square().sum(0), features.new_tensor([len(features)])])
        sums = sum_over_ranks(sums)
        moments = sums[:-1] / sums[-1]
        share = torch.where(moments.isfinite().all(), (1 / (self.batches + 1)).clamp(min=1 - self.momentum), 0.0)
        mean, second_moment = moments.nan_to_num(0, 0, 0).chunk(2)
        self.mean.lerp_(mean, share)
        self.second_moment.lerp_(second_moment, share)
        self.batches += share > 0
