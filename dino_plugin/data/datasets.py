"""Where the samples come from: folders and lists of images, Lightly's datasets, repeatable access to any of them."""

import errno
import logging
import os
import random
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from dino_plugin.data.decoding import UndecodableImageError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp')


class ImageDataset(BaseDataset):
    """Images of a folder, of a text list, or of class folders, as an mmengine dataset.

    An item holds ``img_path`` and, with labels, ``gt_label``; the pipeline makes the rest of it. The order is the same
    on every machine: entries of a folder sorted by name.

    - ``data_root`` alone: every image below the folder, at any depth. Links are followed, no folder is visited twice
      (so a link to a parent ends), names that begin with a dot are skipped.
    - ``data_root`` and ``with_labels``: each sub-folder of the first level is a class. Their sorted names become
      ``metainfo['classes']``; if ``metainfo`` already brings classes, those give the numbers.
    - ``ann_file``: one path a line, relative to ``data_root`` or absolute; blank lines and lines that begin with ``#``
      are skipped. With ``with_labels`` a line ends in white space and the class number.

    Args:
        data_root: Folder of the images.
        ann_file: Text list; as everywhere in mmengine a relative name is taken from ``data_root``.
        with_labels: Read class labels, for evaluation; pre-training needs none.
        **kwargs: mmengine's usual arguments: ``pipeline``, ``metainfo``, ``data_prefix=dict(img_path=...)`` (a folder
            below ``data_root``), ``indices``, ``lazy_init``, ``test_mode``, ``serialize_data``, ``max_refetch``.

    Raises:
        FileNotFoundError: If the folder, the list, or a file that the list names does not exist.
        ValueError: If there is no image to read, a label is missing or malformed, or the folders do not fit
            ``with_labels``.
    """

    def __init__(
        self,
        data_root: str | os.PathLike = '',
        ann_file: str | os.PathLike = '',
        with_labels: bool = False,
        **kwargs: Any,
    ) -> None:
        if not data_root and not ann_file:
            raise ValueError(
                'ImageDataset needs images: give data_root (a folder) or ann_file (a text list of image paths)'
            )
        self.with_labels = with_labels
        kwargs.setdefault('data_prefix', dict(img_path=''))
        super().__init__(data_root=os.fspath(data_root), ann_file=os.fspath(ann_file), **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict a sample; called once by mmengine's ``full_init``."""
        folder = self.data_prefix['img_path'].rstrip('/')
        if folder and not os.path.isdir(folder):
            raise FileNotFoundError(
                f'data_root is not a folder: {folder} (working directory: {os.getcwd()}). Give the folder of images.'
            )
        if self.ann_file:
            samples = self._read_list(folder)
        elif self.with_labels:
            samples = self._scan_classes(folder)
        else:
            paths, num_others = find_images(folder)
            _refuse_empty(folder, paths, num_others)
            print_log(f'{len(paths)} images in {folder}{_besides(num_others)}', logger='current')
            samples = [dict(img_path=path) for path in paths]
        return samples

    def _scan_classes(self, root: str) -> list[dict]:
        entries = sorted((entry for entry in os.scandir(root) if not entry.name.startswith('.')), key=lambda e: e.name)
        loose = [entry.name for entry in entries if _is_image(entry.name) and entry.is_file()]
        if loose:
            raise ValueError(
                f'with_labels=True takes the sub-folders of {root} as classes, but {len(loose)} images lie beside them '
                f'({_first(loose)}). Move them into class folders, or set with_labels=False.'
            )
        folders = [entry.name for entry in entries if entry.is_dir()]
        classes = list(self._metainfo.get('classes', folders))
        unknown = sorted(set(folders) - set(classes))
        if unknown:
            raise ValueError(
                f"{len(unknown)} sub-folders of {root} are not in metainfo['classes'] ({_first(unknown)}): "
                'name every folder there, or leave the classes out to take the sorted folder names.'
            )
        self._metainfo['classes'] = tuple(classes)
        samples, empty, num_others = [], [], 0
        for label, name in enumerate(classes):
            paths, others = find_images(os.path.join(root, name)) if name in folders else ([], 0)
            samples += [dict(img_path=path, gt_label=label) for path in paths]
            num_others += others
            if not paths:
                empty.append(name)
        _refuse_empty(root, samples, num_others)
        without = f'; {len(empty)} classes without an image ({_first(empty)})' if empty else ''
        what = f'{len(samples)} images of {len(classes)} classes in {root}'
        print_log(f'{what}{_besides(num_others)}{without}', logger='current')
        return samples

    def _read_list(self, root: str) -> list[dict]:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'ann_file does not exist: {self.ann_file}. A relative name is taken from data_root '
                f'({self.data_root or "not given"}); give an absolute path for a list that lies elsewhere.'
            )
        samples = []
        with open(self.ann_file, encoding='utf-8') as file:
            for number, line in enumerate(file, start=1):
                line = line.strip()
                if not line or line.startswith('#'):
                    continue
                if self.with_labels:
                    name, label = _split_label(line, f'line {number} of {self.ann_file}')
                    samples.append(dict(img_path=os.path.join(root, name), gt_label=label))
                else:
                    samples.append(dict(img_path=os.path.join(root, line)))
        if not samples:
            raise ValueError(f'{self.ann_file} names no image: one path a line is expected')
        self._refuse_missing([sample['img_path'] for sample in samples])
        print_log(f'{len(samples)} images listed in {self.ann_file}', logger='current')
        return samples

    def _refuse_missing(self, paths: list[str]) -> None:
        missing = _missing(paths)
        if not missing:
            return
        if not self.with_labels and all(re.search(r'\s-?\d+$', path) for path in missing):
            cure = 'The lines end in numbers: set with_labels=True if these are labels.'
        else:
            cure = f'Paths are taken relative to data_root ({self.data_root or "not given"}).'
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} files listed in {self.ann_file} do not exist: {_first(missing)}. {cure}'
        )


