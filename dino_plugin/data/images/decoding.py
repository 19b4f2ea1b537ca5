"""Image files -> RGB uint8 pixels, or an error that says what is wrong with the file."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import cv2
import numpy as np
from jaxtyping import UInt8
from mmengine import fileio
from PIL import ImageOps

from dino_plugin.data.images.file_structure import Size, jpeg_segments
from dino_plugin.data.images.headers import (
    MAX_PIXELS,
    UndecodableImageError,
    UnknownFormatError,
    header_size,
    open_with_pillow,
    read_from,
)
from dino_plugin.data.images.pillow_images import OR_CHANNELS, as_rgb
from dino_plugin.data.images.user_files import announce

TIFF_SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
AVIF_SIGNATURES = (b'ftypavif', b'ftypavis')
# Of rows and columns, and OpenCV's flags, which go with grey and RGB alike. The transform of JPEG's blocks of 8 x 8 has
# smaller forms; OpenCV reduces other formats after it has decoded them whole.
JPEG_REDUCTIONS = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def read_image(
    path: str | os.PathLike, backend_args: dict | None = None, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, 'rows columns 3']:
    """The RGB pixels of an image file, as :func:`decode_image` gives them.

    Args:
        path: The file.
        backend_args: For ``mmengine.fileio``, where the file is not on a local disk.
        max_pixels: As in :func:`decode_image`.

    Raises:
        UndecodableImageError: As in :func:`decode_image`, or if it is not a regular file; the message names the file.
    """
    with naming(path):
        announce(path)
        return decode_image(fileio.get(path, backend_args=backend_args), max_pixels)


def image_size(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Rows and columns that :func:`read_image` gives, after the turn of an EXIF orientation; only the header is read.

    Args:
        path: A file on a local disk.
        max_pixels: As in :func:`decode_image`.

    Raises:
        UndecodableImageError: If the file is not an image, or claims more pixels; the message names it.
    """
    return check_header(path, max_pixels, upright=True)


def check_header(path: str | os.PathLike, max_pixels: int = MAX_PIXELS, upright: bool = False) -> Size:
    """Rows and columns, as stored or upright, see :func:`~dino_plugin.data.images.headers.header_size`.

    Raises:
        UndecodableImageError: As in :func:`image_size`.
    """
    with naming(path):
        announce(path)
        with open(path, 'rb') as file:
            try:
                return header_size(partial(_read_at, file.fileno()), file, max_pixels, upright)
            except UnknownFormatError as error:
                raise UnknownFormatError(f'not an image that can be read: {error}. Copy it again') from error


def check_files(info: dict, max_pixels: int = MAX_PIXELS) -> dict:
    """Call it before any reader loads the files of a sample: mmcv's, torchvision's or one of a user's own.

    Args:
        info: A sample; ``img_path`` and ``seg_map_path`` are looked at. Files that are missing or in a format of
            neither OpenCV nor Pillow are left to the reader.
        max_pixels: As in :func:`decode_image`.

    Returns:
        The sample itself.

    Raises:
        UndecodableImageError: If a file is not a regular file, or claims more pixels; the message names it.
    """
    for key in ('img_path', 'seg_map_path'):
        if isinstance(info.get(key), (str, os.PathLike)):
            with suppress(UnknownFormatError, FileNotFoundError):
                check_header(info[key], max_pixels)
    return info


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Put the file's name before the message of an UndecodableImageError."""
    try:
        yield
    except UndecodableImageError as error:
        raise type(error)(f'{path}: {error}') from error


