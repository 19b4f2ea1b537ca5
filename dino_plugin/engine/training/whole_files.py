"""Files that are whole or not there, whenever the program is killed."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

WHOLE_FILES = 'dino_plugin.whole_files'  # the name of the backend among mmengine's


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file under a temporary name in the same folder, wait until the disk has it, and rename it.

    So ``path`` holds the old content or the new, never a part of it. After a kill the part stays as ``path`` with
    ``.partial`` behind it; the next write takes its place.

    Args:
        path: The file; its folder is made if needed.
        content: All of it.

    Raises:
        OSError: If the file cannot be written, for instance on a full disk; the old file stays, the part is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.partial')
    try:
        with open(part, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Without it a power cut may undo the renaming. Windows cannot open folders."""
    if os.name != 'nt':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class WholeFileBackend(LocalBackend):
    """mmengine's backend of local files, which writes by `write_whole`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_whole(filepath, obj)


register_backend(WHOLE_FILES, WholeFileBackend, force=True)
