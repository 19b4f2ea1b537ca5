"""Video clips with object masks, in the folder layout of DAVIS."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.user_files import expanded, is_folder, list_folder, read_lines
from dino_plugin.evaluation.video.clip import Clip, open_clip


class DAVISDataset:
    """Clips in DAVIS's layout: ``JPEGImages/480p/<clip>/<frame>.jpg`` and ``Annotations/480p/<clip>/<frame>.png``.

    An item is a :class:`Clip`. Masks are indexed PNG, 0 for the background, with the names of the frames. A clip of
    your own needs a mask of its first frame; with a mask for every frame it is also scored.

    All files are checked at the start, see :func:`~dino_plugin.evaluation.video.clip.open_clip`.

    Args:
        data_root: Folder with ``JPEGImages`` and ``Annotations``.
        year: 2017: each label is an object. 2016: all labels together are one object; masks of 0 and 255, as in the
            release of 2016, work too.
        split: The clips in ``ImageSets/<year>/<split>.txt`` or ``ImageSets/<resolution>/<split>.txt``; all clips if it
            is None or there is no folder ``ImageSets``.
        clips: Only clips of these names, in this order.
        resolution: Name of the folder below ``JPEGImages`` and ``Annotations``.
        max_pixels: Largest number of pixels, rows times columns, that a frame or mask may have.

    Raises:
        FileNotFoundError: If a folder or list is missing.
        PermissionError: If a folder cannot be read.
        ValueError: If there is no clip, or masks and frames of a clip do not fit each other; the file is named.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        year: int = 2017,
        split: str | None = 'val',
        clips: Sequence[str] | None = None,
        resolution: str = '480p',
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if year not in (2016, 2017):
            raise ValueError(f'DAVISDataset: year must be 2016 (one object) or 2017 (several objects), got {year!r}.')
        root = Path(expanded(data_root, 'data_root'))
        self.frames, self.masks = (root / kind / resolution for kind in ('JPEGImages', 'Annotations'))
        for folder in (self.frames, self.masks):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f'{folder} is not a folder (working directory: {os.getcwd()}). data_root needs '
                    f'JPEGImages/{resolution}/<clip>/ with frames and Annotations/{resolution}/<clip>/ with masks; '
                    'data_root and resolution may be set.'
                )
        names = list(clips) if clips is not None else self._names(root / 'ImageSets', year, split)
        if not names:
            raise ValueError(f'no clip in {self.frames}: expected a folder of frames for each clip.')
        self.clips = [
            open_clip(name, self.frames / name, self.masks / name, single=year == 2016, max_pixels=max_pixels)
            for name in names
        ]
        self.metainfo = dict(clips=tuple(names))
        scored = sum(clip.annotated for clip in self.clips)
        print_log(f'{len(names)} clips in {self.frames}, {scored} of them with masks to score', logger='current')

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]

    def _names(self, lists: Path, year: int, split: str | None) -> list[str]:
        if split is None or not lists.is_dir():
            return [entry.name for entry in list_folder(self.frames) if is_folder(entry)]
        for folder in (str(year), self.frames.name):  # the release of 2016 has its lists below the resolution
            path = lists / folder / f'{split}.txt'
            if path.is_file():
                break
        else:
            known = sorted(file.relative_to(lists).as_posix() for file in lists.rglob('*.txt'))
            raise FileNotFoundError(
                f'{lists / str(year) / split}.txt does not exist; {lists} has {known}. '
                'Set split, or split=None for all clips.'
            )
        # A line is a name, perhaps with blanks; in the release of 2016 it is the paths of a frame and its mask.
        lines = [Path(re.split(r'\s+(?=/?Annotations/)', line)[0]) for _, line in read_lines(path)]
        names = list(dict.fromkeys(line.parent.name or line.name for line in lines))
        if not names:
            raise ValueError(f'{path} names no clip: expected one name a line.')
        return names
