"""One image -> two global views and several local views: where they are cut, and what happens to them."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from dino_plugin.data.colour import apply_colour_change
from dino_plugin.data.normalisation import IMAGENET_MEAN, IMAGENET_STD
from dino_plugin.data.photometric import ColourChange, Number, colour_recipe

Block = UInt8[Tensor, '_ _ _ 3']  # views rows columns 3

NUM_GLOBAL = 2
ASPECT_RATIOS = (3 / 4, 4 / 3)


class Box(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    rows: int
    columns: int


class ViewParameters(NamedTuple):
    """All that was drawn for one view."""

    box: Box
    flip: bool
    colour: ColourChange


class MultiCrop:
    """Two global views and several local views of an image.

    A view is a box of random area and aspect ratio, resized (bicubic, antialiased), perhaps mirrored, its colours
    changed. Everything random comes from the global generator of ``random``: with the same ``random.seed`` the views
    are the same, bit for bit. The input is never written to.

    Args:
        global_size: Of a global view in pixels: one number, or (rows, columns).
        global_scale: Range of the share of the image area that a global view shows, in (0, 1].
        local_size: As ``global_size``, of a local view.
        local_scale: As ``global_scale``, of a local view.
        num_local: Number of local views, 0 or more. There are always two global views.
        photometric: ``'paper'``, ``'as_trained'``, ``'none'``, or a dict of what differs from one of them; see
            :func:`~dino_plugin.data.photometric.colour_recipe`.
        flip_probability: Of mirroring a view left and right, in [0, 1].
        anchor_size: As ``global_size``, and no smaller: the global views once more in this size, the same boxes and
            flips without colour changes, for :class:`~dino_plugin.core.losses.gram.GramLoss`. None: no such views.
            The other views are the same with it and without.

    Raises:
        ValueError: If a size, a range, the number, a colour or the probability is not possible.
        TypeError: If one of them is of another type.

    References:
        Caron et al. 2021, arXiv:2104.14294, section 3.1 and appendix; boxes as in torchvision's RandomResizedCrop.
    """

    def __init__(
        self,
        global_size: int | Sequence[int] = 224,
        global_scale: Sequence[float] = (0.4, 1.0),
        local_size: int | Sequence[int] = 96,
        local_scale: Sequence[float] = (0.05, 0.4),
        num_local: int = 8,
        photometric: str | Mapping[str, Any] = 'paper',
        *,
        flip_probability: float = 0.5,
        anchor_size: int | Sequence[int] | None = None,
    ) -> None:
        if not isinstance(num_local, int) or num_local < 0:
            raise ValueError(f'num_local is a number of views, 0 or more, got {num_local!r}')
        if not 0 <= flip_probability <= 1:
            raise ValueError(f'flip_probability is in [0, 1], got {flip_probability}')
        self.global_size = _checked_size('global_size', global_size)
        self.global_scale = _checked_scale('global_scale', global_scale)
        self.local_size = _checked_size('local_size', local_size)
        self.local_scale = _checked_scale('local_scale', local_scale)
        self.num_local = num_local
        self.recipe = colour_recipe(photometric)
        self.flip_probability = flip_probability
        self.anchor_size = None if anchor_size is None else _checked_size('anchor_size', anchor_size)
        if self.anchor_size and any(side < least for side, least in zip(self.anchor_size, self.global_size)):
            raise ValueError(f'anchor_size={anchor_size} is smaller than global_size={global_size}: make it larger')

    def blocks(self, image: Any) -> tuple[Block, Block | None] | tuple[Block, Block | None, Block]:
        """The views as uint8 blocks: the fast path, for :func:`~dino_plugin.data.collate.multi_crop_collate`.

        Args:
            image: RGB, uint8, ``rows columns 3``, of any size.

        Returns:
            The global views; the local views, or None if ``num_local`` is 0; and the anchor views, only if there is an
            ``anchor_size``.

        Raises:
            TypeError: If the image is no uint8 array.
            ValueError: If it has not three channels, or no pixels.
        """
        require_rgb(image)
        drawn = list(self.draw(*image.shape[:2]))
        global_block = _render(image, drawn[:NUM_GLOBAL], self.global_size)
        local_block = _render(image, drawn[NUM_GLOBAL:], self.local_size) if self.num_local else None
        if self.anchor_size is None:
            return global_block, local_block
        uncoloured = [view._replace(colour=ColourChange()) for view in drawn[:NUM_GLOBAL]]
        return global_block, local_block, _render(image, uncoloured, self.anchor_size)

    def __call__(self, image: Any) -> list[Float[Tensor, '3 rows_of_view columns_of_view']]:
        """The views as a list of float tensors, normalised with the mean and deviation of ImageNet, global views first.

        This is what Lightly's and torchvision's loops expect of a transform. Anchor views are left out.

        Args:
            image: A Pillow image of any mode, or an array as for :meth:`blocks`.

        Raises:
            TypeError: If the image is neither.
            ValueError: As for :meth:`blocks`.
        """
        if hasattr(image, 'convert'):
            image = np.array(image.convert('RGB'))
        global_block, local_block = self.blocks(image)[:2]
        views = list(_normalised(global_block))
        return views if local_block is None else views + list(_normalised(local_block))

    def draw(self, rows: int, columns: int) -> Iterator[ViewParameters]:
        """Parameters of all views of an image of this size, global views first."""
        recipes = [self.recipe.global_1, self.recipe.global_2] + [self.recipe.local] * self.num_local
        for number, photometric in enumerate(recipes):
            scale = self.global_scale if number < NUM_GLOBAL else self.local_scale
            box = draw_box(rows, columns, scale)
            yield ViewParameters(box, random.random() < self.flip_probability, photometric.draw())


def draw_box(rows: int, columns: int, scale: tuple[Number, Number]) -> Box:
    """A random box inside an image: area uniform in ``scale``, aspect ratio log-uniform in [3/4, 4/3].

    A box that does not fit is drawn again; after ten of them it is the largest central box with an allowed ratio.

    Args:
        rows: Of the image.
        columns: Of the image.
        scale: Range of the share of the image area.
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


