"""Distances between a student's vectors and a frozen teacher's, and the scale of the latter."""

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


class TargetScale(nn.Module):
    """Bring the channels of a frozen network to one scale, by the mean m and the covariance C of all features so far.

    whitened:      y = (x - m) V diag(1 / (s + 0.1 mean(s))) V^T,     C = V diag(s^2) V^T
    standardised:  the same with the diagonal of C alone: each channel by its own deviation

    Channels of a network differ in spread by orders of magnitude, and most of the variance lies in few directions, so
    that a distance of raw features is a distance in those. Whitened, all directions count; the mean deviation in the
    denominator keeps noise small. The rotation V^T brings back the network's own channels. Targets of several networks
    have one scale.

    The statistics are those of all batches and all ranks so far, this one included. The matrix is computed anew after
    1, 2, 4, 8 … batches, so that the targets come to rest. Both move in training mode only, and never after a batch
    that is not finite.

    Args:
        dim: Channels.
        whiten: Take the whole covariance; otherwise its diagonal.

    References:
        Ranzinger et al. 2024 (PHI-S), arXiv:2410.01680, compares such normalisations, measured before training;
        Shang et al. 2024 (Theia), arXiv:2407.20179, standardises.
    """

    def __init__(self, dim: int, whiten: bool = True) -> None:
        super().__init__()
        self.whiten = whiten
        self.register_buffer('batches', torch.tensor(0))
        self.register_buffer('mean', torch.zeros(dim))
        self.register_buffer('second_moments', torch.zeros(dim, dim))
        self.register_buffer('matrix', torch.eye(dim))
        self._calls: int | None = None  # batches, as the host counts them: to read them it would wait for the device

    @torch.no_grad()
    def forward(self, features: Float[Tensor, '*leading dim']) -> Float[Tensor, '*leading dim']:
        """The features on their new scale, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = full_precision(features)
            if self.training:
                self._follow(features.flatten(end_dim=-2))
            return (features - self.mean) @ self.matrix

    def _follow(self, features: Float[Tensor, 'vectors dim']) -> None:
        ones = torch.ones_like(features[:, :1])
        with_ones = torch.cat([features, ones], dim=1)
        sums = sum_over_ranks(with_ones.T @ with_ones)  # second moments, sums and their number
        finite = sums.isfinite().all()
        share = 1 / (self.batches + 1)
        moments = sums / sums[-1, -1]
        for own, found in ((self.mean, moments[-1, :-1]), (self.second_moments, moments[:-1, :-1])):
            own.copy_(torch.where(finite, torch.lerp(own, found, share), own))
        self.batches += finite
        self._calls = int(self.batches) if self._calls is None else self._calls + 1
        if self._calls & (self._calls - 1) == 0:
            found = self._inverse_root(self.second_moments - torch.outer(self.mean, self.mean))
            self.matrix.copy_(torch.where(finite, found, self.matrix))

    def _load_from_state_dict(self, *arguments) -> None:
        super()._load_from_state_dict(*arguments)
        self._calls = None

    def _inverse_root(self, covariance: Float[Tensor, 'dim dim']) -> Float[Tensor, 'dim dim']:
        variances, directions = torch.linalg.eigh(covariance if self.whiten else covariance.diag().diag())
        deviations = variances.clamp(min=0).sqrt()
        shrunk = deviations + 0.1 * deviations.mean() + torch.finfo(deviations.dtype).tiny
        return (directions / shrunk) @ directions.T
