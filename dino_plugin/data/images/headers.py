"""Size and orientation of an image, read from the header of its file without decoding it."""

import io
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from PIL import Image

# A few kB can claim any size, and decoding takes memory and time for the claim: 30,000 x 30,000 pixels are 2.7 GB. This
# is where Pillow refuses a file, so Lightly's and torchvision's data sets have the same limit. It is a square of 13,377
# pixels, more than a camera gives; stitched panoramas and satellite scenes may need another.
MAX_PIXELS = 178_956_970
_BLOCK = 65536
_MOST_SEGMENTS = 10_000  # of a JPEG; real ones have a few dozen
_ORIENTATION = 0x0112
_COLUMNS, _ROWS, _TILE_COLUMNS, _TILE_ROWS = 256, 257, 322, 323  # tags of a TIFF
_QUARTER_TURNS = (5, 6, 7, 8)
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_LIMIT_LOCK = threading.RLock()

Read = Callable[[int, int], bytes]  # (position, number of bytes) -> bytes of the file, fewer at its end
Size = tuple[int, int]  # rows and columns


class UndecodableImageError(ValueError):
    """The bytes are not a whole image of a size that is allowed; the message says what is wrong with them."""


class UnknownFormatError(UndecodableImageError):
    """No header of an image that OpenCV or Pillow knows."""


def header_size(read: Read, file: io.BufferedIOBase, max_pixels: int, upright: bool = False) -> Size:
    """Rows and columns in the header of a file, compared with the limit.

    For JPEG, PNG, WebP, GIF and BMP, which OpenCV decodes, these are the fields that OpenCV reads. For other formats
    Pillow reads its header. ``read`` and ``file`` are two ways into the same bytes.

    Args:
        read: (position, number of bytes) -> bytes.
        file: The same as a file.
        max_pixels: Largest number of pixels.
        upright: The size after the turn of an EXIF orientation, as :func:`decode_image` makes it; else as stored.

    Raises:
        UndecodableImageError: If the header claims more than ``max_pixels``.
        UnknownFormatError: If no header can be read.
    """
    size = stored_size(read)
    if size is not None:
        _refuse_too_many(*size, max_pixels)
        orientation = _orientation(read) if upright else 1
    else:
        with open_with_pillow(file, max_pixels) as image:
            tags = getattr(image, 'tag_v2', {})  # of a TIFF, whose `size` is upright in some versions of Pillow
            columns, rows = (tags.get(tag, side) for tag, side in zip((_COLUMNS, _ROWS), image.size))
            size = rows, columns
            _refuse_too_many(*size, max_pixels)
            # A tiny TIFF may lie in one huge tile, which is decoded as a whole.
            _refuse_too_many(tags.get(_TILE_ROWS, 0), tags.get(_TILE_COLUMNS, 0), max_pixels)
            with_exif = upright and image.format != 'PNG'  # which Pillow would decode to find it
            orientation = image.getexif().get(_ORIENTATION, 1) if with_exif else 1
    return size[::-1] if orientation in _QUARTER_TURNS else size


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


def stored_size(read: Read) -> Size | None:
    """Rows and columns in the header of JPEG, PNG, WebP, GIF or BMP; None for other formats and damaged headers."""
    head = read(0, 32)
    try:
        if head.startswith(b'\xff\xd8'):
            frames = (start for kind, start, _ in jpeg_segments(read) if kind in _START_OF_FRAME)
            return next((_two(read(start, 5), '>xHH') for start in frames), None)
        if head.startswith(b'\x89PNG\r\n\x1a\n') and head[12:16] == b'IHDR':
            return _two(head[16:24], '>II')[::-1]
        if head.startswith((b'GIF87a', b'GIF89a')):
            return _two(head[6:10], '<HH')[::-1]
        if head.startswith(b'BM'):
            columns, rows = _two(head[18:22], '<HH') if head[14:18] == b'\x0c\0\0\0' else _two(head[18:26], '<ii')
            return (abs(rows), columns) if columns > 0 else None
        if head.startswith(b'RIFF') and head[8:12] == b'WEBP':
            return _webp_size(read)
    except struct.error:
        pass
    return None


def _two(data: bytes, layout: str) -> Size:
    first, second = struct.unpack(layout, data)
    return first, second


def _webp_size(read: Read) -> Size | None:
    for kind, start, _ in _webp_chunks(read):
        data = read(start, 10)
        if kind == b'VP8X':
            columns, rows = (1 + int.from_bytes(data[place : place + 3], 'little') for place in (4, 7))
            return rows, columns
        if kind == b'VP8L':
            (bits,) = struct.unpack('<xI', data[:5])
            return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
        if kind == b'VP8 ':
            columns, rows = _two(data[6:10], '<HH')
            return rows & 0x3FFF, columns & 0x3FFF
    return None


def jpeg_segments(read: Read) -> Iterator[tuple[int, int, int]]:
    """(marker, first byte after the length, number of bytes) of each segment up to the start of the scan, included."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        marker = read(position, 4)
        if len(marker) < 4:
            return
        if marker[0] != 0xFF or marker[1] in (0x00, 0xFF):  # fill bytes, or bytes that no marker begins
            block = read(position, _BLOCK)
            found = re.search(rb'\xff[\x01-\xfe]', block)
            position += found.start() if found else len(block) - 1
            continue
        if marker[1] in _WITHOUT_LENGTH:
            position += 2
            continue
        length = int.from_bytes(marker[2:], 'big')
        yield marker[1], position + 4, length - 2
        if marker[1] == 0xDA:
            return
        position += 2 + length


def _png_chunks(read: Read) -> Iterator[tuple[bytes, int, int]]:
    position = 8
    for _ in range(_MOST_SEGMENTS * 100):  # the pixels are in chunks of often 8 kB
        head = read(position, 8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], 'big')
        yield head[4:], position + 8, length
        position += 12 + length


def _webp_chunks(read: Read) -> Iterator[tuple[bytes, int, int]]:
    position = 12
    for _ in range(_MOST_SEGMENTS):
        head = read(position, 8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], 'little')
        yield head[:4], position + 8, length
        position += 8 + length + length % 2


def _orientation(read: Read) -> int:
    """The orientation in the EXIF data of JPEG, PNG and WebP, as OpenCV finds it."""
    head = read(0, 12)
    if head.startswith(b'\xff\xd8'):
        blocks = (
            (start + 6, length - 6)
            for kind, start, length in jpeg_segments(read)
            if kind == 0xE1 and read(start, 6) == b'Exif\0\0'
        )
    elif head.startswith(b'\x89PNG'):
        blocks = ((start, length) for kind, start, length in _png_chunks(read) if kind == b'eXIf')
    elif head.startswith(b'RIFF'):
        blocks = ((start, length) for kind, start, length in _webp_chunks(read) if kind == b'EXIF')
    else:
        return 1
    for start, length in blocks:
        found = _exif_orientation(read(start, min(max(length, 0), _BLOCK)))
        if found is not None:
            return found
    return 1


def _exif_orientation(exif: bytes) -> int | None:
    """The orientation in EXIF data without their prefix; 1 without one, None if these are no EXIF data."""
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(exif[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f'{order}I', exif, 4)
        (number,) = struct.unpack_from(f'{order}H', exif, start)
        for entry in range(start + 2, start + 2 + 12 * number, 12):
            tag, value = struct.unpack_from(f'{order}H6xH', exif, entry)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def read_from(data: bytes) -> tuple[Read, io.BufferedIOBase]:
    """The two ways into bytes in memory that :func:`header_size` takes."""
    return (lambda start, number: data[start : start + number]), io.BytesIO(data)