def _read_at(descriptor: int, start: int, number: int) -> bytes:
    return os.pread(descriptor, number, start)


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, 'rows columns 3']:
    """Decode the bytes of an image file to RGB.

    OpenCV decodes most files. Pillow decodes TIFF, whose alpha OpenCV multiplies into the colours, AVIF, which OpenCV
    does not turn, and what OpenCV refuses. The content decides, not the file name, and any format that one of the two
    knows is accepted, but not EPS, which is a program. What becomes of each kind of image:

    - Greyscale, 1 bit, 2 bits, 4 bits: three equal channels over the full range, black 0 and white 255.
    - Palette: the colours of the palette. A palette entry's transparency is dropped.
    - Alpha (RGBA, grey with alpha, a transparent colour): dropped. The stored colours stay, those of fully
      transparent pixels too; nothing is blended with a background.
    - CMYK and YCCK JPEG: R = (255 - C)(255 - K) / 255 and so on, within one grey level; no colour profile is applied.
    - 16 bits a channel (PNG, TIFF; grey or colour): the high byte, ``value >> 8``. A 12-bit camera image stored in
      16 bits therefore arrives dark.
    - EXIF or TIFF orientation: applied, so rows and columns are those of the upright picture.
    - Several frames (animated WebP, GIF, multi-page TIFF): the first.
    - 32-bit integer or float TIFF: refused, since its range is not known.

    A file that ends too early is refused, although decoders may fill the missing half with grey. Bytes after the end of
    an image are ignored. Damage in the middle of compressed data may look like an unusual picture: where the decoder
    reports no error, its pixels are returned.

    Args:
        data: The whole file.
        max_pixels: Largest number of pixels, rows times columns, that a header may claim. It is compared before
            anything is decoded.

    Returns:
        A new, writable, contiguous array.

    Raises:
        UndecodableImageError: If the data are empty, truncated, no image, an image of a kind that is refused above, or
            claim too many pixels.
    """
    refuse_incomplete(data)
    try:
        header_size(*read_from(data), max_pixels)
    except UnknownFormatError as error:
        if data.startswith(TIFF_SIGNATURES):
            raise UnknownFormatError(f'{error}: repair it{OR_CHANNELS}') from error
        raise
    return decode_checked(data, max_pixels)


def decode_checked(data: bytes, max_pixels: int, jpeg_reduction: int = 1) -> UInt8[np.ndarray, 'rows columns 3']:
    """What :func:`decode_image` does after its checks of size and completeness.

    Args:
        data: The whole file.
        max_pixels: As in :func:`decode_image`.
        jpeg_reduction: 1, 2, 4 or 8: rows and columns of a JPEG file are divided by it while it is decoded, and rounded
            up. A file that OpenCV refuses and Pillow reads is whole.

    Raises:
        UndecodableImageError: If no decoder can read it.
    """
    for_pillow = data.startswith(TIFF_SIGNATURES) or data[4:12] in AVIF_SIGNATURES
    image = None if for_pillow else _decode_with_opencv(data, jpeg_reduction)
    return _decode_with_pillow(data, max_pixels) if image is None else image


def refuse_incomplete(data: bytes) -> None:
    """Raise if the bytes cannot be a whole file; a few of them are enough to see that."""
    if not data:
        raise UndecodableImageError('the file is empty (0 bytes)')
    head = data[:256].lstrip().lower()
    if head.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise UndecodableImageError('the file is an HTML or XML page, not an image (a failed download?)')
    if head.startswith(b'version https://git-lfs'):
        raise UndecodableImageError('the file is a Git LFS pointer, not an image (run `git lfs pull`)')
    if data.startswith(b'\xff\xd8'):
        complete = _has_jpeg_end(data)
    elif data.startswith(b'\x89PNG'):
        complete = data.rfind(b'IEND') > 0
    elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        complete = len(data) >= 8 + int.from_bytes(data[4:8], 'little')
    else:
        complete = True  # the decoders themselves notice where other formats end too early
    if not complete:
        raise UndecodableImageError(f'the file is truncated: its {len(data)} bytes stop before the end of the image')


def _has_jpeg_end(data: bytes) -> bool:
    """Whether an end-of-image marker follows the start of the scan.

    The headers are skipped: a thumbnail in them is a whole JPEG with its own end marker. Inside the scan the two bytes
    cannot occur, since JPEG escapes them.
    """
    read, _ = read_from(data)
    scan = next((start for kind, start, _ in jpeg_segments(read) if kind == 0xDA), None)
    return scan is not None and data.rfind(b'\xff\xd9', scan) >= 0


def _decode_with_opencv(data: bytes, reduction: int) -> UInt8[np.ndarray, 'rows columns 3'] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | JPEG_REDUCTIONS.get(reduction, 0))
    except cv2.error:  # raised instead of None when the header promises too many pixels
        return None


def _decode_with_pillow(data: bytes, max_pixels: int) -> UInt8[np.ndarray, 'rows columns 3']:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            with open_with_pillow(io.BytesIO(data), max_pixels) as file:
                image = ImageOps.exif_transpose(file)
                return np.array(as_rgb(image))
    except (UndecodableImageError, MemoryError):
        raise
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, zlib.error, EOFError …
        raise UndecodableImageError(f'no decoder can read it: {error} (first bytes: {data[:8]!r})') from error