def find_images(folder: str) -> tuple[list[str], int]:
    """Paths of the images below a folder, sorted folder by folder, and the number of other files there."""
    paths: list[str] = []
    num_others = 0
    status = os.stat(folder)
    visited = {(status.st_dev, status.st_ino)}

    def scan(directory: str) -> None:
        nonlocal num_others
        with os.scandir(directory) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            if entry.name.startswith('.'):
                continue
            if entry.is_dir():
                status = entry.stat()
                if (status.st_dev, status.st_ino) not in visited:
                    visited.add((status.st_dev, status.st_ino))
                    scan(entry.path)
            elif _is_image(entry.name) and entry.is_file():
                paths.append(entry.path)
            else:
                num_others += 1

    scan(folder)
    return paths, num_others


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _refuse_empty(folder: str, found: list, num_others: int) -> None:
    if not found:
        raise ValueError(
            f'no image in {folder} or below: looked for {" ".join(EXTENSIONS)} in any case and found {num_others} '
            'other files (names that begin with a dot are skipped). A list of paths (ann_file) takes files of any name.'
        )


def _besides(num_others: int) -> str:
    return f', {num_others} other files ignored' if num_others else ''


def _first(names: list[str], limit: int = 5) -> str:
    return ', '.join(names[:limit]) + (', …' if len(names) > limit else '')


def _split_label(line: str, place: str) -> tuple[str, int]:
    name, _, label = line.replace('\t', ' ').rpartition(' ')
    if not name.strip() or not label.isdecimal():
        raise ValueError(
            f'{place}: with_labels=True expects "path label" with a label of 0, 1, 2, …, got {line!r}. '
            'Add the label, or set with_labels=False.'
        )
    return line[: len(line) - len(label)].rstrip(), int(label)


def _missing(paths: list[str]) -> list[str]:
    """The paths that do not exist; one listing for each folder instead of one question for each file."""
    names_of: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        directory, name = os.path.split(path)
        names_of[directory].add(name)
    absent = set()
    for directory, names in names_of.items():
        try:
            absent |= {os.path.join(directory, name) for name in names.difference(os.listdir(directory or '.'))}
        except (FileNotFoundError, NotADirectoryError):
            absent |= {os.path.join(directory, name) for name in names}
    return [path for path in paths if path in absent and not os.path.exists(path)]


