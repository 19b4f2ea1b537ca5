"""One image -> two global views and several local views."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.data.images.lazy_image import LazyImage
from dino_plugin.data.images.pillow_images import as_rgb
from dino_plugin.data.views.colour import blur_taps
from dino_plugin.data.views.crop_boxes import (
    NUM_GLOBAL,
    checked_scale,
    checked_size,
    draw_box,
    reduced_box,
    reduction_of_view,
)
from dino_plugin.data.views.fine_levels import to_steps
from dino_plugin.data.views.image_checks import Image, checked_rgb, require_colours, require_image
from dino_plugin.data.views.normalisation import normalised
from dino_plugin.data.views.photometric import colour_recipe
from dino_plugin.data.views.rendering import Block, ViewParameters, render, uncoloured
from dino_plugin.data.views.split_of_work import chosen_split
from dino_plugin.data.views.unfinished_views import UnfinishedSample, colour_row


class MultiCrop:
    """Two global views and several local views of an image.

    A view is a crop box of random area and aspect ratio, resized (bicubic, antialiased), sometimes mirrored, with
    changed colours. All random numbers come from the global generator of ``random``: with the same ``random.seed`` the
    views are the same, bit for bit. The input is not changed.

    An image is ordinary RGB in uint8, or floats in [0, 255] with any number of channels, as
    :class:`~dino_plugin.data.mmcv_transforms.LoadChannels` makes them. The boxes are the same for both. Of the colours,
    brightness, contrast and blur change every channel; saturation, hue, greyscale and solarisation only
    ``rgb_channels``, and without these they are refused.

    A :class:`~dino_plugin.data.images.lazy_image.LazyImage` is decoded after the boxes are drawn, as small as they
    allow; boxes are then rounded to its pixels. Decoded whole, it gives the same views as its pixels.

    Args:
        global_size: Size of a global view in pixels: one number, or (rows, columns).
        global_scale: Range of the share of the image area that a global view shows, in (0, 1].
        local_size: As ``global_size``, for local views.
        local_scale: As ``global_scale``, for local views.
        num_local: Number of local views, 0 or more. There are always two global views.
        photometric: ``'paper'``, ``'as_trained'``, ``'channels'``, ``'none'``, or a dict of changes to one of them; see
            :func:`~dino_plugin.data.views.photometric.colour_recipe`.
        flip_probability: Probability of mirroring a view left and right, in [0, 1].
        anchor_size: As ``global_size``, and no smaller: the global views once more in this size, with the same boxes
            and flips and without colour changes, for :class:`~dino_plugin.core.losses.gram.GramLoss`. None: no such
            views. The other views are the same with and without it.
        rgb_channels: In an image of floats, the places of red, green and blue, counted from 0: ``(2, 1, 0)`` where blue
            comes first. None: no channel has a name.
        split: The split of the work. With ``'worker'`` the worker of the dataloader does all of it; with ``'device'``
            the device does the colours; with ``'decode'`` the device does everything after decoding, in
            :class:`~dino_plugin.data.preprocessor.ViewPreprocessor`. ``'auto'`` chooses by GPU and CPU cores, see
            `split_of_work`. The parameters are always the same, the views within a grey level (mean absolute error).

    Raises:
        ValueError: If a size, a range, the number, a colour, the probability or the split is not possible.
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
        rgb_channels: Sequence[int] | None = None,
        split: str = 'worker',
    ) -> None:
        if not isinstance(num_local, int) or num_local < 0:
            raise ValueError(f'num_local is a number of views, 0 or more, got {num_local!r}')
        if not 0 <= flip_probability <= 1:
            raise ValueError(f'flip_probability is in [0, 1], got {flip_probability}')
        self.global_size = checked_size('global_size', global_size)
        self.global_scale = checked_scale('global_scale', global_scale)
        self.local_size = checked_size('local_size', local_size)
        self.local_scale = checked_scale('local_scale', local_scale)
        self.num_local = num_local
        self.recipe = colour_recipe(photometric)
        self.flip_probability = flip_probability
        self.anchor_size = None if anchor_size is None else checked_size('anchor_size', anchor_size)
        if self.anchor_size and any(side < least for side, least in zip(self.anchor_size, self.global_size)):
            raise ValueError(f'anchor_size={anchor_size} is smaller than global_size={global_size}: make it larger')
        self.rgb = checked_rgb(rgb_channels)
        self.split = chosen_split(split)
        self._taps = max(blur_taps(view.blur_sigma[1]) if view.blur_probability else 1 for view in self.recipe)

    def sample(self, image: Any) -> tuple[Block | None, ...] | UnfinishedSample:
        """A sample for :func:`~dino_plugin.data.collate.multi_crop_collate`: :meth:`blocks`, finished or not.

        Args:
            image: As for :meth:`blocks`. With ``split='decode'`` the sample holds the image itself, not a copy.

        Raises:
            TypeError: As for :meth:`blocks`.
            ValueError: As for :meth:`blocks`.
        """
        if self.split == 'worker':
            return self.blocks(image)
        image, drawn = self.prepare(image)
        whole = image if image.dtype == np.uint8 else to_steps(image).numpy()
        return UnfinishedSample(
            blocks=self._render_all(image, [uncoloured(view) for view in drawn]) if self.split == 'device' else (),
            image=whole if self.split == 'decode' else None,
            boxes=torch.tensor([(*view.box, view.flip) for view in drawn], dtype=torch.float32),
            colours=torch.tensor([colour_row(view.colour, self._taps) for view in drawn], dtype=torch.float32),
            sizes=(self.global_size, self.local_size if self.num_local else None, self.anchor_size),
            rgb=self.rgb,
        )

    def blocks(self, image: Any) -> tuple[Block, Block | None] | tuple[Block, Block | None, Block]:
        """The finished views as blocks, whatever the split.

        Args:
            image: RGB, uint8, ``rows columns 3``, of any size; or float32 in [0, 255], ``rows columns channels``; or a
                :class:`~dino_plugin.data.images.lazy_image.LazyImage`.

        Returns:
            The global views; the local views, or None if ``num_local`` is 0; with an ``anchor_size`` also the anchor
            views.

        Raises:
            TypeError: If the image is no array of uint8 or float32.
            ValueError: If it has not three channels as uint8, or other levels as floats, or no pixels; if the colours
                do not fit its channels.
        """
        return self._render_all(*self.prepare(image))

    def prepare(self, image: Any) -> tuple[Image, list[ViewParameters]]:
        """The pixels of the image, and new parameters of all its views with boxes in these pixels.

        Args:
            image: As for :meth:`blocks`.

        Raises:
            TypeError: As for :meth:`blocks`.
            ValueError: As for :meth:`blocks`; for a lazy image, if its file cannot be decoded.
        """
        if not isinstance(image, LazyImage):
            self._require(image)
            return image, list(self.draw(*image.shape[:2]))
        views = list(self.draw(*image.size))
        sizes = [self.anchor_size or self.global_size] * NUM_GLOBAL + [self.local_size] * self.num_local
        pixels, reduction = image.decode(min(reduction_of_view(view.box, size) for view, size in zip(views, sizes)))
        if reduction == 1:
            return pixels, views
        return pixels, [view._replace(box=reduced_box(view.box, *image.size, reduction)) for view in views]

    def _render_all(self, image: Any, views: Sequence[ViewParameters]) -> tuple[Block | None, ...]:
        global_block = render(image, views[:NUM_GLOBAL], self.global_size, self.rgb)
        local_block = render(image, views[NUM_GLOBAL:], self.local_size, self.rgb) if self.num_local else None
        if self.anchor_size is None:
            return global_block, local_block
        anchors = [uncoloured(view) for view in views[:NUM_GLOBAL]]
        return global_block, local_block, render(image, anchors, self.anchor_size, self.rgb)

    def _require(self, image: Any) -> None:
        require_image(image)
        if image.dtype != np.uint8:
            require_colours(self.recipe, image.shape[2], self.rgb)

    def __call__(self, image: Any) -> list[Float[Tensor, '3 rows_of_view columns_of_view']]:
        """The views as a list of float tensors, normalised with ImageNet's mean and deviation, global views first.

        Training loops of Lightly and torchvision expect this of a transform. Anchor views are left out.

        Args:
            image: A Pillow image, or an array as for :meth:`blocks`. Of 16 bits the high byte counts, as for files.

        Raises:
            TypeError: If the image is neither.
            UndecodableImageError: If a Pillow image has 32 bits, whose range is not known.
            ValueError: As for :meth:`blocks`; and if the split is not ``'worker'``, since no preprocessor follows that
                could finish the views.
        """
        if self.split != 'worker':
            raise ValueError(
                f'as a callable MultiCrop makes finished views, got split={self.split!r}: leave split out, or use '
                "dict(type='dino_plugin.MultiCrop') in a pipeline, which ends with ViewPreprocessor"
            )
        if hasattr(image, 'convert'):
            image = np.array(as_rgb(image))
        require_image(image)
        if image.dtype != np.uint8:
            raise TypeError(
                f'as a callable MultiCrop normalises RGB in uint8, got {image.dtype}: for other channels use blocks(), '
                "or dict(type='dino_plugin.MultiCrop') in a pipeline"
            )
        global_block, local_block = self.blocks(image)[:2]
        views = list(normalised(global_block))
        return views if local_block is None else views + list(normalised(local_block))

    def draw(self, rows: int, columns: int) -> Iterator[ViewParameters]:
        """Parameters of all views of an image of this size, global views first."""
        recipes = [self.recipe.global_1, self.recipe.global_2] + [self.recipe.local] * self.num_local
        for number, photometric in enumerate(recipes):
            scale = self.global_scale if number < NUM_GLOBAL else self.local_scale
            box = draw_box(rows, columns, scale)
            yield ViewParameters(box, random.random() < self.flip_probability, photometric.draw())
