"""Features kept on disk: another evaluator of the same network and images does not run the network again."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dino_plugin.data.sources.member_paths import status_of

ENVIRONMENT = 'DINO_PLUGIN_CACHE'


def default_folder() -> Path:
    """The folder that the environment variable `DINO_PLUGIN_CACHE` names, or else `~/.cache/dino_plugin`."""
    return Path(os.environ.get(ENVIRONMENT) or '~/.cache/dino_plugin').expanduser() / 'features'


class FeatureCache:
    """A folder of safetensors files, one for each process's part of the features of one network on some images.

    Arrays that are read from the disk part by part (`rows_on_disk`) lie there, too.

    A file has its name only when it is whole, so two runs may write the same one. A file that cannot be read counts as
    absent. When all files together exceed the limit, those that were not used for the longest time are deleted.

    Args:
        folder: Of the files.
        max_gigabytes: Limit of all files together; features that exceed it alone are not kept.
    """

    def __init__(self, folder: Path | None = None, max_gigabytes: float = 10.0) -> None:
        self.folder = folder or default_folder()
        self.max_bytes = int(max_gigabytes * 1e9)

    def read(self, key: str, num_samples: int) -> dict[str, Tensor] | None:
        """This process's part, or None if there is none; tensors have one row for each sample."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            found = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            self._tell(path, str(error))
            return None
        if any(len(tensor) != num_samples for tensor in found.values()):
            self._tell(path, f'it does not have {num_samples} rows')
            return None
        path.touch()
        return found

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keeps this process's part."""
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > self.max_bytes:
            print_log(f'Features are not kept: {size / 1e9:.1f} GB exceed the cache.', logger='current')
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, suffix='.part')
        os.close(handle)
        try:
            save_file({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, name)
            os.replace(name, self._path(key))
        finally:
            Path(name).unlink(missing_ok=True)
        self.make_room()

    def array_path(self, key: str) -> Path:
        """Name of an array that all processes share, see `rows_on_disk`."""
        return self.folder / f'{key}.npy'

    def _path(self, key: str) -> Path:
        return self.folder / f'{key}-{get_rank()}-of-{get_world_size()}.safetensors'

    def _tell(self, path: Path, reason: str) -> None:
        print_log(f'Features in {path} are computed again: {reason}', logger='current')

    def make_room(self) -> None:
        """Deletes what was not used for the longest time, until the limit is kept."""
        files = []
        for path in [*self.folder.glob('*.safetensors'), *self.folder.glob('*.npy')]:
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:
                continue  # another run made room
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def cache_key(model: nn.Module, images: Iterable[Mapping[str, Any]], settings: Any) -> str | None:
    """A hash of everything that features depend on; None if a sample names no file, or one in a store.

    Args:
        model: Its parameters and buffers count.
        images: As in `hash_of_images`.
        settings: Of model and pipeline, in anything that has a text.
    """
    of_images = hash_of_images(images)
    if of_images is None:
        return None
    digest = hashlib.sha256(json.dumps([of_images, settings], sort_keys=True, default=str).encode())
    for name, value in model.state_dict().items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def hash_of_images(images: Iterable[Mapping[str, Any]]) -> str | None:
    """A hash of files and of what is said of them; None if a sample names no file, or one in a store.

    Args:
        images: Samples before the pipeline; path, size and time of last change of each file count, and all that the
            sample says of it: label, box, attack.
    """
    digest = hashlib.sha256()
    for info in images:
        if not isinstance(info.get('img_path'), str):
            return None
        status = status_of(info['img_path'])
        if status is None:
            return None
        digest.update(f'{status.st_size} {status.st_mtime_ns} {sorted(info.items())}\n'.encode())
    return digest.hexdigest()
