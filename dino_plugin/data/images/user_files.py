"""What users name: folders, lists and files, with a message where one of them cannot be read."""

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.workers.reading_notes import write_note

_KINDS = {stat.S_IFIFO: 'a named pipe (FIFO)', stat.S_IFSOCK: 'a socket', stat.S_IFDIR: 'a folder',
          stat.S_IFCHR: 'a device', stat.S_IFBLK: 'a device'}  # fmt: skip
# UTF-32 first: its mark for little-endian begins like that of UTF-16.
MARKS = {
    b'\xff\xfe\0\0': 'utf-32', b'\0\0\xfe\xff': 'utf-32', b'\xff\xfe': 'utf-16', b'\xfe\xff': 'utf-16',
    b'\xef\xbb\xbf': 'utf-8-sig',
}  # fmt: skip


def announce(path: str | os.PathLike) -> None:
    """Call it before a file is opened: a worker notes what it reads, and only regular files are read.

    A named pipe would block for ever, a device may give bytes without end.

    Args:
        path: A file that may be missing, which the reader itself reports, or may lie elsewhere (``s3://...``).

    Raises:
        UndecodableImageError: If something else than a regular file lies there.
    """
    write_note(os.fspath(path))
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), 'of an unknown kind')
        raise UndecodableImageError(f'it is {kind}, not a regular file: remove it from the list or folder')


def expanded(path: Any, name: str = 'path') -> str:
    """The path with the home folder in place of a leading ``~``.

    Args:
        path: A file or folder.
        name: Of the option, for the message.

    Raises:
        TypeError: If it is not a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f'{name} is one path, got {path!r}. On the command line a comma makes a list: write a path with a comma '
            'into a config file.'
        )
    return os.path.expanduser(path)


def read_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Number and text of each line of a list that is not blank, without blanks at both ends.

    The list is UTF-8, or begins with a byte-order mark, as Windows' programs write it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, or not in UTF-8; the message names the line.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f'{path} is not a regular file: give a text file with one entry in each line.')
    data = Path(path).read_bytes()
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), 'utf-8')
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise ValueError(
            f'{path}, line {line}: byte 0x{data[error.start]:02x} is not {encoding.removesuffix("-sig").upper()}. '
            f'Save the list as UTF-8, for example: iconv -f LATIN1 -t UTF-8 {path} > NEW'
        ) from error
    if '\0' in text:
        line = text.count('\n', 0, text.index('\0')) + 1
        raise ValueError(f'{path}, line {line} has a zero byte, so this is no text in UTF-8. Save the list as UTF-8.')
    for number, entry in enumerate(io.StringIO(text, newline=None), start=1):
        if entry.strip():
            yield number, entry.strip()


def natural_key(name: str) -> tuple:
    """Sort by it to get 2.jpg before 10.jpg: numbers in names count as numbers."""
    parts = re.split(r'([0-9]+)', name)
    return [(part, 0) if place % 2 == 0 else ('', int(part)) for place, part in enumerate(parts)], name


def is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder or a link to one; False for links in a circle, where Python raises."""
    with suppress(OSError):
        return entry.is_dir()
    return False


def is_file(entry: os.DirEntry) -> bool:
    """Whether it is a regular file or a link to one; False for links in a circle, where Python raises."""
    with suppress(OSError):
        return entry.is_file()
    return False


def list_folder(folder: str | os.PathLike) -> list[os.DirEntry]:
    """The entries of a folder, sorted by name; names that begin with a dot are left out.

    Raises:
        PermissionError: If the folder cannot be read, with the cure.
    """
    try:
        with os.scandir(os.fspath(folder)) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith('.')), key=lambda entry: entry.name)
    except PermissionError as error:
        raise PermissionError(
            f'The folder {folder} cannot be read: {error.strerror}. Its images would be missing: allow reading (chmod '
            'u+rx), or move it elsewhere.'
        ) from error
