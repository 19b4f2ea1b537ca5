"""Patch features as colours: their first three principal components as red, green and blue."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dino_plugin.visualization.patch_grids import patch_grids

_DARKEST, _BRIGHTEST = 0.02, 0.98


def patch_pca(
    patches: Float[Tensor, 'images rows columns dim'], like: Float[Tensor, 'images rows columns 3'] | None = None
) -> Float[Tensor, 'images rows columns 3']:
    """The first three principal components of all patches together, each scaled to [0, 1].

    colour_c(patch) = (v_c . (patch - mean) - q_2%) / (q_98% - q_2%), cut to [0, 1]

    Patches of similar colour have similar features, in one image and across images. The sign of a component is
    arbitrary: here its largest entry is positive. A component that does not vary is 0.5 everywhere.

    Args:
        patches: Patch features of all images that share one set of colours.
        like: Earlier colours of the same patches. The three components, scaled to a variance of 1, are turned to come
            as near to them as a rotation and mirroring can, so that colours keep their meaning from one network to the
            next although signs and order of components are arbitrary.

    Raises:
        ValueError: If there are fewer than three features in a patch.
    """
    if patches.shape[-1] < 3:
        raise ValueError(f'Three colours need at least 3 features in a patch, got {patches.shape[-1]}.')
    samples = patches.flatten(end_dim=-2).double()
    samples = samples - samples.mean(dim=0)
    _, directions = torch.linalg.eigh(samples.T @ samples)  # columns, by rising variance
    directions = directions[:, -3:].flip(1)
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    components = samples @ (directions * largest.sign())
    if like is not None:
        components = _turned(components, like.flatten(end_dim=-2).to(components))
    low, high = torch.tensor(np.quantile(components.cpu().numpy(), (_DARKEST, _BRIGHTEST), axis=0)).to(components)
    spread = high - low
    varies = spread > 1e-6 * spread.max().clamp_min(1e-12)
    colours = torch.where(varies, (components - low) / spread.clamp_min(1e-30), 0.5)
    return colours.clamp(0, 1).float().unflatten(0, patches.shape[:-1])


def _turned(components: Float[Tensor, 'patches 3'], like: Float[Tensor, 'patches 3']) -> Float[Tensor, 'patches 3']:
    """Orthogonal Procrustes: the rotation and mirroring R with the smallest ||C R - L||."""
    deviations = components.std(dim=0, correction=0)
    scaled = components / deviations.clamp_min(1e-6 * float(deviations.max().clamp_min(1e-12)))
    left, _, right = torch.linalg.svd(scaled.T @ (like - like.mean(dim=0)))
    return scaled @ left @ right


def shared_colours(
    grids: Sequence[Float[Tensor, '_ _ dim']], like: Sequence[Float[Tensor, '_ _ 3']] | None = None
) -> list[Float[Tensor, '_ _ 3']]:
    """`patch_pca` of images with grids of any shapes.

    Args:
        grids: Patch features of each image.
        like: Earlier colours of the same patches, as in `patch_pca`.
    """
    before = None if like is None else _in_one_row(like)
    colours = patch_pca(_in_one_row(grids), before)[0, 0]
    parts = colours.split([grid.shape[0] * grid.shape[1] for grid in grids])
    return [part.unflatten(0, grid.shape[:2]) for part, grid in zip(parts, grids)]


def _in_one_row(grids: Sequence[Float[Tensor, '_ _ dim']]) -> Float[Tensor, '1 1 patches dim']:
    return torch.cat([grid.flatten(0, 1) for grid in grids])[None, None]


def pca_sheet(
    images: Sequence[UInt8[np.ndarray, '_ _ 3']],
    colours: Sequence[Float[Tensor, '_ _ 3']] | Float[Tensor, 'images rows columns 3'],
    smooth: bool = False,
) -> UInt8[np.ndarray, 'height width 3']:
    """The images, one below the other, each with its colours beside it at the same size; RGB, white where nothing is.

    Args:
        images: RGB, of any shapes.
        colours: The map of each, from `patch_pca`.
        smooth: Enlarge the maps bicubically; otherwise each patch is a square.

    Raises:
        ValueError: If the numbers of images and maps differ.
    """
    if len(images) != len(colours) or len(images) == 0:
        raise ValueError(f'Expected one map for each image and at least one, got {len(images)} and {len(colours)}.')
    widest = max(image.shape[1] for image in images)
    gap = max(2, widest // 100)
    enlarge = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    height = sum(image.shape[0] + gap for image in images) - gap
    sheet = np.full((height, 2 * widest + gap, 3), 255, np.uint8)
    top = 0
    for image, colour in zip(images, colours):
        rows, columns = image.shape[:2]
        large = cv2.resize(np.ascontiguousarray(colour.cpu().numpy()), (columns, rows), interpolation=enlarge)
        sheet[top : top + rows, :columns] = image
        sheet[top : top + rows, columns + gap : 2 * columns + gap] = (large.clip(0, 1) * 255).round()
        top += rows + gap
    return sheet


def pca_of_images(
    backbone: nn.Module, images: Sequence[UInt8[np.ndarray, '_ _ 3']], size: int = 480, smooth: bool = False
) -> UInt8[np.ndarray, 'height width 3']:
    """`pca_sheet` of the features that a backbone gives for images; each image keeps its shape.

    Args:
        backbone: As in `patch_grids`.
        images: RGB, of any size and shape. They share one set of colours.
        size: As in `patch_grids`.
        smooth: As in `pca_sheet`.
    """
    images, grids = patch_grids(backbone, images, size)
    return pca_sheet(images, shared_colours(grids), smooth)
