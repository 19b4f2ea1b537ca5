"""The views of several images on one sheet: a row for each image."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.views.device_views import finish_views
from dino_plugin.data.views.fine_levels import to_levels
from dino_plugin.data.views.normalisation import IMAGENET_MEAN, IMAGENET_STD
from dino_plugin.data.views.stacking import is_block
from dino_plugin.data.views.unfinished_views import UnfinishedSample, stack_unfinished

GAP = 4
LABEL_HEIGHT = 18
LEAST_ROWS = 96
WHITE = 255


def views_of_sample(sample: Any) -> list[UInt8[np.ndarray, '_ _ 3']]:
    """All views of one sample of a training dataset as images: global, local, then anchor views.

    Args:
        sample: Blocks ``views rows columns channels``, as ``PackViews`` makes them (None is skipped); its unfinished
            views; or (views, ...) with a list of normalised float tensors ``3 rows columns``, as Lightly's datasets
            give them.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(sample, UnfinishedSample):
        blocks = finish_views(stack_unfinished([sample])).values()
        return [_of_three(view.permute(1, 2, 0)) for block in blocks for view in block[:, 0]]
    if isinstance(sample, Sequence) and sample and isinstance(sample[0], Sequence):
        return [_shown(view) for view in sample[0]]
    if isinstance(sample, Sequence) and sample and all(block is None or is_block(block) for block in sample):
        return [_of_three(to_levels(view)) for block in sample if block is not None for view in block]
    raise TypeError(
        "a sample with views is a tuple of uint8 blocks (from dino_plugin.PackViews) or Lightly's (views, label, "
        f'filename), got {type(sample).__name__}'
    )


def _of_three(levels: Float[Tensor, 'rows columns channels']) -> UInt8[np.ndarray, 'rows columns 3']:
    """The first three channels; the last one again where there are fewer."""
    places = [min(place, levels.shape[-1] - 1) for place in range(3)]
    return levels[..., places].round().to(torch.uint8).numpy()


def _shown(view: Tensor) -> UInt8[np.ndarray, '_ _ 3']:
    image = view.permute(1, 2, 0) * torch.tensor(IMAGENET_STD) + torch.tensor(IMAGENET_MEAN)
    return (255 * image).round().clamp(0, 255).to(torch.uint8).numpy()


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, '_ _ 3']]], labels: Sequence[str]
) -> UInt8[np.ndarray, 'rows columns 3']:
    """Draw the views of each image in a row, below its label.

    Views go from left to right. Small ones are stacked in columns as high as the largest view of the row. Rows lower
    than 96 pixels are enlarged by a whole factor, without smoothing.

    Args:
        rows: The RGB views of each image, of any sizes.
        labels: One for each row.

    Returns:
        An RGB image.

    Raises:
        ValueError: If there is no row, a row is empty, or the labels are fewer or more than the rows.
    """
    if not rows or not all(len(views) for views in rows):
        raise ValueError('a contact sheet needs at least one row, and at least one view in each')
    if len(labels) != len(rows):
        raise ValueError(f'one label for each row is needed, got {len(labels)} labels for {len(rows)} rows')
    strips = [_strip(views, label) for views, label in zip(rows, labels)]
    width = max(strip.shape[1] for strip in strips)
    padding = [((0, 0), (0, width - strip.shape[1]), (0, 0)) for strip in strips]
    return np.concatenate([np.pad(strip, pad, constant_values=WHITE) for strip, pad in zip(strips, padding)])


def _strip(views: Sequence[UInt8[np.ndarray, '_ _ 3']], label: str) -> UInt8[np.ndarray, 'rows columns 3']:
    zoom = math.ceil(LEAST_ROWS / max(view.shape[0] for view in views))
    views = [view.repeat(zoom, axis=0).repeat(zoom, axis=1) for view in views]
    height = max(view.shape[0] for view in views)
    places, left, top, column_width = [], GAP, 0, 0
    for view in views:
        if top and (top + view.shape[0] > height + GAP or view.shape[1] > column_width):
            left, top, column_width = left + column_width + GAP, 0, 0
        places.append((left, top))
        top += view.shape[0] + GAP
        column_width = max(column_width, view.shape[1])
    height = max(top + view.shape[0] for view, (_, top) in zip(views, places))
    strip = np.full((LABEL_HEIGHT + height + GAP, left + column_width + GAP, 3), WHITE, np.uint8)
    cv2.putText(strip, label, (GAP, LABEL_HEIGHT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    for view, (left, top) in zip(views, places):
        strip[LABEL_HEIGHT + top :, left:][: view.shape[0], : view.shape[1]] = view
    return strip


def views_sheet(dataset: Any, number: int = 8) -> UInt8[np.ndarray, 'rows columns 3']:
    """A contact sheet of some samples, evenly spread over a training dataset and the same at each call.

    Args:
        dataset: A dataset with samples for :func:`views_of_sample`.
        number: Images on the sheet; all images if there are fewer.

    Raises:
        ValueError: If ``number`` is less than 1.
    """
    if number < 1:
        raise ValueError(f'a contact sheet needs at least one image, got number={number}')
    dataset = dataset if isinstance(dataset, SeededDataset) else SeededDataset(dataset)
    number = min(number, len(dataset))
    indices = [place * len(dataset) // number for place in range(number)]
    rows = [views_of_sample(dataset[index, index]) for index in indices]
    return contact_sheet(rows, [f'{index}  {Path(dataset.path_of(index)).name}' for index in indices])


def save_image(image: UInt8[np.ndarray, 'rows columns 3'], path: str | os.PathLike) -> Path:
    """Write an RGB image, and make its folder. The ending of the file name decides the format.

    Raises:
        ValueError: If the ending is not that of an image format.
    """
    path = Path(path).expanduser()
    if not cv2.haveImageWriter(str(path)):
        raise ValueError(f'cannot write an image as {path.name!r}: use an ending such as .png')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    return path
