"""Size and orientation of an image, read from the header of its file without decoding it."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from dino_plugin.data.images.file_structure import Read, Size, png_is_whole, stored_size
from dino_plugin.data.images.orientation import ORIENTATION, QUARTER_TURNS, exif_orientation

# A few kB can claim any size, and decoding takes memory and time for the claim: 30,000 x 30,000 pixels are 2.7 GB. This
# is where Pillow refuses a file, so Lightly's and torchvision's data sets have the same limit. It is a square of 13,377
# pixels, more than a camera gives; stitched panoramas and satellite scenes may need another.
MAX_PIXELS = 178_956_970
_COLUMNS, _ROWS, _TILE_COLUMNS, _TILE_ROWS = 256, 257, 322, 323  # tags of a TIFF
_LIMIT_LOCK = threading.RLock()


class UndecodableImageError(ValueError):
    """The bytes are not a whole image of a size that is allowed; the message says what is wrong with them."""


class UnknownFormatError(UndecodableImageError):
    """No header of an image that OpenCV or Pillow knows."""


def header_size(read: Read, file: io.BufferedIOBase, max_pixels: int, upright: bool = False) -> Size:
    """Rows and columns in the header of a file, compared with the limit.

    For JPEG, PNG, WebP, BMP, Radiance HDR and PAM, which OpenCV decodes, these are the fields that OpenCV reads. For
    other formats Pillow reads its header. ``read`` and ``file`` are two ways into the same bytes.

    Args:
        read: (position, number of bytes) -> bytes.
        file: The same as a file.
        max_pixels: Largest number of pixels.
        upright: The size after the turn of an EXIF orientation, as :func:`decode_image` makes it; else as stored.

    Raises:
        UndecodableImageError: If the header claims more than ``max_pixels``, or a chunk of a PNG more bytes than there
            are.
        UnknownFormatError: If no header can be read.
    """
    size = stored_size(read)
    if size is not None:
        _refuse_too_many(*size, max_pixels)
        if read(0, 4) == b'\x89PNG' and not png_is_whole(read):  # OpenCV would take up to 2 GB for what a chunk claims
            raise UndecodableImageError('the file is truncated: it stops before the end of one of its chunks')
        orientation = exif_orientation(read) if upright else 1
    else:
        with open_with_pillow(file, max_pixels) as image:
            tags = getattr(image, 'tag_v2', {})  # of a TIFF, whose `size` is upright in some versions of Pillow
            columns, rows = (tags.get(tag, side) for tag, side in zip((_COLUMNS, _ROWS), image.size))
            size = rows, columns
            _refuse_too_many(*size, max_pixels)
            # A tiny TIFF may lie in one huge tile, which is decoded as a whole.
            _refuse_too_many(tags.get(_TILE_ROWS, 0), tags.get(_TILE_COLUMNS, 0), max_pixels)
            with_exif = upright and image.format != 'PNG'  # which Pillow would decode to find it
            orientation = image.getexif().get(ORIENTATION, 1) if with_exif else 1
    return size[::-1] if orientation in QUARTER_TURNS else size


def _refuse_too_many(rows: int, columns: int, max_pixels: int) -> None:
    if rows * columns > max_pixels:
        raise UndecodableImageError(
            f'its header claims {columns} x {rows} pixels, {rows * columns:,} in all, and max_pixels={max_pixels:,} '
            'are allowed: remove the file or make the image smaller; if it is genuine, raise max_pixels of the data set'
        )


@contextmanager
def open_with_pillow(file: io.BufferedIOBase, max_pixels: int) -> Iterator[Image.Image]:
    """Pillow's image, whose pixels are not read yet; formats that need another program are not tried.

    Args:
        file: The whole file.
        max_pixels: Pillow's own limit inside the ``with`` block, also for an image inside the file, as in ICO.

    Raises:
        UndecodableImageError: If the file claims more pixels.
        UnknownFormatError: If Pillow does not know the format, or the header is damaged.
    """
    Image.init()
    formats = sorted(set(Image.OPEN) - {'EPS', 'WMF'})  # EPS is a program, which Ghostscript would run
    with _pillow_limit(max_pixels):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # about metadata; what matters is raised
                image = Image.open(file, formats=formats)
        except MemoryError:
            raise
        except Image.DecompressionBombError as error:
            raise UndecodableImageError(f'max_pixels={max_pixels:,} are allowed: {error}') from error
        except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, zlib.error …
            file.seek(0)
            raise UnknownFormatError(f'no decoder can read it: {error} (first bytes: {file.read(8)!r})') from error
        with image:
            yield image


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's limit is a global variable: one thread at a time may use another than usual."""
    half = (max_pixels + 1) // 2  # Pillow refuses twice the number
    if half == Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _LIMIT_LOCK:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, half
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def read_from(data: bytes) -> tuple[Read, io.BufferedIOBase]:
    """The two ways into bytes in memory that :func:`header_size` takes."""
    return (lambda start, number: data[start : start + number]), io.BytesIO(data)
