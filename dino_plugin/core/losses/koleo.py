"""KoLeo: spread the features of different images over the sphere."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.precision import full_precision
from dino_plugin.core.reduce import gather_with_gradient
from dino_plugin.core.schedules import Schedule


def koleo(
    features: Float[Tensor, 'batch dim'], epsilon: float = 1e-8, group_size: int | None = None
) -> Float[Tensor, '']:
    """Kozachenko-Leonenko estimate of (minus) the features' entropy on the sphere.

    x_i = features_i / |features_i|
    L = -1/n sum_i log(min_{j != i, j in the group of i} |x_i - x_j| + epsilon)

    The largest cosine finds the nearest neighbour, without gradient; both samples of a distance get a gradient.
    Identical samples give -log(epsilon) with a gradient of zero. A batch of one has no neighbour and gives 0.

    Args:
        features: Of different images; the same view for all.
        epsilon: Keeps the logarithm finite where two samples coincide.
        group_size: Samples in a group; groups lie one after the other. None: the batch is one group.

    Returns:
        The loss in nats, computed in float32 under any autocast.

    Raises:
        ValueError: If the batch cannot be divided into whole groups.

    References:
        Sablayrolles et al. 2019, arXiv:1806.03198, equation 3; as used in Oquab et al. 2023, arXiv:2304.07193,
        section 4. In the authors' code the loss of a batch of one is infinite. Groups: DINOv3's code.
    """
    if group_size and len(features) % group_size:
        raise ValueError(
            f'koleo: {len(features)} images cannot be divided into groups of group_size={group_size}. Choose a '
            'batch_size (times the number of processes, with over_ranks) that is a multiple of it, or another '
            'group_size; None searches the whole batch.'
        )
    with torch.autocast(features.device.type, enabled=False):
        features = normalize(full_precision(features), dim=-1)
        if len(features) < 2:
            return features.sum() * 0.0
        with torch.no_grad():
            groups = features.unflatten(0, (-1, group_size or len(features)))
            cosines = groups @ groups.mT
            cosines.diagonal(dim1=1, dim2=2).fill_(-2.0)
            first = torch.arange(0, len(features), groups.shape[1], device=features.device)
            nearest = (cosines.argmax(dim=2) + first[:, None]).flatten()
        squared = (features - features[nearest]).square().sum(dim=1)
        # sqrt has an infinite slope at 0, which would turn the gradient of two equal samples into NaN.
        differ = squared != 0  # NaN stays NaN, so that a step which is not finite is noticed
        distance = torch.where(differ, squared, 1.0).sqrt() * differ
        return -(distance + epsilon).log().mean()


class KoLeoLoss(Loss):
    """KoLeo on the student's class tokens *before* the head, for each global view separately, summed over views.

    Views of one image are never neighbours here: the other losses pull them together.

    Args:
        weight: Factor of the term (0.1 in DINOv2).
        over_ranks: Search neighbours among the images of all ranks, for small batches on each rank. All ranks must hold
            the same number of images. Each rank then has the loss of the whole batch, and the gradient averaged over
            ranks is that of the whole batch.
        group_size: Search neighbours among this many images that follow each other, at least 2, instead of the whole
            batch (of all ranks with ``over_ranks``). It divides the batch; a group may lie on several ranks. The batch
            then does not change how far the nearest neighbour is (DINOv3's last stage: 16).

    Raises:
        ValueError: If ``group_size`` is less than 2, or, when called, does not divide the batch.
    """

    uses_teacher = False
    reads_patches = ()

    def __init__(self, weight: Schedule | float = 0.1, over_ranks: bool = False, group_size: int | None = None) -> None:
        super().__init__(weight)
        if group_size is not None and group_size < 2:
            raise ValueError(f'KoLeoLoss: group_size={group_size}; an image needs a neighbour, so at least 2.')
        self.over_ranks = over_ranks
        self.group_size = group_size

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Sum over the global views, in nats."""
        views = step.student_global.class_token
        if self.over_ranks:  # in float32: the backward pass sums gradients over ranks
            views = [gather_with_gradient(full_precision(features)) for features in views]
        return torch.stack([koleo(features, group_size=self.group_size) for features in views]).sum()
