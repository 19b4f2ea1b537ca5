"""Steps of a pipeline with depths: load them, cut a window."""

import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import Float32
from mmcv.transforms import BaseTransform

from dino_plugin.data.images.channel_files import read_channels
from dino_plugin.data.images.decoding import image_size, naming
from dino_plugin.data.images.file_structure import Size
from dino_plugin.data.images.headers import MAX_PIXELS, UnknownFormatError
from dino_plugin.data.images.user_files import announce


def read_depth(
    path: str | os.PathLike, unit: float, rotated_bits: int = 0, max_pixels: int = MAX_PIXELS
) -> Float32[np.ndarray, 'rows columns']:
    """Depths in metres, 0 where nothing was measured: at 0, at negative numbers, NaN and infinity.

    Args:
        path: PNG of 8 or 16 bits, TIFF or ``.npy`` with one channel.
        unit: Metres of a stored 1: 0.001 for millimetres, 1 / 5000 for TUM, 1 / 256 for KITTI.
        rotated_bits: Bits that a 16-bit number is rotated by to the left in the file: 3 for SUN RGB-D, else 0.
        max_pixels: Largest number of pixels that a file may claim.

    Raises:
        ValueError: If the file is damaged or has several channels; the message names it.
    """
    stored = read_channels(path, num_channels=1, max_pixels=max_pixels)[..., 0]
    if rotated_bits:
        if stored.dtype != np.uint16:
            raise ValueError(f'{path} has values of type {stored.dtype}; rotated_bits is for PNG of 16 bits.')
        stored = stored >> rotated_bits | stored << (16 - rotated_bits)
    depth = stored.astype(np.float32) * np.float32(unit)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def depth_size(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Size:
    """Rows and columns that `read_depth` gives; of PNG, ``.npy`` and most TIFF only the header is read.

    Raises:
        ValueError: As in `read_depth`.
    """
    with naming(path):
        announce(path)
    if str(path).endswith('.npy'):
        with suppress(ValueError):  # damaged, which is told below
            shape = np.lib.format.open_memmap(path, mode='r').shape
            if len(shape) == 2:
                return shape
    else:
        with suppress(UnknownFormatError):
            return image_size(path, max_pixels)
    return read_channels(path, num_channels=1, max_pixels=max_pixels).shape[:2]


def refuse_other_size(
    path: str | os.PathLike, size: Sequence[int], image: str | os.PathLike, size_of_image: Sequence[int]
) -> None:
    """Raise a ValueError if rows and columns of a depth and of its image differ."""
    if tuple(size) != tuple(size_of_image):
        raise ValueError(
            f'Depth {path} has {size[1]}x{size[0]} pixels, its image {image} has {size_of_image[1]}x'
            f'{size_of_image[0]}. Resize the depth with nearest neighbours, or correct the pairs of files.'
        )


class LoadDepth(BaseTransform):
    """``depth_map_path`` -> ``gt_depth_map``, see `read_depth`.

    Steps of mmsegmentation after it cut, flip and rotate both. After ``Resize`` in a pipeline of tests, the prediction
    is compared at the size of the file.

    Args:
        unit: As in `read_depth`.
        rotated_bits: As in `read_depth`.

    Raises:
        ValueError: If the unit is not above 0; when called, if the depth has another size than the image's file, which
            a crop would shift against each other.
    """

    def __init__(self, unit: float = 0.001, rotated_bits: int = 0) -> None:
        if not unit > 0:
            raise ValueError(f'LoadDepth: unit={unit} must be above 0: the metres of a stored 1.')
        self.unit, self.rotated_bits = unit, rotated_bits

    def transform(self, results: dict) -> dict:
        """Add ``gt_depth_map`` to the fields that follow the image."""
        most = results.get('max_pixels', MAX_PIXELS)
        depth = read_depth(results['depth_map_path'], self.unit, self.rotated_bits, most)
        if 'ori_shape' in results:  # the image has been loaded
            refuse_other_size(results['depth_map_path'], depth.shape, results['img_path'], results['ori_shape'][:2])
        results['gt_depth_map'] = depth
        results['seg_fields'].append('gt_depth_map')
        return results


class KeepWindow(BaseTransform):
    """Keep a fixed part of image and depth: NYU without its white frame, or KITTI's lower middle.

    Args:
        rows: First row and the one after the last; negative numbers count from the bottom, None means the edge.
        columns: The same of the columns; or one number, the width of a window in the middle.
    """

    def __init__(
        self,
        rows: tuple[int | None, int | None] = (None, None),
        columns: tuple[int | None, int | None] | int = (None, None),
    ) -> None:
        self.rows, self.columns = rows, columns

    def transform(self, results: dict) -> dict:
        """Cut ``img`` and all fields that follow it."""
        start, stop = self.columns if not isinstance(self.columns, int) else (None, None)
        if isinstance(self.columns, int):
            start = max(0, (results['img'].shape[1] - self.columns) // 2)
            stop = start + self.columns
        for key in ('img', *results.get('seg_fields', ())):
            results[key] = np.ascontiguousarray(results[key][slice(*self.rows), start:stop])
        results['img_shape'] = results['img'].shape[:2]
        if 'gt_depth_map' in results.get('seg_fields', ()):
            results['ori_shape'] = results['img_shape']  # that of the prediction
        return results
