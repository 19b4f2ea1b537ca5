"""Samples -> one batch, in the worker: our own samples and Lightly's.

Lightly's users find their collate functions and adapters here too; they are written in
:mod:`~dino_plugin.data.lightly_adapters` and :mod:`~dino_plugin.data.lightly_collate`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import default_collate

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.lightly_adapters import (
    MultiViewCollate,
    multi_view_collate,
    views_from_lightly,
    views_to_lightly,
)
from dino_plugin.data.lightly_collate import DINOCollateFunction
from dino_plugin.data.stacking import stack_blocks, stack_view_lists

__all__ = [
    'DINOCollateFunction',
    'MultiViewCollate',
    'image_collate',
    'multi_crop_collate',
    'multi_view_collate',
    'views_from_lightly',
    'views_to_lightly',
]


def multi_crop_collate(samples: Sequence[Any], num_global: int = 2) -> ViewBatch:
    """Stack the views of a batch: views first, global views apart from local ones.

    Two kinds of samples are understood:

    - ``(global block, local block or None)``, uint8 ``views rows columns 3``, of
      :class:`~dino_plugin.data.multi_crop.MultiCrop` and ``PackViews``.
    - ``(list of views, label, filename)`` or ``(list of views, label)``, float ``channels rows columns``, of Lightly's
      and torchvision's datasets.

    Args:
        samples: As the dataset gives them.
        num_global: How many views of a list are global ones, counted from the first. Blocks say it themselves.

    Returns:
        The views as they came: uint8 with channels last, or float with channels first.

    Raises:
        TypeError: If the samples are of another form.
        ValueError: If there are fewer than two views, or views that belong together differ in number or size.
    """
    first = samples[0] if len(samples) else None
    if isinstance(first, (tuple, list)) and len(first) == 2 and _is_block(first[0]):
        return stack_blocks(samples)
    if isinstance(first, (tuple, list)) and len(first) in (2, 3) and _is_view_list(first[0]):
        return stack_view_lists([sample[0] for sample in samples], num_global)
    raise TypeError(
        'multi_crop_collate expects samples (global block, local block or None) of dino_plugin.PackViews, or '
        f'(list of float tensors, label, filename) as Lightly gives them, got {_describe(first)}. End the pipeline '
        "with dict(type='dino_plugin.PackViews'), or the transform with ToTensor and Normalize."
    )


def _is_block(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.dtype == torch.uint8


def _is_view_list(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(view, Tensor) and view.ndim == 3 and view.is_floating_point() for view in value)
    )


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f'{value.dtype} {tuple(value.shape)}'
    if isinstance(value, (list, tuple)):
        return f'{type(value).__name__}({", ".join(_describe(entry) for entry in value[:3])}{", …" * (len(value) > 3)})'
    return type(value).__name__


def image_collate(
    samples: Sequence[tuple[Any, int, str]],
) -> tuple[UInt8[Tensor, 'batch rows columns 3'], Int[Tensor, ' batch'], list[str]]:
    """Stack evaluation samples ``(uint8 image, label, path)``; images are arrays or tensors ``rows columns 3``.

    Raises:
        ValueError: If the images differ in size.
    """
    images = [torch.as_tensor(image) for image, _, _ in samples]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f'images of different shapes {sorted(shapes)} in one batch: resize and crop them to one size')
    labels = torch.tensor([int(label) for _, label, _ in samples], dtype=torch.long)
    return default_collate(images), labels, [path for _, _, path in samples]
