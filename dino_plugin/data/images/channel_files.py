"""Files of any number of channels -> their numbers as stored: TIFF, .npy, and what OpenCV reads."""

import io
import math
import os
from collections.abc import Sequence

import cv2
import numpy as np
import tifffile
from jaxtyping import Shaped
from mmengine import fileio

from dino_plugin.data.images.decoding import TIFF_SIGNATURES, refuse_incomplete
from dino_plugin.data.images.headers import MAX_PIXELS, UndecodableImageError, header_size, read_from
from dino_plugin.data.images.user_files import announce

Stored = Shaped[np.ndarray, 'rows columns channels']
NPY_SIGNATURE = b'\x93NUMPY'
KINDS = 'uif'  # unsigned, signed, float
MOST_PAGES = 10_000
MASK = 4  # a kind of page of TIFF that says which pixels are valid
CODECS = "pip install 'dino_plugin[channels]' for imagecodecs, which reads it, or rewrite the file without compression"


def read_channels(
    path: str | os.PathLike,
    num_channels: int,
    channel_axis: int | None = None,
    backend_args: dict | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Stored:
    """The numbers of an image file as stored, in their own type.

    - TIFF: the first series of pages. Channels may be samples of a pixel, planes, or pages. Orientation is applied, and
      black is made zero where white was. Smaller pages, such as overviews, and masks are left out.
    - ``.npy``: an array. Nothing in it can run code.
    - Everything else (PNG, JPEG …): grey or RGB with 8 or 16 bits, upright; alpha is dropped.

    The content decides, not the file name.

    Args:
        path: The file.
        num_channels: Channels that every file has. The axis of this length is that of the channels, if it is the first
            or the last one.
        channel_axis: 0 or -1, where both axes have this length.
        backend_args: For ``mmengine.fileio``, where the file is not on a local disk.
        max_pixels: Largest number of pixels, rows times columns, that a header may claim.

    Raises:
        UndecodableImageError: If the file is damaged, of a kind that cannot be read, no regular file, or claims too
            much; the message names it.
        ValueError: If it has other channels; the message names it.
    """
    try:
        announce(path)
        array = decode_channels(fileio.get(path, backend_args=backend_args), max_pixels, num_channels)
        return _channels_last(array, num_channels, channel_axis)
    except ValueError as error:
        raise type(error)(f'{path}: {error}') from error


def decode_channels(data: bytes, max_pixels: int, num_channels: int) -> Shaped[np.ndarray, '...']:
    """The array in the bytes of a file, with its axes as stored, if its header claims no more than this.

    Raises:
        UndecodableImageError: As for :func:`read_channels`.
    """
    refuse_incomplete(data)
    if data.startswith(NPY_SIGNATURE):
        array = _decode_npy(data, max_pixels * num_channels)
    elif data.startswith(TIFF_SIGNATURES):
        array = _decode_tiff(data, max_pixels * num_channels)
    else:
        header_size(*read_from(data), max_pixels)
        array = _decode_with_opencv(data)
    if array.dtype.kind not in KINDS:
        raise UndecodableImageError(f'values of type {array.dtype}: expected whole numbers or floats')
    if array.size == 0:
        raise UndecodableImageError(f'an array of shape {array.shape} has no pixels')
    return array


def _refuse_too_much(shape: Sequence[int], most: int) -> None:
    if math.prod(shape) > most:
        raise UndecodableImageError(
            f'its header claims {math.prod(shape):,} numbers of shape {tuple(shape)}, and {most:,} are allowed: remove '
            'the file or make the image smaller; if it is genuine, raise max_pixels of the data set'
        )


def _decode_npy(data: bytes, most: int) -> Shaped[np.ndarray, '...']:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read_header(stream)
    except Exception as error:  # of the parsers of the header, of many kinds
        raise UndecodableImageError(f'a damaged .npy file: {error}') from error
    if dtype.hasobject:
        raise UndecodableImageError('the array holds Python objects, whose loading could run code: save numbers')
    _refuse_too_much(shape, most)
    claimed, there = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if min(shape, default=1) < 0 or claimed > there:
        raise UndecodableImageError(f'the file is truncated: an array of shape {shape} and {there} bytes of values')
    order = 'F' if by_columns else 'C'
    return np.frombuffer(data, dtype, math.prod(shape), stream.tell()).reshape(shape, order=order)


def _decode_tiff(data: bytes, most: int) -> Shaped[np.ndarray, '...']:
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            _refuse_endless_pages(file)
            series = file.series[0]
            page = series.keyframe
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                raise UndecodableImageError('its numbers are places in a palette of colours: use dino_plugin.LoadImage')
            for shape in (series.shape, page.chunks):  # a small image may lie in one huge tile
                _refuse_too_much(shape, most)
            for other in file.series[1:]:
                size = [other.keyframe.imagelength, other.keyframe.imagewidth]
                if size == [page.imagelength, page.imagewidth] and not other.keyframe.subfiletype & MASK:
                    raise UndecodableImageError(
                        f'pages of two kinds, {series.shape} and {other.shape}: write them alike'
                    )
            array = series.asarray()
            if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind == 'u':
                array = (2**page.bitspersample - 1 - array).astype(array.dtype)
            tag = page.tags.get('Orientation')
            return _upright(array, int(tag.value) if tag else 1, series.axes)
    except (UndecodableImageError, MemoryError):
        raise
    except Exception as error:  # tifffile raises errors of many kinds
        cure = f': {CODECS}' if 'imagecodecs' in str(error) else ''
        raise UndecodableImageError(f'tifffile cannot read it: {error}{cure}') from error


def _refuse_endless_pages(file: tifffile.TiffFile) -> None:
    """Each page says where the next one is: in a circle tifffile would follow them for ever."""
    places = set()
    for page in file.pages:
        if page.offset in places or len(places) == MOST_PAGES:
            raise UndecodableImageError(f'its pages form a circle, or are more than {MOST_PAGES:,}')
        places.add(page.offset)


def _upright(array: Shaped[np.ndarray, '...'], orientation: int, axes: str) -> Shaped[np.ndarray, '...']:
    rows, columns = axes.index('Y'), axes.index('X')
    if orientation >= 5:
        array = array.swapaxes(rows, columns)
    if orientation in (3, 4, 7, 8):
        array = np.flip(array, rows)
    return np.flip(array, columns) if orientation in (2, 3, 6, 7) else array


def _decode_with_opencv(data: bytes) -> Shaped[np.ndarray, '...']:
    try:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error as error:
        raise UndecodableImageError(f'OpenCV cannot read it: {error}') from error
    if array is None:
        raise UndecodableImageError(f'neither a TIFF nor a .npy file, nor one that OpenCV reads ({data[:8]!r} …)')
    return array if array.ndim == 2 else cv2.cvtColor(array, cv2.COLOR_BGR2RGB)


def _channels_last(array: Shaped[np.ndarray, '...'], num_channels: int, channel_axis: int | None) -> Stored:
    found = f'values of shape {array.shape}'
    if array.ndim == 2:
        array, channel_axis = array[..., None], -1
    if array.ndim != 3:
        raise ValueError(f'{found}: expected rows, columns and channels. Save each plane or time as a file of its own.')
    fitting = [axis for axis in (0, -1) if array.shape[axis] == num_channels and channel_axis in (None, axis)]
    if not fitting:
        of_axis = '' if channel_axis is None else f' on axis {channel_axis}'
        raise ValueError(f'{found}: expected {num_channels} channels{of_axis}. Set num_channels to those of the files.')
    if len(fitting) == 2:
        raise ValueError(f'{found}: two axes fit {num_channels} channels. Set channel_axis=0 (first) or -1 (last).')
    return np.moveaxis(array, fitting[0], -1)
