"""KoLeo: spread the features of different images over the sphere."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.reduce import gather_with_gradient
from dino_plugin.core.schedules import Schedule


def koleo(features: Float[Tensor, 'batch dim'], epsilon: float = 1e-8) -> Float[Tensor, '']:
    """Kozachenko-Leonenko estimate of (minus) the features' entropy on the sphere.

    x_i = features_i / |features_i|
    L = -1/n sum_i log(min_{j != i} |x_i - x_j| + epsilon)

    The largest cosine finds the nearest neighbour, without gradient; both samples of a distance get a gradient.
    Identical samples give -log(epsilon) with a gradient of zero. A batch of one has no neighbour and gives 0.

    Args:
        features: Of different images; the same view for all.
        epsilon: Keeps the logarithm finite where two samples coincide.

    Returns:
        The loss in nats, computed in float32 under any autocast.

    References:
        Sablayrolles et al. 2019, arXiv:1806.03198, equation 3; as used in Oquab et al. 2023, arXiv:2304.07193,
        section 4. In the authors' code the loss of a batch of one is infinite.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = normalize(features.float(), dim=-1)
        if len(features) < 2:
            return features.sum() * 0.0
        with torch.no_grad():
            cosines = features @ features.T
            nearest = cosines.fill_diagonal_(-2.0).argmax(dim=1)
        squared = (features - features[nearest]).square().sum(dim=1)
        # sqrt has an infinite slope at 0, which would turn the gradient of two equal samples into NaN.
        distance = torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)
        return -(distance + epsilon).log().mean()


class KoLeoLoss(Loss):
    """KoLeo on the student's class tokens *before* the head, for each global view separately, summed over views.

    Views of one image are never neighbours here: the other losses pull them together.

    Args:
        weight: Factor of the term (0.1 in DINOv2).
        over_ranks: Search neighbours among the images of all ranks, for small batches on each rank. All ranks must hold
            the same number of images. Each rank then has the loss of the whole batch, and the gradient averaged over
            ranks is that of the whole batch.
    """

    uses_teacher = False
    reads_patches = ()

    def __init__(self, weight: Schedule | float = 0.1, over_ranks: bool = False) -> None:
        super().__init__(weight)
        self.over_ranks = over_ranks

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Sum over the global views, in nats."""
        views = step.student_global.class_token
        if self.over_ranks:  # in float32: the backward pass sums gradients over ranks
            views = [gather_with_gradient(features.float()) for features in views]
        return torch.stack([koleo(features) for features in views]).sum()