class SeededDataset(Dataset):
    """Any dataset, made a pure function of ``(index, seed)``, that survives files which cannot be decoded.

    With a key ``(index, seed)``, as :class:`~dino_plugin.data.sampler.ResumableSampler` gives them, the global
    generators of ``random``, numpy and torch (CPU) are seeded for this one sample. So every transform, ours or a
    foreign one, makes the same views from the same key, whichever worker runs it: a run that resumes in the middle of
    an epoch sees exactly what the unbroken run would have seen. In the main process (``num_workers=0``) the generators
    are put back afterwards, so that data and model draw independently. A plain integer key seeds nothing.

    A file that cannot be decoded is replaced by another sample, drawn by a generator that depends on the key only.
    It is logged once with its path, and counted in memory that workers and main process share. More than
    ``max(1, max_undecodable * len(dataset))`` such files end the run: one is always tolerated, however small the
    dataset, unless ``max_undecodable=0``, which tolerates none. Counts are per rank.

    Args:
        dataset: A config for mmengine's ``DATASETS`` (a dotted path such as ``lightly.data.LightlyDataset`` will do),
            or anything with ``__len__`` and ``__getitem__``.
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
        self._undecodable = torch.zeros(len(dataset), dtype=torch.bool).share_memory_()

    def full_init(self) -> None:
        """Load the annotations of an mmengine dataset; others have nothing to load."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    @property
    def metainfo(self) -> dict:
        """That of the wrapped dataset; empty where it has none."""
        return getattr(self.dataset, 'metainfo', {})

    @property
    def num_undecodable(self) -> int:
        """Distinct files that could not be decoded so far, in all workers of this rank."""
        return int(self._undecodable.sum())

    @property
    def undecodable_paths(self) -> list[str]:
        """Their paths, in the order of the dataset."""
        return [self._path(index) for index in self._undecodable.nonzero()[:, 0].tolist()]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Any) -> Any:
        index, seed = (key[0], int(key[1])) if isinstance(key, tuple) else (key, None)
        replacements = None
        for _ in range(self._MAX_DRAWS):
            try:
                with _seeded(seed):
                    return self.dataset[index]
            except Exception as error:
                if not _is_undecodable(error):
                    raise
                self._count(index, error)
            replacements = replacements or random.Random(f'{index} {seed}')
            index = replacements.randrange(len(self.dataset))
        raise RuntimeError(self._report(f'{self._MAX_DRAWS} samples drawn one after the other could not be decoded'))

    def _count(self, index: int, error: Exception) -> None:
        if self._undecodable[index]:
            return
        self._undecodable[index] = True
        path = self._path(index)
        what = str(error) if path in str(error) else f'{path}: {error}'
        print_log(f'cannot decode {what}; another sample takes its place', logger='current', level=logging.WARNING)
        allowed = max(1, int(self.max_undecodable * len(self))) if self.max_undecodable > 0 else 0
        if self.num_undecodable > allowed:
            raise RuntimeError(
                self._report(
                    f'{self.num_undecodable} of {len(self)} files cannot be decoded, more than '
                    f'max_undecodable={self.max_undecodable} allows ({allowed})'
                )
            ) from error

    def _report(self, what: str) -> str:
        paths = self.undecodable_paths
        listed = '\n'.join(f'  {path}' for path in paths[:100])
        more = f'\n  … and {len(paths) - 100} more, each logged when it was met' if len(paths) > 100 else ''
        return f'{what}:\n{listed}{more}\nRepair or remove them, or raise max_undecodable.'

    def _path(self, index: int) -> str:
        """The file of a sample, as far as the wrapped dataset can tell."""
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
    """Seed the CPU generators of this process; put them back where the process also trains."""
    if seed is None:
        yield
        return
    in_main_process = get_worker_info() is None
    if in_main_process:
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    low, high = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    random.seed(seed)
    np.random.seed((low, high, 1))  # from (low, high) alone numpy would draw the very numbers of `random`
    # torch.manual_seed would reseed the GPU's generators too; torch's CPU generator looks at 32 bits only
    torch.default_generator.manual_seed(low ^ high)
    try:
        yield
    finally:
        if in_main_process:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
_DECODER_ERRORS = (UndecodableImageError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def _is_undecodable(error: Exception) -> bool:
    """Whether the file is to blame: our decoder, Pillow or mmcv refused it, or the file system could not give it."""
    if isinstance(error, OSError):
        return error.errno not in _EXHAUSTED  # the machine's trouble, which another file would not cure
    if isinstance(error, AssertionError):
        return str(error).startswith('failed to load image')  # mmcv's LoadImageFromFile
    if type(error).__module__.startswith('cv2'):
        return 'imdecode' in str(error)  # an empty file, by mmcv
    return isinstance(error, _DECODER_ERRORS)


def LightlyDataset(input_dir: str, transform: dict | Callable | None = None, **kwargs: Any) -> Any:
    """Lightly's dataset, built from a config: ``transform`` may be a dict.

    It is named like the class it returns, since it stands in its place::

        dataset=dict(
            type='dino_plugin.SeededDataset',
            dataset=dict(
                type='dino_plugin.LightlyDataset',
                input_dir='data/images',
                transform=dict(type='lightly.transforms.DINOTransform', n_local_views=8)))

    Args:
        input_dir: Folder of images or videos, with or without class folders.
        transform: A config for mmengine's ``TRANSFORMS`` (a dotted path will do), a callable ``image -> views``, or
            None for the bare image.
        **kwargs: Passed to ``lightly.data.LightlyDataset``.

    Returns:
        A ``lightly.data.LightlyDataset`` of samples ``(views, label, filename)``.

    Raises:
        ImportError: If Lightly is not installed.
    """
    try:
        from lightly.data import LightlyDataset as Lightly
    except ImportError as error:
        raise ImportError('dino_plugin.LightlyDataset needs Lightly: pip install "dino_plugin[lightly]"') from error
    if isinstance(transform, dict):
        transform = TRANSFORMS.build(transform)
    return Lightly(input_dir, transform=transform, **kwargs)
