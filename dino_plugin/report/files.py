"""Which files of a folder the page may read: regular files whose true place is inside it, whatever links say."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MOST_TEXT = 5_000_000  # bytes of a config or a scorecard


def inside(root: Path, path: Path) -> bool:
    """Whether a file's or folder's true place, links followed, is in this folder."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name with \0
        return False


def found(root: Path, folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files below a folder that fit a pattern and lie inside the root, sorted by pattern, then by name."""
    paths = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return list(dict.fromkeys(path for path in paths if inside(root, path) and path.is_file()))


def modified(paths: Iterable[Path]) -> float:
    """When the newest of some files was written, in seconds since 1970; 0 without files."""
    times = [0.0]
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:  # deleted a moment ago, as old checkpoints are
            continue
    return max(times)


def read_text(path: Path) -> str:
    """The beginning of a text file; empty if it cannot be read."""
    try:
        with path.open('rb') as file:
            return file.read(MOST_TEXT).decode(errors='replace')
    except OSError:
        return ''


def read_json(path: Path) -> Any:
    """What a JSON file holds; None if it is damaged."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError):
        return None
