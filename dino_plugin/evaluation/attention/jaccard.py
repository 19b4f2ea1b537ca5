"""Jaccard index of attention masks and objects, as the authors of DINO measure it on VOC12."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dino_plugin.evaluation.attention.mass import mass_mask
from dino_plugin.evaluation.attention.patch_counts import count_in_patches


class ImageJaccard(NamedTuple):
    """Jaccard indices of one image, in [0, 1].

    Args:
        heads: Of each object and head.
        mean_map: Of each object and the mean of all heads.
    """

    heads: Float[Tensor, 'objects heads']
    mean_map: Float[Tensor, ' objects']


class JaccardSummary(NamedTuple):
    """Means over the objects of an image, then over images, in [0, 1].

    Args:
        best_head: The best head for each object. The masks choose it: an upper limit, not what a user gets.
        best_fixed_head: The one head that is best over all images; the masks choose it once.
        fixed_head: Its place.
        mean_map: The mean of all heads; nothing is chosen.
        images: Number of images with objects; the others do not count.
    """

    best_head: float
    best_fixed_head: float
    fixed_head: int
    mean_map: float
    images: int


def jaccard_of_masks(
    attended: Bool[Tensor, 'heads patch_rows patch_columns'],
    objects: Bool[Tensor, 'objects rows columns'],
    void: Bool[Tensor, 'rows columns'] | None = None,
) -> Float[Tensor, 'objects heads']:
    """|A and O| / |A or O| of each attention mask A, enlarged by nearest neighbour, and each object O.

    Args:
        attended: Patches that a head attends to.
        objects: Masks of the whole image, of any size.
        void: Pixels that do not count, as in VOC's own measure.

    Raises:
        ValueError: If there are fewer pixels than patches.
    """
    valid = torch.ones(objects.shape[1:], dtype=torch.bool, device=objects.device) if void is None else ~void
    in_objects = count_in_patches(objects & valid, attended.shape[1:]).flatten(1)
    in_image = count_in_patches(valid, attended.shape[1:]).flatten()
    masks = attended.flatten(1).double()
    shared = in_objects @ masks.T
    return shared / (in_objects.sum(dim=1, keepdim=True) + masks @ in_image - shared)


def image_jaccard(
    maps: Float[Tensor, 'heads patch_rows patch_columns'],
    objects: Bool[Tensor, 'objects rows columns'],
    void: Bool[Tensor, 'rows columns'] | None = None,
    threshold: float = 0.6,
) -> ImageJaccard:
    """Jaccard indices of the heads' masks and of the mask of their mean, for each object of an image.

    Args:
        maps: Attention of the class token to each patch.
        objects: Masks of the whole image, of any size.
        void: Pixels that do not count.
        threshold: Share of the mass in a mask, see `mass_mask`.

    Raises:
        ValueError: As `mass_mask` and `jaccard_of_masks`.
    """
    attended = mass_mask(torch.cat([maps, maps.mean(dim=0, keepdim=True)]), threshold)
    found = jaccard_of_masks(attended, objects, void)
    return ImageJaccard(found[:, :-1], found[:, -1])


def summarise_jaccard(images: Sequence[ImageJaccard]) -> JaccardSummary:
    """The protocol's mean: the best head of each object, the mean over the objects of an image, then over images.

    Args:
        images: Results for all images; those without an object are left out.

    Raises:
        ValueError: If no image has an object.

    References:
        Caron et al. 2021, arXiv:2104.14294, table 5, and the author's reply in facebookresearch/dino, issue 54. The
        reply does not say what becomes of VOC's void pixels.
    """
    images = [image for image in images if len(image.mean_map)]
    if not images:
        raise ValueError('no image has an object: the Jaccard index needs masks with labels other than 0 and 255.')
    best = torch.stack([image.heads.amax(dim=1).mean() for image in images]).mean()
    fixed = torch.stack([image.heads.mean(dim=0) for image in images]).mean(dim=0)
    mean_map = torch.stack([image.mean_map.mean() for image in images]).mean()
    return JaccardSummary(float(best), float(fixed.max()), int(fixed.argmax()), float(mean_map), len(images))
