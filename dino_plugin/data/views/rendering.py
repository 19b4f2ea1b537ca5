"""Views of images that are not ordinary RGB: any number of channels, levels in 128ths."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int16
from torch import Tensor
from torch.nn.functional import interpolate

from dino_plugin.data.views.channel_colour import WHITE, Levels, apply_channel_change
from dino_plugin.data.views.crop_boxes import Box
from dino_plugin.data.views.fine_levels import to_steps
from dino_plugin.data.views.photometric import ColourChange
from dino_plugin.data.views.unfinished_views import Rgb


def resize_levels(image: Levels, rows: int, columns: int) -> Float32[np.ndarray, '{rows} {columns} channels']:
    """Bicubic and antialiased, cut to [0, 255]; a new array."""
    source = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2)
    resized = interpolate(source, (rows, columns), mode='bicubic', antialias=True).clamp_(0, WHITE)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def render_levels(
    image: Levels, views: Sequence[tuple[Box, bool, ColourChange]], size: tuple[int, int], rgb: Rgb | None
) -> Int16[Tensor, 'views view_rows view_columns channels']:
    """Cut, resize, mirror and colour these views of an image."""
    block = torch.empty((len(views), *size, image.shape[2]), dtype=torch.int16)
    for (box, flip, colour), target in zip(views, block):
        part = image[box.top : box.top + box.rows, box.left : box.left + box.columns]
        view = resize_levels(part[:, ::-1] if flip else part, *size)
        apply_channel_change(view, colour, rgb)
        target.copy_(to_steps(view))
    return block
