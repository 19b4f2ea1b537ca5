"""Statistics that show whether a run has collapsed."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def entropy(probabilities: Float[Tensor, '*leading outcomes']) -> Float[Tensor, '*leading']:
    """-sum_k p_k log p_k in nats; a probability of 0 contributes 0. In [0, log(number of outcomes)]."""
    return torch.special.entr(probabilities.float()).sum(dim=-1)


def kl_to_uniform(probabilities: Float[Tensor, '*leading outcomes']) -> Float[Tensor, '*leading']:
    """log K - entropy, in nats: 0 for the uniform distribution, log K for a single outcome."""
    return math.log(probabilities.shape[-1]) - entropy(probabilities)


def mutual_information(probabilities: Float[Tensor, 'samples outcomes']) -> Float[Tensor, '']:
    """Mutual information of samples and outcomes, in nats.

    I = H(mean_i p_i) - mean_i H(p_i)          in [0, log(min(samples, outcomes))]

    It is 0 exactly when all samples have the same distribution, as in both forms of collapse.
    """
    return entropy(probabilities.float().mean(dim=0)) - entropy(probabilities).mean()


def feature_std(features: Float[Tensor, 'samples dim']) -> Float[Tensor, '']:
    """Mean over dimensions of the standard deviation of L2-normalised features, times sqrt(dim).

    0 if all samples have the same direction, 1 if directions are spread evenly over the sphere.

    References:
        Chen & He 2021, arXiv:2011.10566, section 4.1.
    """
    return normalize(features.float(), dim=-1).std(dim=0, correction=0).mean() * features.shape[-1] ** 0.5


def effective_rank(features: Float[Tensor, 'samples dim']) -> Float[Tensor, '']:
    """exp of the entropy of the normalised singular values, in [1, min(samples, dim)].

    References:
        Garrido et al. 2023 (RankMe), arXiv:2210.02885, equation 1.
    """
    singular_values = torch.linalg.svdvals(features.float())
    return entropy(singular_values / singular_values.sum().clamp_min(1e-12)).exp()
