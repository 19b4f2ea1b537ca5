"""Finish the views of a batch on its device: what the split of the work leaves to it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float32
from torch import Tensor

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.views.channel_colour import change_channels
from dino_plugin.data.views.device_colour import change_colours
from dino_plugin.data.views.device_resize import cut_views
from dino_plugin.data.views.fine_levels import is_fine, to_levels
from dino_plugin.data.views.stacking import KINDS


def finish_views(batch: ViewBatch, compile_colours: bool = False) -> dict[str, Float32[Tensor, 'views batch _ _ _']]:
    """Cut, resize and colour the unfinished views, all views of a kind together.

    Args:
        batch: On any device; its ``unfinished`` is not None.
        compile_colours: As in :class:`~dino_plugin.data.preprocessor.ViewPreprocessor`. Cutting is never compiled,
            since each batch has images of other shapes.

    Returns:
        Levels in [0, 255] by the name of the block, whole ones for RGB in uint8; within one grey level (mean absolute
        error) of the views that a worker makes.
    """
    colours, images, rgb = batch.unfinished
    num_global = len(batch.global_views)
    rows = slice(0, num_global), slice(num_global, None), slice(0, num_global)
    finished = {}
    with _full_precision(colours.device.type):
        for number, kind in enumerate(KINDS):
            block = getattr(batch, f'{kind}_views')
            if block is None:
                continue
            if images is None:
                levels = to_levels(block.movedim(-1, 2), torch.contiguous_format)
            else:
                levels = cut_views(images, rows[number], images.sizes[number])
            if kind != 'anchor':
                changes = colours[rows[number]].flatten(0, 1)
                views = levels.flatten(0, 1)
                if is_fine(block):
                    changed = change_channels(views, changes, rgb)
                else:
                    changed = change_colours(views, changes, compile_colours)
                levels = changed.unflatten(0, levels.shape[:2])
            finished[f'{kind}_views'] = levels
    return finished


def _full_precision(device: str) -> AbstractContextManager:
    """Without mixed precision, which is on during a training step and has too few digits for grey levels."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
