"""Files on a local disk or in an object store, whole or in part."""

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import fsspec

WAITS = (1, 2, 4, 8, 16)  # seconds before another try
_MISTAKES = (ValueError, ImportError)  # an unknown protocol, a package that is not installed: no waiting helps


def is_address(path: str) -> bool:
    """Whether it is fsspec's, such as ``s3://bucket/shards``, and not on a local disk."""
    return '://' in path or '::' in path


def joined(root: str, name: str) -> str:
    """The path of a file below a folder or address; an absolute path or address stays."""
    if is_address(name) or os.path.isabs(name):
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
    with _explained(path):
        return retried(lambda: _file_system(path)[0].cat_file(_file_system(path)[1], start=start, end=start + size))


def read_all(path: str) -> bytes:
    """All bytes of a file; errors as `read_range`."""
    with _explained(path):
        return retried(lambda: _file_system(path)[0].cat_file(_file_system(path)[1]))


@contextmanager
def opened(path: str) -> Iterator[io.BufferedIOBase]:
    """A file to read with `seek`; errors as `read_range`."""
    with _explained(path), retried(lambda: fsspec.open(path, 'rb').open()) as file:
        yield file


def sizes_below(root: str, ending: str) -> dict[str, int]:
    """Names relative to the folder or address, and bytes, of all files below it with this ending, sorted by name.

    Raises:
        FileNotFoundError: If there is no such folder.
        RuntimeError: As `read_range`.
    """
    with _explained(root):
        system, folder = _file_system(root)
        found = retried(lambda: system.find(folder, detail=True))
        if not found and not system.exists(folder):
            raise FileNotFoundError(f'no folder of shards: {root} (working directory: {os.getcwd()})')
    names = {os.path.relpath(path, folder): info['size'] for path, info in found.items() if path.endswith(ending)}
    return {name: names[name] for name in sorted(names) if not os.path.basename(name).startswith('.')}


def retried(read: Callable[[], Any]) -> Any:
    """What it returns, tried again after waits of seconds, unless the file is not there or not allowed."""
    for wait in WAITS:
        try:
            return read()
        except (FileNotFoundError, PermissionError, *_MISTAKES):
            raise
        except Exception:
            time.sleep(wait)
    return read()


@lru_cache(maxsize=64)
def _opened(path: str) -> io.FileIO:
    """Opening costs a network disk an answer of its server, so the latest files stay open."""
    return open(path, 'rb', buffering=0)


def _file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    return fsspec.core.url_to_fs(path)  # remembered by fsspec, for each process by itself


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, *_MISTAKES):
        raise
    except Exception as error:
        if not is_address(path):
            raise
        raise RuntimeError(
            f'{path} cannot be read: {type(error).__name__}: {error}. It was tried {len(WAITS) + 1} times unless it is '
            'forbidden. Check the network and the credentials; the same command with --resume goes on.'
        ) from error
