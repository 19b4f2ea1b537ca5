"""How many directions features use, as numbers that need no labels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.core.statistics import entropy


def alpha_req(features: Float[Tensor, 'samples dim'], first: int = 11, last: int = 50) -> float:
    """Decay of the eigenvalues of the covariance: l_i ~ i^-alpha, by least squares of log l_i on log i.

    Values near 1 went with the best linear classifiers in the reference; below, variance is spread over more
    directions than help, above, over fewer.

    Args:
        features: One row for each image.
        first: First rank of the fit, counted from 1.
        last: Last rank; the number of eigenvalues that are not 0, if that is less.

    Raises:
        ValueError: If fewer than two eigenvalues are left to fit.

    References:
        Agrawal et al. 2022 (alpha-ReQ), arXiv:2210.13511. The range of ranks is theirs.
    """
    centred = (features - features.mean(dim=0)).double()
    values = torch.linalg.svdvals(centred).square()
    values = values[values > values[0] * 1e-12][:last]
    if len(values) <= first:
        raise ValueError(
            f'alpha_req: {len(values)} eigenvalues are not 0; at least {first + 1} are needed. Give more images.'
        )
    ranks = torch.arange(first, len(values) + 1, dtype=torch.float64, device=values.device).log()
    logs = values[first - 1 :].log()
    return -float(((ranks - ranks.mean()) * (logs - logs.mean())).sum() / (ranks - ranks.mean()).square().sum())


def lidar(features: Float[Tensor, 'images views dim'], delta: float = 1e-4) -> float:
    """Effective rank of what tells images apart, whitened by what tells views of one image apart.

    S_b is the covariance of the images' means, S_w the mean covariance of their views plus delta I; the result is
    exp of the entropy of the eigenvalues of S_w^-1/2 S_b S_w^-1/2, normalised to sum 1. At most min(images - 1, dim).

    Args:
        features: Of several random views of each image.
        delta: Keeps S_w invertible.

    Raises:
        ValueError: If there are fewer than two images or two views.

    References:
        Thilak et al. 2023 (LiDAR), arXiv:2312.04000, section 3.
    """
    images, views, dim = features.shape
    if images < 2 or views < 2:
        raise ValueError(f'lidar: {images} images with {views} views each; two of both are needed.')
    features = features.double()
    means = features.mean(dim=1)
    centred = means - means.mean(dim=0)
    between = centred.T @ centred / (images - 1)
    within = (features - means[:, None]).flatten(0, 1)
    within = within.T @ within / (images * (views - 1)) + delta * torch.eye(
        dim, dtype=torch.float64, device=features.device
    )
    values, vectors = torch.linalg.eigh(within)
    whitening = vectors * values.rsqrt() @ vectors.T
    found = torch.linalg.eigvalsh(whitening @ between @ whitening).clamp_min(0)
    return math.exp(float(entropy(found / found.sum().clamp_min(1e-12))))
