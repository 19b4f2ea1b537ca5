"""Sizes and segments in the bytes of JPEG, PNG, WebP, BMP and some others, found without reading the whole file."""

import math
import re
import struct
from collections.abc import Callable, Iterator

_BLOCK = 65536
_MOST_SEGMENTS = 10_000  # of a JPEG; real ones have a few dozen
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}

Read = Callable[[int, int], bytes]  # (position, number of bytes) -> bytes of the file, fewer at its end
Size = tuple[int, int]  # rows and columns


def stored_size(read: Read) -> Size | None:
    """Rows and columns in the header of a format that OpenCV decodes; None for others and for damaged headers."""
    try:
        size = _size(read, read(0, 32))
    except struct.error:
        return None
    return size if size is not None and min(size) > 0 else None


def _size(read: Read, head: bytes) -> Size | None:
    if head.startswith(b'\xff\xd8'):
        frames = (start for kind, start, _ in jpeg_segments(read) if kind in _START_OF_FRAME)
        return next((_two(read(start, 5), '>xHH') for start in frames), None)
    if head.startswith(b'\x89PNG\r\n\x1a\n') and head[12:16] == b'IHDR':
        return _two(head[16:24], '>II')[::-1]
    if head.startswith(b'BM'):
        columns, rows = _two(head[18:22], '<HH') if head[14:18] == b'\x0c\0\0\0' else _two(head[18:26], '<ii')
        return abs(rows), columns
    if head.startswith(b'RIFF') and head[8:12] == b'WEBP':
        return _webp_size(read)
    if head.startswith((b'#?', b'P7')):
        return _size_in_text(read(0, _BLOCK))
    return None


def _size_in_text(head: bytes) -> Size | None:
    """Of Radiance HDR and PAM, which Pillow does not know; the largest, if a header claims several sizes."""
    sizes = [(int(rows), int(columns)) for rows, columns in re.findall(rb'-Y\s+(\d{1,9})\s+\+X\s+(\d{1,9})', head)]
    rows, columns = (re.findall(rb'%s\s+(\d{1,9})\s' % name, head) for name in (b'HEIGHT', b'WIDTH'))
    if rows and columns:
        sizes.append((max(map(int, rows)), max(map(int, columns))))
    return max(sizes, key=math.prod, default=None)


def _two(data: bytes, layout: str) -> Size:
    first, second = struct.unpack(layout, data)
    return first, second


def _webp_size(read: Read) -> Size | None:
    for kind, start, _ in webp_chunks(read):
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


def png_chunks(read: Read) -> Iterator[tuple[bytes, int, int]]:
    """(name, first byte, number of bytes) of each chunk; the lengths are as the file claims them."""
    position = 8
    for _ in range(100 * _MOST_SEGMENTS):  # the pixels are in chunks of often 8 kB
        head = read(position, 8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], 'big')
        yield head[4:], position + 8, length
        position += 12 + length


def png_is_whole(read: Read) -> bool:
    """Whether every chunk up to the last one lies inside the file."""
    for kind, start, length in png_chunks(read):
        if kind == b'IEND':
            return True
        if not read(start + length + 3, 1):  # the last byte of its check sum
            return False
    return False


def webp_chunks(read: Read) -> Iterator[tuple[bytes, int, int]]:
    """(name, first byte, number of bytes) of each chunk that lies inside the length that the file claims."""
    position, end = 12, 8 + int.from_bytes(read(4, 4), 'little')
    for _ in range(_MOST_SEGMENTS):
        head = read(position, 8)
        length = int.from_bytes(head[4:], 'little')
        if len(head) < 8 or position + 8 + length > end:
            return
        yield head[:4], position + 8, length
        position += 8 + length + length % 2
