"""The views of several samples -> one ViewBatch, and the checks that this takes."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.data import default_collate

from dino_plugin.core.views import ViewBatch

KINDS = ('global', 'local', 'anchor')


def is_block(value: Any) -> bool:
    """Whether these are views as :class:`~dino_plugin.data.multi_crop.MultiCrop` makes them."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.dtype in (torch.uint8, torch.int16)


def stack_blocks(samples: Sequence[Sequence[Tensor | None]]) -> ViewBatch:
    """Stack samples ``(global block, local block or None)`` or ``(global, local or None, anchor block)``.

    Blocks are ``views rows columns channels``: RGB in uint8, or any channels in int16 (fine_levels.py). Each is copied
    once, in a worker into shared memory. Views and batch change places without another copy.

    Raises:
        ValueError: If there is no sample, there are fewer than two views, only some samples have views of a kind, or
            views that belong together differ in number or size.
    """
    if not samples:
        raise ValueError('an empty batch: there is no sample whose views could be stacked')
    stacked = {f'{kind}_views': _stack_kind(blocks, kind) for kind, blocks in zip(KINDS, zip_longest(*samples))}
    views = ViewBatch(**stacked)
    require_views(len(views.global_views) + (0 if views.local_views is None else len(views.local_views)))
    return views


def _stack_kind(
    blocks: Sequence[Tensor | None], kind: str
) -> Shaped[Tensor, 'views batch rows columns channels'] | None:
    num_without = sum(block is None for block in blocks)
    if num_without == len(blocks):
        return None
    if num_without:
        raise ValueError(f'{num_without} of {len(blocks)} samples have no {kind} views: all or none must have them')
    require_one_shape(blocks, kind)
    return default_collate(list(blocks)).transpose(0, 1)


def stack_view_lists(samples: list[Sequence[Tensor]], num_global: int) -> ViewBatch:
    """Stack lists of float views ``channels rows columns``; the first ``num_global`` are global ones.

    Raises:
        ValueError: If there are fewer than two views, ``num_global`` is not between 1 and their number, or views that
            belong together differ in number or size.
    """
    num_views = {len(views) for views in samples}
    if len(num_views) > 1:
        raise ValueError(f'samples with {sorted(num_views)} views in one batch: every sample needs the same number')
    (num_views,) = num_views
    require_views(num_views, num_global)
    global_views = _stack(samples, range(num_global), 'global')
    if num_global == num_views:
        return ViewBatch(global_views, None)
    return ViewBatch(global_views, _stack(samples, range(num_global, num_views), 'local'))


def _stack(
    samples: list[Sequence[Tensor]], views: range, kind: str
) -> Float[Tensor, 'views batch channels rows columns']:
    ordered = [sample[view] for view in views for sample in samples]
    require_one_shape(ordered, kind)
    return default_collate(ordered).unflatten(0, (len(views), len(samples)))


def require_views(num_views: int, num_global: int = 1) -> None:
    """Raise a ValueError if a sample has a single view, or fewer views than global ones."""
    if num_views < 2:
        raise ValueError(
            f'{num_views} view in a sample: self-distillation compares at least two views of an image. '
            'Use a multi-view transform such as dino_plugin.MultiCrop or lightly.transforms.DINOTransform.'
        )
    if not 1 <= num_global <= num_views:
        raise ValueError(f'num_global={num_global} of {num_views} views: expected 1 to {num_views}')


def require_one_shape(tensors: Sequence[Tensor], kind: str) -> None:
    """Raise a ValueError if views of one kind, ``'global'``, ``'local'`` or ``'anchor'``, differ in shape."""
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(
            f'{kind} views of different shapes {sorted(shapes)} in one batch: give all {kind} views the same size, '
            'or set num_global in collate_fn to the number of global views, which come first'
        )


def form_of(value: Any) -> str:
    """The types in a sample or a batch, for an error message."""
    if isinstance(value, Tensor):
        return f'{value.dtype} {tuple(value.shape)}'
    if isinstance(value, dict):
        return f'a dict with keys {sorted(map(str, value))}'
    if isinstance(value, (list, tuple)):
        return f'{type(value).__name__}({", ".join(form_of(entry) for entry in value[:3])}{", …" * (len(value) > 3)})'
    return type(value).__name__
