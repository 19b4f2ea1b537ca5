"""Patch features as colours: their first three principal components as red, green and blue."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.data.multi_crop import resize
from dino_plugin.data.preprocessor import ViewPreprocessor

_DARKEST, _BRIGHTEST = 0.02, 0.98


def patch_pca(patches: Float[Tensor, 'images rows columns dim']) -> Float[Tensor, 'images rows columns 3']:
    """The first three principal components of all patches together, each scaled to [0, 1].

    colour_c(patch) = (v_c . (patch - mean) - q_2%) / (q_98% - q_2%), cut to [0, 1]

    Patches of similar colour have similar features, in one image and across images. The sign of a component is
    arbitrary: here its largest entry is positive. A component that does not vary is 0.5 everywhere.

    Args:
        patches: Patch features of all images that share one set of colours.

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
    low, high = torch.tensor(np.quantile(components.cpu().numpy(), (_DARKEST, _BRIGHTEST), axis=0)).to(components)
    spread = high - low
    varies = spread > 1e-6 * spread.max().clamp_min(1e-12)
    colours = torch.where(varies, (components - low) / spread.clamp_min(1e-30), 0.5)
    return colours.clamp(0, 1).float().unflatten(0, patches.shape[:-1])


def pca_sheet(
    images: Sequence[UInt8[np.ndarray, '_ _ 3']], colours: Float[Tensor, 'images rows columns 3'], smooth: bool = False
) -> UInt8[np.ndarray, 'height width 3']:
    """The images, one below the other, each with its colours beside it; RGB.

    Args:
        images: RGB; shown at the size of the first one.
        colours: Result of `patch_pca`.
        smooth: Enlarge the maps bicubically; otherwise each patch is a square.

    Raises:
        ValueError: If the numbers of images and maps differ.
    """
    if len(images) != len(colours) or len(images) == 0:
        raise ValueError(f'Expected one map for each image and at least one, got {len(images)} and {len(colours)}.')
    height, width = images[0].shape[:2]
    gap = max(2, width // 100)
    enlarge = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    rows = []
    for image, colour in zip(images, colours):
        shown = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        large = cv2.resize(np.ascontiguousarray(colour.cpu().numpy()), (width, height), interpolation=enlarge)
        large = (large.clip(0, 1) * 255).round().astype(np.uint8)
        rows += [np.concatenate([shown, np.full((height, gap, 3), 255, np.uint8), large], axis=1)]
        rows += [np.full((gap, 2 * width + gap, 3), 255, np.uint8)]
    return np.concatenate(rows[:-1])


def pca_of_images(
    backbone: nn.Module, images: Sequence[UInt8[np.ndarray, '_ _ 3']], size: int = 480, smooth: bool = False
) -> UInt8[np.ndarray, 'height width 3']:
    """`pca_sheet` of the features that a backbone gives for images.

    Args:
        backbone: A network such as `TimmBackbone`, on its device; its training mode does not change.
        images: RGB, of any size; all are resized to the shape of the first.
        size: Shorter side in pixels of what the network sees, rounded down to whole patches.
        smooth: As in `pca_sheet`.
    """
    scale = size / min(images[0].shape[:2])
    cells = backbone.patch_size or (32, 32)
    rows, columns = (max(1, int(scale * side / cell)) * cell for side, cell in zip(images[0].shape[:2], cells))
    images = [resize(image, rows, columns) for image in images]
    preprocessor = ViewPreprocessor().to(next(backbone.parameters()).device)
    batches = ((torch.from_numpy(image)[None], torch.zeros(1), None) for image in images)
    with torch.no_grad(), evaluation_mode(backbone):
        patches = torch.cat([backbone(preprocessor(batch)['images']).patches.float() for batch in batches])
    return pca_sheet(images, patch_pca(patches), smooth)
