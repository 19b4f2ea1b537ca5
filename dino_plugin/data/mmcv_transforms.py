"""Steps of mmcv pipelines: views for training, images for evaluation, and the only BGR -> RGB conversion."""

import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Int16, UInt8
from mmcv.transforms import BaseTransform
from torch import Tensor

from dino_plugin.data.images.channel_loading import AS_STORED
from dino_plugin.data.images.decoding import check_files, read_image
from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.lazy_image import LazyImage, read_lazily
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.views.crop_boxes import checked_scale, checked_size, draw_box
from dino_plugin.data.views.fine_levels import to_steps
from dino_plugin.data.views.image_checks import Image, require_image
from dino_plugin.data.views.rendering import Block
from dino_plugin.data.views.resizing import resize
from dino_plugin.data.views.unfinished_views import UnfinishedSample


class LoadImage(BaseTransform):
    """``img_path`` -> ``img``, uint8 RGB, of any kind of file that :func:`decode_image` documents.

    Sets ``img``, ``channel_order='rgb'``, ``img_shape`` and ``ori_shape``. ``max_pixels`` of the data set is the
    largest number of pixels. mmcv's ``LoadImageFromFile`` works, too; its images are BGR, and its errors do not name
    the file.

    Args:
        backend_args: For ``mmengine.fileio``, if the files are not on a local disk.
        least_reduction: For large photographs, with :class:`MultiCropTransform` as the next step: that step decodes
            JPEG files at 1/2, 1/4 or 1/8 of their size, where every view is then still so many times smaller than its
            box. At 2 the views are a fifth of a grey level away (docs/performance.md), and where no box is large
            enough, nothing changes. None: files are decoded here, whole.

    Raises:
        ValueError: If ``least_reduction`` is below 1; when called, if there is no ``img_path``.
        UndecodableImageError: When called, with the path, if the file is not a whole image.
    """

    def __init__(self, backend_args: dict | None = None, least_reduction: float | None = None) -> None:
        if least_reduction is not None and least_reduction < 1:
            raise ValueError(
                f'LoadImage: least_reduction is 1 or more, got {least_reduction}: below 1 the views would be enlarged'
            )
        self.backend_args = backend_args
        self.least_reduction = least_reduction

    def transform(self, results: dict) -> dict:
        """Add the image to ``results``."""
        path = _required(results, 'img_path', 'the dataset gives it: dino_plugin.ImageDataset does')
        where = self.backend_args, results.get('max_pixels', MAX_PIXELS)
        image = read_lazily(path, self.least_reduction, *where) if self.least_reduction else read_image(path, *where)
        size = image.size if isinstance(image, LazyImage) else image.shape[:2]
        results.update(img=image, channel_order='rgb', img_shape=size, ori_shape=size)
        return results


