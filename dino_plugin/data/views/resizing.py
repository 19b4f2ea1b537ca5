"""Resizing images on a CPU: bicubic, antialiased, as Pillow does it."""

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from dino_plugin.data.views.channel_colour import WHITE, Levels
from dino_plugin.data.views.image_checks import Image


def resize(image: Image, rows: int, columns: int) -> Image:
    """Bicubic and antialiased, as Pillow does it, within 0.3 grey levels (mean absolute error); a new array."""
    if image.dtype != np.uint8:
        return resize_levels(image, rows, columns)
    resized = torch.empty((rows, columns, 3), dtype=torch.uint8)
    resize_into(image.copy(), resized)
    return resized.numpy()


def resize_levels(image: Levels, rows: int, columns: int) -> Float32[np.ndarray, '{rows} {columns} channels']:
    """Bicubic and antialiased, cut to [0, 255]; a new array."""
    source = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2)
    resized = interpolate(source, (rows, columns), mode='bicubic', antialias=True).clamp_(0, WHITE)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def resize_into(
    image: UInt8[np.ndarray, 'rows_before columns_before 3'], target: UInt8[Tensor, 'rows columns 3']
) -> None:
    """:func:`resize` of a contiguous image into existing memory.

    PyTorch does it, since OpenCV's bicubic reduction ignores some pixels. Without the vector instructions that PyTorch
    needs (``ATEN_CPU_CAPABILITY=default``) it would be eleven times slower. There OpenCV averages areas, which is
    softer.
    """
    rows, columns, _ = target.shape
    if torch.backends.cpu.get_cpu_capability() == 'DEFAULT':
        smaller = rows <= image.shape[0] and columns <= image.shape[1]
        method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        cv2.resize(image, (columns, rows), dst=target.numpy(), interpolation=method)
        return
    # PyTorch keeps channels last in memory only if the axis of the one image has a true stride, which torch's [None]
    # gives and numpy's does not. Otherwise it makes a copy, which takes a third of the time of the resizing.
    source = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
    target[None].permute(0, 3, 1, 2).copy_(interpolate(source, (rows, columns), mode='bicubic', antialias=True))
