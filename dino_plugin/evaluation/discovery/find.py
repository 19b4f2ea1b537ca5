"""Image -> objects: their masks and boxes, by one of the methods."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from dino_plugin.evaluation.discovery.bilateral_solver import refine_mask
from dino_plugin.evaluation.discovery.features import PatchFeatures
from dino_plugin.evaluation.discovery.lost import lost
from dino_plugin.evaluation.discovery.mask_cut import mask_cut
from dino_plugin.evaluation.discovery.regions import boxes_of_patches, enlarged
from dino_plugin.evaluation.discovery.token_cut import token_cut
from dino_plugin.evaluation.objects.boxes import Boxes

METHODS = dict(lost=lost, token_cut=token_cut, mask_cut=mask_cut)


class Found(NamedTuple):
    """The objects of an image, the first one first.

    Args:
        masks: Their pixels.
        boxes: In pixels (left, top, right, bottom).
        whole: Whether a mask covers the whole image: the method found no cut.
    """

    masks: Bool[np.ndarray, 'objects rows columns']
    boxes: Boxes
    whole: bool


def check_method(method: str) -> None:
    """Raise a ValueError if there is no such method."""
    if method not in METHODS:
        raise ValueError(f'method must be one of {list(METHODS)}, got {method!r}.')


def find_objects(
    features: PatchFeatures, size: tuple[int, int], method: str = 'token_cut', centred: bool = False, **options: Any
) -> Found:
    """The objects of one image.

    Args:
        features: Of its patches.
        size: Rows and columns of the image.
        method: `lost`, `token_cut` or `mask_cut`.
        centred: Subtract the mean of the image's patches first. The methods ask where a similarity is above a
            threshold; in some networks all patches of an image are alike, and only what remains tells them apart.
        **options: Arguments of the method.

    Raises:
        ValueError: If there is no such method, and as the method does.
    """
    check_method(method)
    patches = features.patches
    if centred:
        patches = patches - patches.mean(dim=(0, 1))
    regions = METHODS[method](patches, **options)
    regions = regions if isinstance(regions, list) else [regions]
    masks = np.array([region.mask for region in regions], dtype=bool).reshape(-1, *patches.shape[:2])
    return Found(
        masks=enlarged(masks, features.cell, size),
        boxes=boxes_of_patches(masks, features.cell, size),
        whole=bool(masks.all(axis=(1, 2)).any()) or not len(masks),
    )


def refine_masks(
    image: UInt8[np.ndarray, 'rows columns 3'], masks: Bool[np.ndarray, 'objects rows columns']
) -> tuple[Float[np.ndarray, 'rows columns'], Bool[np.ndarray, 'objects rows columns']]:
    """The largest map of `refine_mask` at each pixel, and the refined masks, which may overlap."""
    refined = [refine_mask(image, mask) for mask in masks]
    if not refined:
        return np.zeros(image.shape[:2]), masks
    soft, found = zip(*refined)
    return np.max(soft, axis=0), np.array(found)
