"""The EXIF orientation of JPEG, PNG and WebP, by the rules of OpenCV, which decodes them."""

import struct
import zlib
from collections.abc import Iterator

from dino_plugin.data.images.file_structure import Read, jpeg_segments, png_chunks, webp_chunks

ORIENTATION = 0x0112
QUARTER_TURNS = (5, 6, 7, 8)
_MOST_BYTES = 2**20
_HAS_EXIF = 0x08  # a flag of an extended WebP


def exif_orientation(read: Read) -> int:
    """1 to 8; 1 is upright, and stands for files without one, too."""
    for exif in _exif_blocks(read, read(0, 32)):
        found = _orientation_in(exif)
        if found is not None:
            return found
    return 1


def _exif_blocks(read: Read, head: bytes) -> Iterator[bytes]:
    """EXIF data without their prefix; what is longer than the limit of a JPEG is cut."""
    if head.startswith(b'\xff\xd8'):
        for kind, start, length in jpeg_segments(read):
            if kind == 0xE1 and read(start, 6) == b'Exif\0\0':
                yield read(start + 6, max(length - 6, 0))
    elif head.startswith(b'\x89PNG'):
        for kind, start, length in png_chunks(read):
            if kind == b'eXIf':
                content = read(start, min(length, _MOST_BYTES))
                if zlib.crc32(kind + content).to_bytes(4, 'big') == read(start + length, 4):
                    yield content
    elif head[8:16] == b'WEBPVP8X' and int.from_bytes(head[20:21], 'little') & _HAS_EXIF:
        for kind, start, length in webp_chunks(read):
            if kind == b'EXIF':
                yield read(start, min(length, _MOST_BYTES))


def _orientation_in(exif: bytes) -> int | None:
    """The orientation in EXIF data; 1 without one, None if these are no EXIF data."""
    order = '<' if exif.startswith(b'II') else '>'
    try:
        magic, start = struct.unpack_from(f'{order}HI', exif, 2)
        if magic != 42:
            return None
        (number,) = struct.unpack_from(f'{order}H', exif, start)
        for entry in range(start + 2, start + 2 + 12 * number, 12):
            tag, value = struct.unpack_from(f'{order}H6xH', exif, entry)
            if tag == ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