class CheckFiles(BaseTransform):
    """The step before the loader of another package: mmcv's ``LoadImageFromFile`` decodes whatever it gets.

    It looks at the header of ``img_path`` and ``seg_map_path``. ``dino_plugin.ImageDataset`` and
    ``dino_plugin.CheckedSegmentation`` do this by themselves.

    Args:
        max_pixels: Largest number of pixels, rows times columns.

    Raises:
        UndecodableImageError: When called, with the path, if a file is not a regular file or claims more pixels.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels

    def transform(self, results: dict) -> dict:
        """The same."""
        return check_files(results, self.max_pixels)


class MultiCropTransform(BaseTransform):
    """``img`` -> ``global_views``, ``local_views`` and, with an ``anchor_size``, ``anchor_views``: blocks.

    In a config its name is ``dino_plugin.MultiCrop``. With another ``split`` than ``'worker'`` the result is
    ``unfinished_views``, which ``dino_plugin.ViewPreprocessor`` finishes.

    The image is BGR, as mmcv loads it, unless ``channel_order='rgb'`` says otherwise. Images of floats come from
    :class:`LoadChannels`; their channels keep their order.

    Args:
        **multi_crop: The arguments of :class:`~dino_plugin.data.multi_crop.MultiCrop`.
    """

    def __init__(self, **multi_crop: Any) -> None:
        self.multi_crop = MultiCrop(**multi_crop)

    def transform(self, results: dict) -> dict:
        """Add the blocks; ``local_views`` is None without local views."""
        image = results.get('img')
        sample = self.multi_crop.sample(image if isinstance(image, LazyImage) else image_in_order(results))
        if isinstance(sample, UnfinishedSample):
            results['unfinished_views'] = sample
        else:
            results.update(zip(('global_views', 'local_views', 'anchor_views'), sample))
        return results


class PackViews(BaseTransform):
    """Keep only what training needs: the tuple (global views, local views or None), with anchor views if there are any.

    Views that the device finishes are an :class:`~dino_plugin.data.views.unfinished_views.UnfinishedSample`.
    """

    def transform(self, results: dict) -> tuple[Block | None, ...] | UnfinishedSample:
        """The sample that :func:`~dino_plugin.data.collate.multi_crop_collate` takes."""
        if 'unfinished_views' in results:
            return results['unfinished_views']
        views = _required(results, 'global_views', "put dict(type='dino_plugin.MultiCrop') before it")
        blocks = views, results['local_views']
        return (*blocks, results['anchor_views']) if 'anchor_views' in results else blocks


class ResizeCentreCrop(BaseTransform):
    """The evaluation view: the shorter side resized (bicubic, antialiased), then a square cut from the centre.

    Args:
        resize: Pixels of the shorter side; None keeps the size.
        crop: Pixels of the square's side; None keeps the whole image.

    Raises:
        ValueError: If a number is not positive, or the square does not fit into the resized image; when called, if it
            does not fit into an image that is not resized.
    """

    def __init__(self, resize: int | None = 256, crop: int | None = 224) -> None:
        for name, side in dict(resize=resize, crop=crop).items():
            if side is not None and side < 1:
                raise ValueError(f'ResizeCentreCrop: {name} is a number of pixels or None, got {side}')
        if resize is not None and crop is not None and crop > resize:
            raise ValueError(f'ResizeCentreCrop: a square of {crop} pixels does not fit into a side of {resize}')
        self.resize = resize
        self.crop = crop

    def transform(self, results: dict) -> dict:
        """Replace ``img``; an ordinary image is RGB afterwards."""
        image = image_in_order(results)
        if self.resize is not None and self.resize != min(image.shape[:2]):
            shorter = min(image.shape[:2])
            rows, columns = (int(self.resize * side / shorter) for side in image.shape[:2])
            image = resize(image, rows, columns)
        if self.crop is not None:
            image = self._cut(image)
        order = 'rgb' if image.dtype == np.uint8 else AS_STORED
        results.update(img=np.ascontiguousarray(image), channel_order=order, img_shape=image.shape[:2])
        return results

    def _cut(self, image: Image) -> Image:
        rows, columns = image.shape[:2]
        if min(rows, columns) < self.crop:
            raise ValueError(
                f'ResizeCentreCrop: a square of {self.crop} pixels does not fit into {rows} x {columns}: set resize'
            )
        top, left = round((rows - self.crop) / 2), round((columns - self.crop) / 2)
        return image[top : top + self.crop, left : left + self.crop]


class RandomResizedCrop(BaseTransform):
    """The view that classifiers are trained on: a random box of the image, resized (bicubic), sometimes mirrored.

    All random numbers come from the global generator of ``random``, so :class:`SeededDataset` decides them.

    Args:
        size: Size of the view in pixels: one number, or (rows, columns).
        scale: Range of the share of the image area that the view shows, in (0, 1].
        flip_probability: Probability of mirroring left and right, in [0, 1].

    Raises:
        ValueError: If a size, the range or the probability is not possible.
        TypeError: If one of them is of another type.
    """

    def __init__(
        self, size: int | Sequence[int] = 224, scale: Sequence[float] = (0.08, 1.0), flip_probability: float = 0.5
    ) -> None:
        if not 0 <= flip_probability <= 1:
            raise ValueError(f'flip_probability is in [0, 1], got {flip_probability}')
        self.size, self.scale = checked_size('size', size), checked_scale('scale', scale)
        self.flip_probability = flip_probability

    def transform(self, results: dict) -> dict:
        """Replace ``img``; an ordinary image is RGB afterwards."""
        image = image_in_order(results)
        rows, columns = image.shape[:2]
        box = draw_box(rows, columns, self.scale)
        view = image[box.top : box.top + box.rows, box.left : box.left + box.columns]
        view = resize(np.ascontiguousarray(view), *self.size)
        if random.random() < self.flip_probability:
            view = np.ascontiguousarray(view[:, ::-1])
        order = 'rgb' if view.dtype == np.uint8 else AS_STORED
        results.update(img=view, channel_order=order, img_shape=view.shape[:2])
        return results


class PackImage(BaseTransform):
    """Keep only what an evaluator needs: the tuple (image, label, path).

    The label is ``gt_label``, or -1 where the dataset has none; the path is empty where the dataset has none. Levels of
    :class:`LoadChannels` become 128ths (int16), as in views.
    """

    def transform(
        self, results: dict
    ) -> tuple[UInt8[Tensor, 'rows columns 3'] | Int16[Tensor, 'rows columns channels'], int, str]:
        """The sample; torch's ``default_collate`` can batch it if all images have one size."""
        image = image_in_order(results)
        image = torch.from_numpy(np.ascontiguousarray(image)) if image.dtype == np.uint8 else to_steps(image)
        return image, int(results.get('gt_label', -1)), str(results.get('img_path', ''))


def image_in_order(results: dict) -> Image:
    """``img``, RGB if it is uint8. Without ``channel_order`` it is BGR, as mmcv loads it; floats keep their order.

    Raises:
        ValueError: If there is no image, or floats have another order than ``'as_stored'``.
        TypeError: If the image has another type.
    """
    image = _required(results, 'img', "put dict(type='dino_plugin.LoadImage') before it")
    if isinstance(image, LazyImage):
        image, _ = image.decode()
    require_image(image)
    if image.dtype != np.uint8:
        if results.get('channel_order') != AS_STORED:
            raise ValueError(
                f'an image of floats and channel_order={results.get("channel_order")!r}: load it by '
                "dino_plugin.LoadChannels, or set channel_order='as_stored' in a step of your own"
            )
        return image
    return image if results.get('channel_order', 'bgr') == 'rgb' else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _required(results: dict, key: str, cure: str) -> Any:
    if key not in results:
        raise ValueError(f'the pipeline has no {key!r} here ({", ".join(map(str, results)) or "nothing"}): {cure}')
    return results[key]