def resize(
    image: UInt8[np.ndarray, 'rows_before columns_before 3'], rows: int, columns: int
) -> UInt8[np.ndarray, '{rows} {columns} 3']:
    """Bicubic and antialiased, as Pillow does it, within 0.1 grey levels (mean absolute error); a new array.

    PyTorch does it, since OpenCV's bicubic does not weigh all pixels of a reduction. On a processor without the vector
    instructions that PyTorch needs (``ATEN_CPU_CAPABILITY=default``), it would be eleven times slower: there OpenCV
    averages areas, which is softer.
    """
    if torch.backends.cpu.get_cpu_capability() == 'DEFAULT':
        smaller = rows <= image.shape[0] and columns <= image.shape[1]
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    # PyTorch keeps `rows columns channels` in memory only for a whole array whose axis of one image has a true stride:
    # torch's [None] gives it one, numpy's does not. Anything else it lays out anew, at a third of the time to resize.
    channels_last = torch.from_numpy(image.copy())[None].permute(0, 3, 1, 2)
    resized = interpolate(channels_last, size=(rows, columns), mode='bicubic', antialias=True)
    return resized.permute(0, 2, 3, 1)[0].numpy()


def _render(
    image: UInt8[np.ndarray, 'rows columns 3'], views: Sequence[ViewParameters], size: tuple[int, int]
) -> UInt8[Tensor, 'views view_rows view_columns 3']:
    block = torch.empty((len(views), *size, 3), dtype=torch.uint8)
    for (box, flip, colour), target in zip(views, block.numpy()):
        part = image[box.top : box.top + box.rows, box.left : box.left + box.columns]
        resized = resize(part, *size)
        if flip:
            cv2.flip(resized, 1, dst=target)
        else:
            np.copyto(target, resized)
        apply_colour_change(target, colour)
    return block


def _normalised(block: UInt8[Tensor, 'views rows columns 3']) -> Float[Tensor, 'views 3 rows columns']:
    mean = 255 * torch.tensor(IMAGENET_MEAN)[:, None, None]
    scale = 1 / (255 * torch.tensor(IMAGENET_STD)[:, None, None])
    # The planes are laid out while the values are still one byte each.
    return block.permute(0, 3, 1, 2).contiguous().float().sub_(mean).mul_(scale)


def require_rgb(image: Any) -> None:
    """Return if this is an image that views can be cut from.

    Raises:
        TypeError: If it is no uint8 array.
        ValueError: If it has not three channels, or no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f'expected an RGB image as a uint8 array, or a Pillow image, got {type(image).__name__}')
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'expected an RGB image "rows columns 3", got an array of shape {image.shape}: load it with '
            'dino_plugin.data.decoding.decode_image, or repeat the channel of a greyscale image three times'
        )
    if image.dtype != np.uint8:
        raise TypeError(f'expected levels of uint8 in [0, 255], got {image.dtype}: scale to that range and convert')
    if image.size == 0:
        raise ValueError(f'expected an image with pixels, got an array of shape {image.shape}')


def _checked_size(name: str, size: Any) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else size
    if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(side, int) for side in pair):
        raise TypeError(f'{name} is a whole number of pixels or (rows, columns), got {size!r}')
    if min(pair) < 1:
        raise ValueError(f'{name} is at least one pixel, got {size!r}')
    return pair[0], pair[1]


def _checked_scale(name: str, scale: Any) -> tuple[Number, Number]:
    if not isinstance(scale, Sequence) or len(scale) != 2 or not all(isinstance(share, Number) for share in scale):
        raise TypeError(f'{name} is a range (least, most) of shares of the image area, got {scale!r}')
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f'{name} is a range (least, most) of shares in (0, 1], least first, got {scale!r}')
    return scale[0], scale[1]
