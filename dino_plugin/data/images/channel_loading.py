"""The step of a pipeline that loads images of any number of channels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from mmcv.transforms import BaseTransform

from dino_plugin.data.images.channel_files import read_channels
from dino_plugin.data.images.channel_levels import ValueRange
from dino_plugin.data.images.headers import MAX_PIXELS

AS_STORED = 'as_stored'  # channel_order of such images


class LoadChannels(BaseTransform):
    """``img_path`` -> ``img``, float32 levels in [0, 255] of any number of channels, of TIFF, ``.npy``, PNG and others.

    For satellites, microscopes and medicine; :class:`~dino_plugin.data.mmcv_transforms.LoadImage` is for ordinary
    pictures. :func:`~dino_plugin.data.images.channel_files.read_channels` says which files are read, and
    :class:`~dino_plugin.data.images.channel_levels.ValueRange` how their numbers become levels.

    Sets ``img``, ``channel_order='as_stored'``, ``img_shape`` and ``ori_shape``. ``max_pixels`` of the data set is the
    largest number of pixels. Numbers that are ``nodata`` have level 0.

    Args:
        num_channels: Channels that every file has.
        channel_axis: 0 or -1, where a file does not tell its channels from its rows or columns.
        keep: The channels to keep, counted from 0, in the order that the network sees. None: all.
        backend_args: For ``mmengine.fileio``, if the files are not on a local disk.
        **value_range: The arguments of :class:`ValueRange`: ``bits``, ``value_range``, ``percentiles``, ``nodata``.

    Raises:
        UndecodableImageError: When called, with the path, if the file is damaged.
        ValueError: If an argument is not possible; when called, with the path, if the file does not fit them.
    """

    def __init__(
        self,
        num_channels: int,
        channel_axis: int | None = None,
        keep: Sequence[int] | None = None,
        backend_args: dict | None = None,
        **value_range: Any,
    ) -> None:
        if num_channels < 1 or channel_axis not in (None, 0, -1):
            raise ValueError(
                'LoadChannels: num_channels is 1 or more, and channel_axis is 0, -1 or None; '
                f'got {num_channels} and {channel_axis}'
            )
        self.keep = list(range(num_channels) if keep is None else keep)
        if not self.keep or not set(self.keep) <= set(range(num_channels)):
            raise ValueError(f'LoadChannels: keep names channels 0 to {num_channels - 1}, got {keep}')
        self.num_channels = num_channels
        self.channel_axis = channel_axis
        self.backend_args = backend_args
        self.value_range = ValueRange(**value_range)

    def numbers(self, results: dict) -> Float[np.ndarray, 'rows columns channels']:
        """The numbers of the file before scaling, with NaN for what is ``nodata``."""
        return self._of(results, self.value_range.numbers)

    def levels(self, results: dict) -> Float32[np.ndarray, 'rows columns channels']:
        """The levels in [0, 255], with NaN for what is ``nodata``."""
        return self._of(results, self.value_range)

    def transform(self, results: dict) -> dict:
        """Add the image to ``results``."""
        image = np.nan_to_num(self.levels(results), copy=False, nan=0.0)
        size = image.shape[:2]
        results.update(img=image, channel_order=AS_STORED, img_shape=size, ori_shape=size)
        return results

    def _of(
        self, results: dict, function: Callable[[np.ndarray], np.ndarray]
    ) -> Float[np.ndarray, 'rows columns channels']:
        """What a function makes of the stored numbers of the channels to keep; its errors name the file."""
        if 'img_path' not in results:
            raise ValueError("LoadChannels: the sample has no 'img_path': the dataset gives it, as ImageDataset does")
        most = results.get('max_pixels', MAX_PIXELS)
        stored = read_channels(results['img_path'], self.num_channels, self.channel_axis, self.backend_args, most)
        kept = stored if self.keep == list(range(self.num_channels)) else stored[..., self.keep]
        try:
            return function(kept)
        except ValueError as error:
            raise type(error)(f'{results["img_path"]}: {error}') from error
