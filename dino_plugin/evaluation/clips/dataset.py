"""Films with a class each: class folders, or a list."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from dino_plugin.data.images.image_files import first
from dino_plugin.data.images.user_files import expanded
from dino_plugin.evaluation.clips.film_lists import films_in_folders, films_in_list, read_classes
from dino_plugin.evaluation.clips.films import first_file, frames_or_error

WHEN_UNREADABLE = ('refuse', 'skip')


class ClipDataset(BaseDataset):
    """Films of classes, or windows of films, as an mmengine dataset; the pipeline reads frames.

    A film is a video file or a folder of images, `films.VIDEOS` and `image_files.EXTENSIONS`.

    - Class folders: ``<class>/<film>.mp4``, ``<class>/<film>/<frames>.jpg``, or one film ``<class>/<frames>.jpg``.
      Images beside films are left out and counted in the log.
    - ``ann_file``: the lists that Kinetics and Something-Something v2 publish, see `published_lists`; or a film in each
      line with its label, a number or the name of a class, after a blank or a comma. Without a label the first folder
      in the path is the class, as in UCF101's lists for tests.

    Each film is opened once at the start, some milliseconds each: frames are counted, the first one is decoded.

    Args:
        data_root: Folder of the films.
        ann_file: List; a relative name is taken from ``data_root``.
        classes: Names of the classes in the order of their labels: a list, a text file with a name at the end of each
            line, as UCF101's ``classInd.txt``, or a published list. Default: the class folders, or the labels, sorted.
        first_label: The number of the first class in the list: 1 in UCF101's.
        films: Only films with these names, without ending.
        part: The share of each film's frames that is used, ``(0, 0.5)`` for the first half.
        window: Frames of a window; each film gives one sample for each window. None: one sample, the whole part. Films
            with fewer frames are left out, and named.
        stride: Frames from one window to the next.
        unreadable: 'refuse' films that cannot be read or that a list names in vain, or 'skip' and name them.
        **kwargs: mmengine's ``pipeline``, ``indices``, ``test_mode``, ``metainfo`` and others.

    Raises:
        FileNotFoundError: If a folder, list or film is missing.
        ValueError: If there is no film or window; a class folder has no film; a label is missing or has no class; films
            cannot be read; or an option makes no sense.
    """

    def __init__(
        self,
        data_root: str | os.PathLike = '',
        ann_file: str | os.PathLike = '',
        classes: str | Sequence[str] | None = None,
        first_label: int = 0,
        films: Sequence[str] | None = None,
        part: Sequence[float] = (0.0, 1.0),
        window: int | None = None,
        stride: int = 1,
        unreadable: str = 'refuse',
        **kwargs: Any,
    ) -> None:
        if unreadable not in WHEN_UNREADABLE or not 0 <= part[0] < part[1] <= 1 or stride < 1 or (window or 2) < 2:
            raise ValueError(
                f'ClipDataset: unreadable is one of {WHEN_UNREADABLE}, part=(first, last) two shares in [0, 1], stride '
                f'at least 1 and window at least 2; got {unreadable!r}, {part}, {stride} and {window}.'
            )
        self.classes, self.first_label, self.films, self.part = classes, first_label, films, part
        self.window, self.stride, self.unreadable = window, stride, unreadable
        self.tokens: str | None = None
        root, ann_file = expanded(data_root, 'data_root'), expanded(ann_file, 'ann_file')
        super().__init__(data_root=root, ann_file=ann_file, **{'test_mode': True, **kwargs})

    @property
    def fixed(self) -> bool:
        """Whether a sample is the same at each reading."""
        return not any(step.random for step in self.pipeline.transforms)

    def prepare_data(self, index: int) -> Any:
        """The sample after the pipeline; in place of its views, tokens that `KeepTokensHook` kept."""
        info = self.get_data_info(index)
        if self.tokens is None:
            return self.pipeline(info)
        kept = np.load(self.tokens, mmap_mode='r')  # in each process by itself: a memory map cannot be sent
        return torch.from_numpy(np.array(kept[index])), info['gt_label'], info['film']

    def load_data_list(self) -> list[dict]:
        """One dict for each film or window; mmengine calls it once."""
        root = Path(self.data_root)
        if not root.is_dir() and not self.ann_file:
            raise FileNotFoundError(f'data_root is not a folder: {root} (working directory: {os.getcwd()}).')
        names = self.classes if self.classes is not None else self._metainfo.get('classes')
        names = read_classes(root / names) if isinstance(names, str) else names
        if self.ann_file:
            found, names, others = films_in_list(self.ann_file, root, names, self.first_label, self.unreadable)
        else:
            found, names, others = films_in_folders(root, names)
        self._metainfo['classes'] = tuple(names)
        if self.films is not None:
            found = self._chosen(found)
        counted = self._counted(found)
        windows = [self._windows(*film) for film in counted]
        samples = list(chain.from_iterable(windows))
        if not samples:
            raise ValueError(
                f'{len(counted)} films have no window of {self.window} frames in part={tuple(self.part)}: set fewer.'
            )
        if short := [str(film[0]) for film, own in zip(counted, windows) if not own]:
            print_log(
                f'{len(short)} of {len(counted)} films are left out: part={tuple(self.part)} of them has fewer than '
                f'{self.window or 2} frames: {first(short)}',
                'current',
                logging.WARNING,
            )
        what = '' if self.window is None else f'{len(samples)} windows of '
        print_log(f'{what}{len(counted)} films of {len(names)} classes in {self.ann_file or root}{others}', 'current')
        return samples

    def _chosen(self, found: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
        known = {path.stem for path, _ in found}
        if missing := [name for name in self.films if name not in known]:
            raise ValueError(f'films={missing} are not in {self.data_root}: there are {sorted(known)[:10]} …')
        return [(path, label) for path, label in found if path.stem in self.films]

    def _counted(self, found: list[tuple[Path, int]]) -> list[tuple[Path, int, int]]:
        """Films that can be read, with their frames."""
        with ThreadPoolExecutor(8) as pool:
            counts = list(pool.map(frames_or_error, [str(path) for path, _ in found]))
        errors = [count for count in counts if isinstance(count, str)]
        if errors:
            said = f'{len(errors)} of {len(found)} films cannot be read: {"; ".join(errors[:20])}'
            if self.unreadable == 'refuse' or len(errors) == len(found):
                raise ValueError(f"{said} Remove or repair them, or leave them out by unreadable='skip'.")
            print_log(f'{said} They are left out.', 'current', logging.WARNING)
        return [(path, label, count) for (path, label), count in zip(found, counts) if not isinstance(count, str)]

    def _windows(self, path: Path, label: int, length: int) -> list[dict]:
        begin, end = (round(share * length) for share in self.part)
        width = self.window or end - begin
        starts = range(begin, end - width + 1, self.stride) if self.window else [begin]
        # Training announces 'img_path', and features are kept by its time of change: a file, never a folder.
        film = dict(img_path=first_file(str(path)), film=str(path), gt_label=label)
        return [dict(film, first=start, last=start + width) for start in starts if width > 1]
