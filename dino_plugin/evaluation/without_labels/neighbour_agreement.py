"""Do two views of an image have the same neighbours? A measure that needs no labels."""

from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.evaluation.nearest import nearest_by_cosine


def neighbour_shares(features: Float[Tensor, 'images views dim'], k: int = 10) -> Float[Tensor, ' images']:
    """Share of the k nearest images that two views of an image have in common, in [0, 1].

    N(i, v) are the k images j other than i whose view v is nearest to view v of image i, by cosine; of image i it is

        mean over pairs of views (v, w) of size(N(i, v) and N(i, w)) / k

    Chance is k / (images - 1). Features that only see what a view happens to show agree little. Where cosines are
    equal, which images are nearest is drawn for each view by itself, so that features that are alike for all images, as
    after a collapse, agree by chance. Compare networks on the same images and views.

    Args:
        features: Of several random views of each image.
        k: Neighbours, fewer than the other images.

    Raises:
        ValueError: If there are fewer than two views, or not more than k + 1 images.
    """
    images, views, _ = features.shape
    if views < 2 or images < k + 2:
        raise ValueError(
            f'neighbour_shares: {images} images with {views} views each; two views and more than k + 1 = {k + 1} '
            'images are needed. Give more images, or a smaller k.'
        )
    near = torch.stack([_nearest_others(features[:, view], k, view) for view in range(views)])
    common = [(near[v, :, :, None] == near[w, :, None, :]).sum((1, 2)) for v, w in combinations(range(views), 2)]
    return torch.stack(common).double().mean(dim=0) / k


def _nearest_others(features: Float[Tensor, 'images dim'], k: int, seed: int) -> Int[Tensor, 'images k']:
    """Numbers of the k nearest others, of equal ones some that the seed draws."""
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed)).to(features.device)
    _, places = nearest_by_cosine(features[order], features, k + 1, 'images')
    numbers = order[places]
    itself = numbers == torch.arange(len(features), device=features.device)[:, None]
    itself[:, -1] |= ~itself.any(dim=1)  # many equal images keep it out of the list
    return numbers[~itself].view(len(features), k)
