"""A JPEG file whose pixels wait until the boxes of its views are drawn: a photograph is then decoded smaller."""

import os
from typing import NoReturn

import numpy as np
from jaxtyping import UInt8
from mmengine import fileio

from dino_plugin.data.images.decoding import JPEG_REDUCTIONS, decode_checked, decode_image, naming, refuse_incomplete
from dino_plugin.data.images.headers import MAX_PIXELS, UndecodableImageError, header_size, read_from
from dino_plugin.data.images.orientation import exif_orientation
from dino_plugin.data.images.user_files import announce

Rgb8 = UInt8[np.ndarray, 'rows columns 3']


class LazyImage:
    """The bytes of a JPEG file; its size is known, and its pixels come at 1/1, 1/2, 1/4 or 1/8 of it.

    Args:
        data: The whole file.
        least_reduction: How many times every view has to be smaller than its box after decoding, 1 or more. The larger
            it is, the closer the views are to those of the whole image.
        path: The file, for messages.
        max_pixels: As in :func:`~dino_plugin.data.images.decoding.decode_image`.

    Attributes:
        size: Rows and columns of the upright picture, decoded whole.

    Raises:
        UndecodableImageError: If the data are truncated, have no header, or claim too many pixels.
    """

    def __init__(
        self, data: bytes, least_reduction: float, path: str | os.PathLike = '', max_pixels: int = MAX_PIXELS
    ) -> None:
        refuse_incomplete(data)
        read, file = read_from(data)
        self.size = header_size(read, file, max_pixels, upright=True)
        self._read = read
        self._least_reduction, self._data, self._path, self._max_pixels = least_reduction, data, path, max_pixels

    def decode(self, reduction_of_views: float = 1) -> tuple[Rgb8, int]:
        """The pixels, and by which number rows and columns are divided: 1, 2, 4 or 8.

        It is the largest number that leaves every view ``least_reduction`` times smaller than its box. Pixel ``i``
        shows the pixels from ``number * i`` on; the last one of a row or column may be incomplete. If an EXIF
        orientation turns or mirrors the image, that one would come first, so there the number divides the sides.

        Args:
            reduction_of_views: How many times a view is smaller than its box in the whole image; the least of all.

        Raises:
            UndecodableImageError: As :func:`~dino_plugin.data.images.decoding.decode_image`, with the file's name.
        """
        allowed = (by for by in JPEG_REDUCTIONS if reduction_of_views / by >= self._least_reduction and self._fits(by))
        reduction = max(allowed, default=1)
        with naming(self._path):
            image = decode_checked(self._data, self._max_pixels, reduction)
            for by in (reduction, 1):  # whole where OpenCV refuses a file and Pillow does not
                if image.shape[:2] == tuple(-(-side // by) for side in self.size):
                    return image, by
            raise UndecodableImageError(f'its header says {self.size}, but it has {image.shape[:2]} rows and columns')

    def _fits(self, reduction: int) -> bool:
        return not any(side % reduction for side in self.size) or exif_orientation(self._read) == 1

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(_NOT_DECODED)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f'{name}: {_NOT_DECODED}')


_NOT_DECODED = (
    'this image is not decoded yet, since dino_plugin.LoadImage has least_reduction: put dino_plugin.MultiCrop right '
    'after it, or leave least_reduction out for steps of other packages between the two'
)


def read_lazily(
    path: str | os.PathLike,
    least_reduction: float,
    backend_args: dict | None = None,
    max_pixels: int = MAX_PIXELS,
) -> LazyImage | Rgb8:
    """A JPEG file as a :class:`LazyImage`; every other one decoded, since its format has no smaller scales.

    Args:
        path: The file.
        least_reduction: As in :class:`LazyImage`.
        backend_args: For ``mmengine.fileio``, where the file is not on a local disk.
        max_pixels: As in :func:`~dino_plugin.data.images.decoding.decode_image`.

    Raises:
        UndecodableImageError: As in :func:`~dino_plugin.data.images.decoding.read_image`.
    """
    with naming(path):
        announce(path)
        data = fileio.get(path, backend_args=backend_args)
        if data.startswith(b'\xff\xd8'):
            return LazyImage(data, least_reduction, path, max_pixels)
        return decode_image(data, max_pixels)
