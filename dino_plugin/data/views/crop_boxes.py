"""Crop boxes: where a view is cut out of an image; checks of the sizes and scales that a user gives."""

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from dino_plugin.data.views.photometric import Number

NUM_GLOBAL = 2  # views of an image
ASPECT_RATIOS = (3 / 4, 4 / 3)


class Box(NamedTuple):
    """A crop box, in pixels of the image."""

    top: int
    left: int
    rows: int
    columns: int


def draw_box(rows: int, columns: int, scale: tuple[Number, Number]) -> Box:
    """A random crop box: area uniform in ``scale``, aspect ratio log-uniform in [3/4, 4/3].

    After ten boxes that do not fit it is the largest central box with an allowed ratio.

    Args:
        rows: Rows of the image.
        columns: Columns of the image.
        scale: Range of the share of the image area.

    References:
        As in torchvision's RandomResizedCrop.
    """
    least, most = (math.log(ratio) for ratio in ASPECT_RATIOS)
    for _ in range(10):
        area = rows * columns * random.uniform(*scale)
        ratio = math.exp(random.uniform(least, most))
        box_rows, box_columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_rows <= rows and 0 < box_columns <= columns:
            top = int(random.random() * (rows - box_rows + 1))
            left = int(random.random() * (columns - box_columns + 1))
            return Box(top, left, box_rows, box_columns)
    box_rows = min(rows, max(1, round(columns / ASPECT_RATIOS[0])))
    box_columns = min(columns, max(1, round(rows * ASPECT_RATIOS[1])))
    return Box((rows - box_rows) // 2, (columns - box_columns) // 2, box_rows, box_columns)


def reduction_of_view(box: Box, size: tuple[int, int]) -> float:
    """How many times a view of this size is smaller than its box, in the direction where it is less."""
    return min(box.rows / size[0], box.columns / size[1])


def reduced_box(box: Box, rows: int, columns: int, reduction: int) -> Box:
    """The box in an image that is decoded at ``1 / reduction`` of its rows and columns.

    Edges are rounded to whole pixels of the smaller image. Its last row or column, if incomplete, is left out.
    """
    top, bottom = (min(round(edge / reduction), rows // reduction) for edge in (box.top, box.top + box.rows))
    left, right = (min(round(edge / reduction), columns // reduction) for edge in (box.left, box.left + box.columns))
    return Box(top, left, bottom - top, right - left)


def checked_size(name: str, size: Any) -> tuple[int, int]:
    """Rows and columns; otherwise a TypeError or ValueError that names the argument."""
    pair = (size, size) if isinstance(size, int) else size
    if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(side, int) for side in pair):
        raise TypeError(f'{name} is a whole number of pixels or (rows, columns), got {size!r}')
    if min(pair) < 1:
        raise ValueError(f'{name} is at least one pixel, got {size!r}')
    return pair[0], pair[1]


def checked_scale(name: str, scale: Any) -> tuple[Number, Number]:
    """Least and largest share of an image; otherwise a TypeError or ValueError that names the argument."""
    if not isinstance(scale, Sequence) or len(scale) != 2 or not all(isinstance(share, Number) for share in scale):
        raise TypeError(f'{name} is a range (least, most) of shares of the image area, got {scale!r}')
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f'{name} is a range (least, most) of shares in (0, 1], least first, got {scale!r}')
    return scale[0], scale[1]
