"""Image -> features of its patches: the only file of this room that knows a network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dino_plugin.backbones.attention_maps import attention_of
from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.features.extraction import network_size

FEATURES = ('keys', 'queries', 'values', 'patches')


class PatchFeatures(NamedTuple):
    """Features of the patches of an image.

    Args:
        patches: Float32.
        cell: Rows and columns of pixels of the image that a patch covers.
    """

    patches: Float[Tensor, 'rows columns dim']
    cell: tuple[float, float]


def patch_features(
    backbone: nn.Module,
    image: UInt8[np.ndarray, 'height width 3'],
    features: str = 'keys',
    block: int = -1,
    short_side: int | None = None,
    preprocessor: Callable[[Any], dict] | None = None,
    autocast_dtype: torch.dtype | None = None,
) -> PatchFeatures:
    """Features of all patches of an image, on the backbone's device.

    Args:
        backbone: `TimmBackbone`; its training mode does not change.
        image: RGB.
        features: `keys`, `queries` or `values` of a block, those of all its heads in one vector; or `patches`, the
            network's result.
        block: Which block's, from the end if negative; for `patches` as well.
        short_side: The image is resized to this shorter side in pixels, and to whole patches. None: it keeps its size,
            and zeros fill the last patches.
        preprocessor: Batch -> `dict(images=...)` on the device. Default: ImageNet's mean and deviation.
        autocast_dtype: Run the network in this precision, such as `torch.bfloat16`.

    Raises:
        ValueError: If there are no such features or block, or no patch fits into the shorter side.
    """
    if features not in FEATURES:
        raise ValueError(f'features must be one of {list(FEATURES)}, got {features!r}.')
    if features != 'patches' and backbone.patch_size is None:
        name = type(backbone.model).__name__
        raise ValueError(f"{name} is a convolutional network without {features}: set features='patches'.")
    device = next(backbone.parameters()).device
    preprocessor = preprocessor or ViewPreprocessor().to(device)
    size = image.shape[:2]
    if short_side is not None:
        image = resize(image, *network_size(backbone, size, short_side, multiple=1))
    prepared = preprocessor((torch.from_numpy(image)[None], torch.zeros(1), None))['images']
    with torch.no_grad(), torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
        patches = _of_block(backbone, prepared, features, block)
    cell = backbone.patch_size
    if short_side is not None or cell is None:
        cell = (size[0] / patches.shape[0], size[1] / patches.shape[1])
    return PatchFeatures(patches, cell)


def _of_block(backbone: nn.Module, images: Tensor, features: str, block: int) -> Float[Tensor, 'rows columns dim']:
    if features == 'patches':
        with evaluation_mode(backbone):
            tokens = backbone(images) if block == -1 else backbone.intermediates(images, [block])[0]
        return tokens.patches[0].float()
    (attention,) = attention_of(backbone, images, [block])
    return attention.of_patches(getattr(attention, features))[0].movedim(0, -2).flatten(-2).float()
