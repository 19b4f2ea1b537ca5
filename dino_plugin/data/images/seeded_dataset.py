"""Any dataset with a seed for each sample; files that cannot be decoded are replaced and counted."""

import errno
import logging
import os
import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from dino_plugin.data.images.decoding import UndecodableImageError, naming
from dino_plugin.data.images.multi_pipeline_dataset import MultiPipelineDataset
from dino_plugin.data.images.user_files import announce
from dino_plugin.data.workers.shared_memory import shared_flags


class SeededDataset(Dataset):
    """Any dataset as a function of ``(index, seed)``; files that cannot be decoded do not stop the run.

    With a key ``(index, seed)``, as :class:`~dino_plugin.data.images.sampler.ResumableSampler` gives them, the global
    generators of ``random``, numpy and torch (CPU) are seeded for this one sample. So any transform makes the same
    views from the same key, in any worker. A run that resumes in the middle of an epoch sees what an uninterrupted run
    sees. In the main process (``num_workers=0``) the generators are restored afterwards, so that data and model draw
    independently. A key that is an integer seeds nothing.

    Another sample, of the same pipeline, replaces a file that cannot be decoded; its random choice depends on the key
    only. The file is logged once with its path, and counted in memory that workers and main process share. The run ends
    after more than ``max(1, max_undecodable * num_images)`` such files; ``max_undecodable=0`` tolerates none. Counts
    are per rank.

    ``num_images`` is the number of different images: the length, divided by the number of pipelines of a
    :class:`~dino_plugin.data.images.multi_pipeline_dataset.MultiPipelineDataset`.

    Args:
        dataset: A config for mmengine's ``DATASETS``, also with a dotted path such as ``lightly.data.LightlyDataset``,
            or any object with ``__len__`` and ``__getitem__``.
        max_undecodable: Share of the files, in [0, 1].

    Raises:
        TypeError: If ``dataset`` is neither.
        ValueError: If it is empty or ``max_undecodable`` is out of range.
        RuntimeError: From ``__getitem__``, with the paths, if too many files cannot be decoded.
    """

    _MAX_DRAWS = 100

    def __init__(self, dataset: Any, max_undecodable: float | int = 0.01) -> None:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        if not hasattr(dataset, '__len__') or not hasattr(dataset, '__getitem__'):
            raise TypeError(
                'SeededDataset wraps a dataset with __len__ and __getitem__, or its config, '
                f'got {type(dataset).__name__}'
            )
        if not 0 <= max_undecodable <= 1:
            raise ValueError(f'max_undecodable is a share of the files in [0, 1], got {max_undecodable}')
        self.dataset = dataset
        self.max_undecodable = max_undecodable
        self.full_init()
        if len(dataset) == 0:
            raise ValueError('the dataset is empty: SeededDataset needs at least one sample')
        num_pipelines = len(dataset.pipelines) if isinstance(dataset, MultiPipelineDataset) else 1
        self.num_images = len(dataset) // num_pipelines
        self._undecodable = shared_flags(self.num_images)

    def full_init(self) -> None:
        """Load the annotations of an mmengine dataset; others have nothing to load."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    @property
    def metainfo(self) -> dict:
        """The metainfo of the wrapped dataset; empty where it has none."""
        return getattr(self.dataset, 'metainfo', {})

    @property
    def num_undecodable(self) -> int:
        """Different files that could not be decoded so far, in all workers of this rank."""
        return int(self._undecodable.sum())

    @property
    def undecodable_paths(self) -> list[str]:
        """Their paths, in the order of the dataset."""
        return [self.path_of(index) for index in self._undecodable.nonzero()[:, 0].tolist()]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Any:
        index, seed = (key[0], int(key[1])) if isinstance(key, tuple) else (key, None)
        replacements = None
        for _ in range(self._MAX_DRAWS):
            try:
                with naming(path := self.path_of(index % self.num_images)):
                    announce(path)
                with _seeded(seed):
                    return self.dataset[index]
            except Exception as error:
                if not _is_undecodable(error):
                    raise
                self._count(index % self.num_images, error)
            replacements = replacements or random.Random(f'{index} {seed}')
            index += replacements.randrange(self.num_images) - index % self.num_images
        raise RuntimeError(self._report(f'{self._MAX_DRAWS} samples drawn one after the other could not be decoded'))

    def _count(self, index: int, error: Exception) -> None:
        if self._undecodable[index]:
            return
        self._undecodable[index] = True
        path = self.path_of(index)
        what = str(error) if path in str(error) else f'{path}: {error}'
        print_log(f'cannot decode {what}; another sample takes its place', logger='current', level=logging.WARNING)
        allowed = max(1, int(self.max_undecodable * self.num_images)) if self.max_undecodable > 0 else 0
        if self.num_undecodable > allowed:
            raise RuntimeError(
                self._report(
                    f'{self.num_undecodable} of {self.num_images} files cannot be decoded, more than '
                    f'max_undecodable={self.max_undecodable} allows ({allowed})'
                )
            ) from error

    def _report(self, what: str) -> str:
        paths = self.undecodable_paths
        listed = '\n'.join(f'  {path}' for path in paths[:100])
        more = f'\n  … and {len(paths) - 100} more in the log' if len(paths) > 100 else ''
        return f'{what}:\n{listed}{more}\nRepair or remove them, or raise max_undecodable.'

    def path_of(self, index: int) -> str:
        """The file of a sample; its number where the wrapped dataset does not name files."""
        dataset = self.dataset
        if hasattr(dataset, 'get_data_info'):
            return str(dataset.get_data_info(index).get('img_path', f'sample {index}'))
        if hasattr(dataset, 'index_to_filename'):  # Lightly
            name = dataset.index_to_filename(dataset.dataset, index)
            return os.path.join(dataset.input_dir, name) if dataset.input_dir else str(name)
        if hasattr(dataset, 'samples'):  # torchvision
            return str(dataset.samples[index][0])
        return f'sample {index}'


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed the CPU generators of this process. Only the main process needs its own state back: it also trains."""
    if seed is None:
        yield
        return
    with preserved_random_state() if get_worker_info() is None else nullcontext():
        low, high = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
        random.seed(seed)
        np.random.seed((low, high, 1))  # from (low, high) alone numpy would draw the same numbers as `random`
        # torch.manual_seed would also seed the GPUs; torch's CPU generator uses 32 bits only
        torch.default_generator.manual_seed(low ^ high)
        yield


@contextmanager
def preserved_random_state(gpu: bool = False) -> Iterator[None]:
    """Put the random states of Python, numpy and torch's CPU, and with ``gpu`` the current GPU's, back at the end."""
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if gpu and torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
_DECODER_ERRORS = (UndecodableImageError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def _is_undecodable(error: Exception) -> bool:
    """Whether the file is the cause: our decoder, Pillow or mmcv refused it, or it could not be read."""
    if isinstance(error, OSError):
        return error.errno not in _EXHAUSTED  # of the machine: another file would fail, too
    if isinstance(error, AssertionError):
        return str(error).startswith('failed to load image')  # mmcv's LoadImageFromFile
    if type(error).__module__.startswith('cv2'):
        return 'imdecode' in str(error)  # an empty file, by mmcv
    return isinstance(error, _DECODER_ERRORS)
