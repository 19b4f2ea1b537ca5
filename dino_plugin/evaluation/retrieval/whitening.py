"""Whitening: features whose directions all have the same spread."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_SHARE = 1e-5  # of the largest eigenvalue


class Whitening(NamedTuple):
    """w(x) = (x - mean) @ matrix."""

    mean: Float[Tensor, ' dim']
    matrix: Float[Tensor, 'dim kept']

    def __call__(self, features: Float[Tensor, 'samples dim']) -> Float[Tensor, 'samples kept']:
        """The whitened features, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            return (features.float() - self.mean) @ self.matrix


def fit_whitening(features: Float[Tensor, 'samples dim'], centred: bool = True) -> Whitening:
    """The whitening of a set of features, by the eigenvectors of their covariance.

    matrix = V diag(d)^-1/2, with covariance V diag(d) V^T

    Args:
        features: Of images that stand for those to be searched; more samples than dimensions.
        centred: The covariance about the mean. Directions with less than 1e-5 of the largest eigenvalue are dropped:
            there the samples say nothing. False, as in the code of DINO's authors: the second moment about 0, although
            the mean is subtracted from what is whitened; the mean's own direction is then nearly lost. Directions below
            1e-5 are kept, and divided as if they had it.

    Raises:
        ValueError: If there are fewer than two samples, all are the same, or they are not finite.
    """
    if len(features) < 2:
        raise ValueError(f'Whitening needs the features of several images, got {len(features)}.')
    features = features.detach().double()
    mean = features.mean(dim=0)
    deviations = features - mean if centred else features
    covariance = deviations.T @ deviations / len(features)
    if not covariance.isfinite().all():
        raise ValueError('Features for whitening hold NaN or infinity: did training diverge?')
    values, vectors = torch.linalg.eigh(covariance)
    least = LEAST_SHARE * values[-1]
    if least <= 0:
        raise ValueError('Features for whitening are all the same: has the network collapsed?')
    if centred:
        vectors, values = vectors[:, values >= least], values[values >= least]
    return Whitening(mean.float(), (vectors * values.clamp(min=least) ** -0.5).float())
