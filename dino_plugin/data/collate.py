"""Samples -> one batch, in the worker: our samples and Lightly's.

The collate functions and adapters for Lightly's users are here, too; their code is in
:mod:`~dino_plugin.data.lightly.adapters` and :mod:`~dino_plugin.data.lightly.old_collate`.
"""

import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.utils.data import default_collate

from dino_plugin.core.masking import (
    block_masks,
    independent_ratios,
    one_block_masks,
    random_masks,
    rolled_masks,
    stratified_ratios,
)
from dino_plugin.core.views import ViewBatch
from dino_plugin.data.lightly.adapters import (
    MultiViewCollate,
    multi_view_collate,
    views_from_lightly,
    views_to_lightly,
)
from dino_plugin.data.lightly.old_collate import DINOCollateFunction
from dino_plugin.data.views.stacking import form_of, is_block, stack_blocks, stack_view_lists
from dino_plugin.data.views.unfinished_views import UnfinishedSample, stack_unfinished
from dino_plugin.openmmlab.scope import named_in_configs

__all__ = [
    'DINOCollateFunction',
    'MultiViewCollate',
    'image_collate',
    'masked_collate',
    'multi_crop_collate',
    'multi_view_collate',
    'views_from_lightly',
    'views_to_lightly',
]


@named_in_configs
def multi_crop_collate(samples: Sequence[Any], num_global: int = 2) -> ViewBatch:
    """Stack the views of a batch: views first, then batch; global and local views apart.

    Two forms of samples are accepted:

    - ``(global block, local block or None)``, or with an anchor block at the end, uint8 ``views rows columns 3`` (int16
      for other channels), from :class:`~dino_plugin.data.multi_crop.MultiCrop` and ``PackViews``; or their samples of
      unfinished views.
    - ``(list of views, label, filename)`` or ``(list of views, label)``, float ``channels rows columns``, from datasets
      of Lightly and torchvision.

    Args:
        samples: As the dataset gives them.
        num_global: Number of global views, which come first, in a list of views. Blocks need no such number.

    Returns:
        Views in their own type: uint8 with channels last, or float with channels first. ``unfinished`` holds what the
        device has to do.

    Raises:
        TypeError: If the samples have another form.
        ValueError: If there are fewer than two views, or views that belong together differ in number or size.
    """
    first = samples[0] if len(samples) else None
    if isinstance(first, UnfinishedSample):
        return stack_unfinished(samples)
    if isinstance(first, (tuple, list)) and len(first) in (2, 3):
        if is_block(first[0]) and all(part is None or is_block(part) for part in first[1:]):
            return stack_blocks(samples)
        if _is_view_list(first[0]):
            return stack_view_lists([sample[0] for sample in samples], num_global)
    raise TypeError(
        'multi_crop_collate expects samples (global block, local block or None) of dino_plugin.PackViews, or '
        f'(list of float tensors, label, filename) as Lightly gives them, got {form_of(first)}. End the pipeline '
        "with dict(type='dino_plugin.PackViews'), or the transform with ToTensor and Normalize."
    )


