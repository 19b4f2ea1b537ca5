"""An image and the parameters of views -> the views of one size, as a block."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Int16, UInt8
from torch import Tensor

from dino_plugin.data.views.channel_colour import Levels, apply_channel_change
from dino_plugin.data.views.colour import apply_colour_change
from dino_plugin.data.views.crop_boxes import Box
from dino_plugin.data.views.fine_levels import to_steps
from dino_plugin.data.views.image_checks import Image
from dino_plugin.data.views.photometric import ColourChange
from dino_plugin.data.views.resizing import resize_into, resize_levels
from dino_plugin.data.views.unfinished_views import Rgb

# 'views rows columns channels': RGB in whole levels, or any channels in 128ths of a level (fine_levels.py)
Block = UInt8[Tensor, '_ _ _ 3'] | Int16[Tensor, '_ _ _ _']


class ViewParameters(NamedTuple):
    """The random parameters of one view."""

    box: Box
    flip: bool
    colour: ColourChange


def uncoloured(view: ViewParameters) -> ViewParameters:
    """The same view without changed colours."""
    return view._replace(colour=ColourChange())


def render(image: Image, views: Sequence[ViewParameters], size: tuple[int, int], rgb: Rgb | None) -> Block:
    """Cut, resize, mirror and colour these views of an image.

    Args:
        image: RGB in uint8, or floats in [0, 255] with any number of channels.
        views: What is drawn.
        size: Rows and columns of each view.
        rgb: Of floats, the places of red, green and blue; None: no channel has a name.
    """
    return _render_rgb(image, views, size) if image.dtype == np.uint8 else _render_levels(image, views, size, rgb)


def _render_rgb(
    image: UInt8[np.ndarray, 'rows columns 3'], views: Sequence[ViewParameters], size: tuple[int, int]
) -> UInt8[Tensor, 'views view_rows view_columns 3']:
    block = torch.empty((len(views), *size, 3), dtype=torch.uint8)
    # Two loops: during the first the image stays in the processor's cache, during the second the block.
    for (box, flip, _), target in zip(views, block):
        part = image[box.top : box.top + box.rows, box.left : box.left + box.columns]
        resize_into(cv2.flip(part, 1) if flip else part.copy(), target)
    for (_, _, colour), pixels in zip(views, block.numpy()):
        apply_colour_change(pixels, colour)
    return block


def _render_levels(
    image: Levels, views: Sequence[ViewParameters], size: tuple[int, int], rgb: Rgb | None
) -> Int16[Tensor, 'views view_rows view_columns channels']:
    block = torch.empty((len(views), *size, image.shape[2]), dtype=torch.int16)
    for (box, flip, colour), target in zip(views, block):
        part = image[box.top : box.top + box.rows, box.left : box.left + box.columns]
        view = resize_levels(part[:, ::-1] if flip else part, *size)
        apply_channel_change(view, colour, rgb)
        target.copy_(to_steps(view))
    return block
