"""Views that the device finishes: what a sample and a batch hold for it, and how samples become a batch.

The worker draws the parameters of all views. Here they become rows of a table, so that the device can work on all views
at once. Each row has the same columns; an operation that a view does not need has a number that changes nothing.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int, Int16, UInt8
from torch import Tensor
from torch.utils.data import get_worker_info

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.views.colour import blur_kernel, hue_steps
from dino_plugin.data.views.crop_boxes import NUM_GLOBAL
from dino_plugin.data.views.photometric import ColourChange, Number
from dino_plugin.data.views.stacking import KINDS, require_views, stack_blocks

# A blend is (share of the pixel, of the mean luma, of the pixel's luma): x -> f x + (1 - f)(m mean + l L(x)).
BLENDS = dict(brightness=(0.0, 0.0), contrast=(1.0, 0.0), saturation=(0.0, 1.0))
NO_BLEND = (1.0, 0.0, 0.0)
MAX_BLENDS = 3  # before the hue, and after it
NO_SOLARISATION = 256  # a threshold that no level reaches
# Columns of a row of colours; the taps of the blur follow.
HUE, GREYSCALE, THRESHOLD, KERNEL = (2 * MAX_BLENDS * len(NO_BLEND) + column for column in range(4))
PADDING = 64  # decoded images are padded to multiples of this many pixels, so that many of a batch have one shape

Size = tuple[int, int]
Rgb = tuple[int, int, int]  # the places of red, green and blue


# RGB in whole levels, or any channels in 128ths of a level (fine_levels.py).
Pixels = UInt8[np.ndarray, 'rows columns 3'] | Int16[np.ndarray, 'rows columns channels']


class UnfinishedSample(NamedTuple):
    """One sample whose views the device finishes.

    Args:
        blocks: With ``split='device'`` the cut and resized views before colour changes, by kind; else empty.
        image: With ``split='decode'`` the image; else None.
        boxes: Top, left, rows and columns in pixels and 1 for a flip, of global, then local views.
        colours: As :func:`colour_row` makes them.
        sizes: Rows and columns of global, local and anchor views; None where there are none.
        rgb: The channels that are red, green and blue; None where there are none. Of no meaning for uint8 pixels, which
            are RGB.
    """

    blocks: tuple[Tensor | None, ...]
    image: Pixels | None
    boxes: Float32[Tensor, 'views 5']
    colours: Float32[Tensor, 'views numbers']
    sizes: tuple[Size, Size | None, Size | None]
    rgb: Rgb | None = None


class Stack(NamedTuple):
    """Neighbouring images in the buffer that are padded with zeros to one shape."""

    start: int  # place in the buffer
    first: int  # image
    images: int
    rows: int
    columns: int
    channels: int


class DecodedImages(NamedTuple):
    """The images of a batch in one flat buffer, those of one padded shape side by side.

    Args:
        pixels: The padded pixels of all images.
        stacks: Where they are: plain numbers on the host, since they become shapes.
        order: Place in the batch of each image of the buffer.
        boxes: Crop boxes as in :class:`UnfinishedSample`, in the order of the batch.
        sizes: As in :class:`UnfinishedSample`.
    """

    pixels: UInt8[Tensor, ' numbers'] | Int16[Tensor, ' numbers']
    stacks: tuple[Stack, ...]
    order: Int[Tensor, ' batch']
    boxes: Float32[Tensor, 'views batch 5']
    sizes: tuple[Size, Size | None, Size | None]


class Unfinished(NamedTuple):
    """What the device has to do for a batch: colours, and with ``split='decode'`` cutting and resizing.

    ``rgb`` is that of the samples.
    """

    colours: Float32[Tensor, 'views batch numbers']
    images: DecodedImages | None = None
    rgb: Rgb | None = None


def colour_row(change: ColourChange, taps: int) -> list[Number]:
    """The colour change of one view as a row of numbers, equally many for every view.

    The jitter is three blends, a shift of the hue and three more blends; some of them do nothing. Then come greyscale
    (0 or 1), the threshold of solarisation, and the blur's kernel in the middle of ``taps`` weights.

    Raises:
        ValueError: If the jitter has two hue shifts, more than three blends on a side of one, or an unknown operation.
    """
    names = [name for name, _ in change.jitter]
    place = names.index('hue') if 'hue' in names else len(names)
    before, after = change.jitter[:place], change.jitter[place + 1 :]
    shift = hue_steps(change.jitter[place][1]) if 'hue' in names else 0
    threshold = NO_SOLARISATION if change.solarize_threshold is None else change.solarize_threshold
    kernel = blur_kernel(change.blur_sigma).tolist()
    margin = [0.0] * ((taps - len(kernel)) // 2)
    return [*_blends(before), *_blends(after), shift, change.greyscale, threshold, *margin, *kernel, *margin]


def _blends(jitter: Sequence[tuple[str, Number]]) -> list[Number]:
    if len(jitter) > MAX_BLENDS or any(name not in BLENDS for name, _ in jitter):
        raise ValueError(
            f'on the device jitter is one hue shift, with at most {MAX_BLENDS} of {", ".join(BLENDS)} before it and '
            f"after it; got {jitter} on one side: use split='worker'"
        )
    blends = [(value, *BLENDS[name]) for name, value in jitter] + [NO_BLEND] * (MAX_BLENDS - len(jitter))
    return [share for blend in blends for share in blend]


def stack_unfinished(samples: Sequence[UnfinishedSample]) -> ViewBatch:
    """The batch of these samples, without masks.

    With ``split='decode'`` there are no views yet: the blocks have no pixels, and tell only the number of views.

    Raises:
        ValueError: If samples differ in the number or size of their views or in their ``split``.
    """
    if len({(sample.sizes, sample.colours.shape, sample.image is None, sample.rgb) for sample in samples}) > 1:
        raise ValueError('samples of different numbers or sizes of views, or splits, in one batch: give all the same')
    first = samples[0]
    unfinished = Unfinished(torch.stack([sample.colours for sample in samples], dim=1), rgb=first.rgb)
    if first.image is None:
        return stack_blocks([sample.blocks for sample in samples])._replace(unfinished=unfinished)
    require_views(len(first.boxes))
    images = pack_images([sample.image for sample in samples])
    boxes = torch.stack([sample.boxes for sample in samples], dim=1)
    unfinished = unfinished._replace(images=DecodedImages(*images, boxes, first.sizes))
    channels = first.image.shape[-1]
    numbers = NUM_GLOBAL, len(first.boxes) - NUM_GLOBAL, NUM_GLOBAL
    empty = {
        f'{kind}_views': torch.empty((number, len(samples), 0, 0, channels), dtype=images[0].dtype) if size else None
        for kind, number, size in zip(KINDS, numbers, first.sizes)
    }
    return ViewBatch(**empty, unfinished=unfinished)


def pack_images(
    images: Sequence[UInt8[np.ndarray, '_ _ _'] | Int16[np.ndarray, '_ _ _']],
) -> tuple[UInt8[Tensor, ' numbers'] | Int16[Tensor, ' numbers'], tuple[Stack, ...], Int[Tensor, ' batch']]:
    """Copy images of any sizes into one flat buffer; in a worker it is in shared memory.

    Raises:
        ValueError: If the images differ in the number of their channels, or in their type.
    """
    kinds = {(image.shape[-1], image.dtype) for image in images}
    if len(kinds) > 1:
        raise ValueError(
            f'images of different channels or types {sorted(map(str, kinds))} in one batch: make them alike'
        )
    ((channels, dtype),) = kinds
    shapes = [tuple(-(-side // PADDING) * PADDING for side in image.shape[:2]) for image in images]
    order = sorted(range(len(images)), key=lambda place: shapes[place])
    stacks, start, first = [], 0, 0
    for (rows, columns), members in groupby(order, key=lambda place: shapes[place]):
        stacks.append(Stack(start, first, len(list(members)), rows, columns, channels))
        start += stacks[-1].images * rows * columns * channels
        first += stacks[-1].images
    pixels = torch.empty(start, dtype=torch.uint8 if dtype == np.uint8 else torch.int16)
    if get_worker_info() is not None:
        pixels.share_memory_()
    for stack in stacks:
        slots = pixels.numpy()[stack.start :][: stack.images * stack.rows * stack.columns * channels]
        slots = slots.reshape(stack.images, stack.rows, stack.columns, channels)
        for slot, place in zip(slots, order[stack.first :]):
            rows, columns = images[place].shape[:2]
            slot[:rows, :columns] = images[place]
            slot[rows:] = 0
            slot[:rows, columns:] = 0
    return pixels, tuple(stacks), torch.tensor(order)
