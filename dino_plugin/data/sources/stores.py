"""Files on a local disk or in an object store, whole or in part."""

import io
import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import fsspec

from dino_plugin.data.images.image_files import find_images

WAITS = (1, 2, 4, 8, 16)  # seconds before another try
_CHANGE = ('ETag', 'etag', 'md5Hash', 'LastModified', 'last_modified', 'updated', 'mtime', 'created')  # names in stores
_MISTAKES = (ValueError, ImportError)  # an unknown protocol, a package that is not installed: no waiting helps


class Stored(NamedTuple):
    """A file, without a look into it.

    Attributes:
        size: Bytes.
        change: Another text after each time that it was written: of the time, or of the store's checksum, after the
            name of which of the two it is; empty where a store tells neither.
    """

    size: int
    change: str


def is_address(path: str) -> bool:
    """Whether it is fsspec's, such as ``s3://bucket/shards``, and not on a local disk."""
    return '://' in path or '::' in path


def is_absolute(name: str) -> bool:
    """Whether it says where a file lies without a folder before it."""
    return is_address(name) or os.path.isabs(name)


def joined(root: str, name: str) -> str:
    """The path of a file below a folder or address; an absolute path or address stays."""
    if is_absolute(name):
        return name
    return f'{root.rstrip("/")}/{name}' if is_address(root) else os.path.join(root, name)


def read_range(path: str, start: int, size: int) -> bytes:
    """Bytes of a file, fewer at its end.

    Raises:
        FileNotFoundError: If there is no such file.
        RuntimeError: If a store does not answer after six tries, which take half a minute; no other image could help.
    """
    if not is_address(path):
        return os.pread(_opened(path).fileno(), size, start)
    return attempt(path, lambda system, name: system.cat_file(name, start=start, end=start + size))


def read_all(path: str) -> bytes:
    """All bytes of a file; errors as `read_range`."""
    return attempt(path, lambda system, name: system.cat_file(name))


def opened(path: str) -> Any:
    """A file to read with `seek`; errors as `read_range`, but later ones are fsspec's."""
    return attempt(path, lambda system, name: system.open(name, 'rb'))


def stored(path: str) -> Stored:
    """Size and change of a file; errors as `read_range`."""
    if not is_address(path):
        status = os.stat(path)
        return Stored(status.st_size, f'time {status.st_mtime_ns}')
    return _in_store(attempt(path, lambda system, name: system.info(name)))


def stored_below(root: str, ending: str) -> dict[str, Stored]:
    """All files below a folder or address with this ending, by their names relative to it, sorted.

    Links to folders on a local disk are followed, and names that begin with a dot left out, as `find_images` does.

    Raises:
        FileNotFoundError: If there is no such folder.
        PermissionError: If a folder on a local disk cannot be read.
        RuntimeError: As `read_range`.
    """
    if os.path.isdir(root):
        paths = (path for path in find_images(root, (ending,))[0] if path.endswith(ending))  # no capitals
        return {name: stored(joined(root, name)) for name in sorted(os.path.relpath(path, root) for path in paths)}
    found = attempt(root, lambda system, folder: system.find(folder, detail=True))
    if not found and not attempt(root, lambda system, folder: system.exists(folder)):
        raise FileNotFoundError(f'no folder of shards: {root} (working directory: {os.getcwd()})')
    folder = fsspec.core.url_to_fs(root)[1]
    names = {os.path.relpath(path, folder): info for path, info in found.items() if path.endswith(ending)}
    shown = sorted(name for name in names if not os.path.basename(name).startswith('.'))
    return {name: _in_store(names[name]) for name in shown}


def attempt(path: str, act: Callable[[fsspec.AbstractFileSystem, str], Any]) -> Any:
    """What fsspec does with a path: again after waits, unless the file is not there, or waiting cannot help.

    Args:
        path: Local, or an address.
        act: (file system, the path in it) -> result.

    Raises:
        FileNotFoundError: If there is no such file.
        RuntimeError: If a store does not answer.
    """
    for wait in (*WAITS, None):
        try:
            return act(*fsspec.core.url_to_fs(path))  # fsspec remembers the system, for each process by itself
        except (FileNotFoundError, *_MISTAKES):
            raise
        except Exception as error:
            if not is_address(path):
                raise
            if wait is None or isinstance(error, PermissionError):
                raise RuntimeError(
                    f'{path} cannot be read: {type(error).__name__}: {error}. Unless it is forbidden, it was tried '
                    f'{len(WAITS) + 1} times. Check the network and the credentials; the same command with --resume '
                    'goes on.'
                ) from error
            time.sleep(wait)


def _in_store(info: dict[str, Any]) -> Stored:
    return Stored(info['size'], next((f'{key} {info[key]}' for key in _CHANGE if info.get(key)), ''))


@lru_cache(maxsize=64)
def _opened(path: str) -> io.FileIO:
    """Opening costs a network disk an answer of its server, so the latest files stay open."""
    return open(path, 'rb', buffering=0)