@named_in_configs
def masked_collate(
    samples: Sequence[Any],
    patch_size: int,
    share: float = 0.5,
    ratio: Sequence[float] = (0.1, 0.5),
    stratified: bool = True,
    blocks: bool = True,
    min_patches: int = 4,
    num_global: int = 2,
    upper_edges: bool = False,
    roll: bool = False,
    inverse: bool = False,
) -> ViewBatch:
    """:func:`multi_crop_collate`, with masks for the global views.

    The masks depend on the samples alone: a checksum of the first view seeds their generator. So a resumed run masks
    the same patches, with any worker and any dataset. Another split of the work between worker and device gives other
    samples, and so other masks.

    Args:
        samples: As for :func:`multi_crop_collate`.
        patch_size: Side of the backbone's patches in pixels.
        share: Share of the views that are masked, in [0, 1].
        ratio: Range of the share of masked patches of a masked view, in [0, 1]; whole patches, rounded down.
        stratified: Ratios spread evenly over the batch (DINOv2), instead of each drawn by itself (iBOT); see
            :mod:`~dino_plugin.core.masking`.
        blocks: Mask blocks of patches, instead of single patches.
        min_patches: Area of the smallest blocks, in patches (4 in DINOv2; iBOT has 16 on a grid of 14 x 14).
        num_global: As for :func:`multi_crop_collate`.
        upper_edges: Stratified ratios are the upper edges of their parts of the range (DINOv3), not drawn from them: a
            few patches more, and as many in every batch.
        roll: Shift each mask around its grid, so that all patches are masked equally often (Franca), see
            :func:`~dino_plugin.core.masking.rolled_masks`.
        inverse: The student sees one block and the rest is masked (CAPI, Franca), see
            :func:`~dino_plugin.core.masking.one_block_masks`; ``min_patches`` then says nothing.

    Raises:
        ValueError: If a number is out of its range, or ``upper_edges`` are asked for without ``stratified``, or
            ``inverse`` without ``blocks``; and as :func:`multi_crop_collate` does.
    """
    in_range = 0 <= share <= 1 and len(ratio) == 2 and 0 <= ratio[0] <= ratio[1] <= 1
    if not in_range or patch_size < 1 or min_patches < 1:
        raise ValueError(
            'masked_collate: share and both ends of ratio lie in [0, 1], the smaller end first; patch_size and '
            f'min_patches are at least 1; got {share=}, ratio={tuple(ratio)}, {patch_size=}, {min_patches=}.'
        )
    if upper_edges and not stratified:
        raise ValueError(
            'masked_collate: upper_edges=True are those of stratified ratios, but stratified=False; give only one.'
        )
    if inverse and not blocks:
        raise ValueError('masked_collate: inverse=True leaves a block, but blocks=False; give only one.')
    views = multi_crop_collate(samples, num_global)
    num_views, batch = views.global_views.shape[:2]
    rows, columns = (-(-side // patch_size) for side in _global_size(views))
    generator = torch.Generator().manual_seed(_checksum(views))
    draw_ratios = partial(stratified_ratios, upper_edges=upper_edges) if stratified else independent_ratios
    least, most = ratio
    num_masked = (draw_ratios(num_views * batch, share, least, most, generator) * rows * columns).long()
    if inverse:
        masks = ~one_block_masks(rows * columns - num_masked, rows, columns, generator)
    elif blocks:
        masks = block_masks(num_masked, rows, columns, generator, min_patches)
    else:
        masks = random_masks(num_masked, rows, columns, generator)
    if roll:
        masks = rolled_masks(masks, generator)
    return views.with_masks(masks.unflatten(0, (num_views, batch)))


def _global_size(views: ViewBatch) -> tuple[int, int]:
    """Rows and columns of the global views, also before they are cut."""
    if views.unfinished is not None and views.unfinished.images is not None:
        return views.unfinished.images.sizes[0]
    sides = tuple(views.global_views.shape[2:])
    return sides[1:] if views.global_views.is_floating_point() else sides[:2]


def _checksum(views: ViewBatch) -> int:
    """A number that depends on the pixels of the first view; before it is cut, on its image and crop boxes."""
    if views.unfinished is None or views.unfinished.images is None:
        return zlib.crc32(views.global_views[0, 0].contiguous().numpy())
    pixels, stacks, _, boxes, _ = views.unfinished.images
    first = pixels[: stacks[0].rows * stacks[0].columns * stacks[0].channels]
    return zlib.crc32(boxes.contiguous().numpy(), zlib.crc32(first.numpy()))


def _is_view_list(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(view, Tensor) and view.ndim == 3 and view.is_floating_point() for view in value)
    )


@named_in_configs
def image_collate(
    samples: Sequence[tuple[Any, int, str]],
) -> tuple[Shaped[Tensor, 'batch ... channels'], Int[Tensor, ' batch'], list[str]]:
    """Stack evaluation samples ``(image, label, path)``.

    Images are arrays or tensors ``rows columns channels``; clips of films have more axes.

    Raises:
        ValueError: If the images differ in size.
    """
    images = [torch.as_tensor(image) for image, _, _ in samples]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f'images of different shapes {sorted(shapes)} in one batch: resize and crop them to one size')
    labels = torch.tensor([int(label) for _, label, _ in samples], dtype=torch.long)
    return default_collate(images), labels, [path for _, _, path in samples]
