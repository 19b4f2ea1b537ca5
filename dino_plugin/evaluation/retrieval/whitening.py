"""Whitening: features whose directions all have the same spread."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Of the largest eigenvalue. Smaller ones are raised to it: what some hundred samples say of them is mostly chance.
LEAST_SHARE = 1e-3
LEAST_SHARE_ABOUT_ZERO = 1e-5  # in DINO's code


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

    matrix = V diag(d)^-1/2, with covariance V diag(d) V^T; d is at least 1e-3 of its largest value

    Args:
        features: Of images that stand for those to be searched; more samples than dimensions.
        centred: The covariance about the mean. False, as in the code of DINO's authors: the second moment about 0,
            although the mean is subtracted from what is whitened, and d at least 1e-5 of its largest value. Where the
            mean is long, that value is its square: the mean's own direction is nearly lost, and the least d is about as
            large as in the centred form.

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
    least = (LEAST_SHARE if centred else LEAST_SHARE_ABOUT_ZERO) * values[-1]
    if values[-1] <= 1e-20 * mean.square().sum():  # no more than rounding
        raise ValueError('Features for whitening are all the same: has the network collapsed?')
    return Whitening(mean.float(), (vectors * values.clamp(min=least) ** -0.5).float())
