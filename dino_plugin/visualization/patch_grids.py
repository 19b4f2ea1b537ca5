"""Patch features of images, each in its own shape."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.resizing import resize

_LONGEST = 4  # longer side, in shorter sides that were asked for: attention takes memory for its square


def patch_grids(
    backbone: nn.Module,
    images: Sequence[UInt8[np.ndarray, '_ _ 3']],
    size: int = 480,
    preprocessor: Callable[[Any], dict] | None = None,
) -> tuple[list[UInt8[np.ndarray, '_ _ 3']], list[Float[Tensor, '_ _ dim']]]:
    """The images as the network sees them, and the features of their patches.

    Args:
        backbone: A network such as `TimmBackbone`, on its device; its training mode does not change.
        images: RGB, of any size and shape.
        size: Shorter side in pixels of what the network sees, rounded down to whole patches. It is less where the
            longer side would be more than four times as long.
        preprocessor: Batch -> `dict(images=...)` on the device. Default: ImageNet's mean and deviation.
    """
    cells = backbone.patch_size or (32, 32)
    images = [resize(image, *_size_in_cells(image.shape[:2], size, cells)) for image in images]
    preprocessor = preprocessor or ViewPreprocessor().to(next(backbone.parameters()).device)
    batches = ((torch.from_numpy(image)[None], torch.zeros(1), None) for image in images)
    with torch.no_grad(), evaluation_mode(backbone):
        return images, [backbone(preprocessor(batch)['images']).patches[0].float().cpu() for batch in batches]


def _size_in_cells(shape: tuple[int, int], size: int, cells: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns in pixels of the nearest smaller grid of whole patches."""
    scale = min(size / min(shape), _LONGEST * size / max(shape))
    rows, columns = (max(1, int(scale * side / cell)) * cell for side, cell in zip(shape, cells))
    return rows, columns
