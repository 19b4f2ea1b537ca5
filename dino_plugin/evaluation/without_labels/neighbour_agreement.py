"""Do two views of an image have the same neighbours? A measure that needs no labels."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.evaluation.nearest import nearest_by_cosine


def neighbour_agreement(features: Float[Tensor, 'images views dim'], k: int = 10) -> float:
    """Share of the k nearest images that two views of an image have in common, in percent.

    N(i, v) are the k images j other than i whose view v is nearest to view v of image i, by cosine; the result is

        100 * mean over images i and pairs of views (v, w) of size(N(i, v) and N(i, w)) / k

    Chance is 100 k / (images - 1). Features that only see what a view happens to show agree little; so do features that
    are alike for all images. Compare networks on the same images and views.

    Args:
        features: Of several random views of each image.
        k: Neighbours, fewer than the other images.

    Raises:
        ValueError: If there are fewer than two views, or not more than k + 1 images.
    """
    images, views, _ = features.shape
    if views < 2 or images < k + 2:
        raise ValueError(
            f'neighbour_agreement: {images} images with {views} views each; two views and more than k + 1 = {k + 1} '
            'images are needed. Give more images, or a smaller k.'
        )
    near = torch.stack([_without_itself(features[:, view], k) for view in range(views)])
    common = [(near[v, :, :, None] == near[w, :, None, :]).sum() for v, w in combinations(range(views), 2)]
    return 100 * float(torch.stack(common).double().mean()) / (images * k)


def _without_itself(features: Float[Tensor, 'images dim'], k: int) -> Tensor:
    """Numbers of the k nearest others; of equal features one more than the image itself may be nearer."""
    _, numbers = nearest_by_cosine(features, features, k + 1, 'images')
    itself = numbers == torch.arange(len(features), device=features.device)[:, None]
    itself[:, -1] |= ~itself.any(dim=1)
    return numbers[~itself].view(len(features), k)
