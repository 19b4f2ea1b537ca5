"""Images from a folder, from class folders or from a text list."""

import os
import re
from collections.abc import Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from dino_plugin.data.images.decoding import check_files
from dino_plugin.data.images.headers import MAX_PIXELS
from dino_plugin.data.images.image_files import (
    EXTENSIONS,
    find_classes,
    find_images,
    first,
    missing_files,
    read_image_list,
    refuse_empty,
)
from dino_plugin.data.images.user_files import expanded


class ImageDataset(BaseDataset):
    """Images of a folder, of a text list, or of class folders, as an mmengine dataset.

    An item holds ``img_path`` and, with labels, ``gt_label``; the pipeline adds the rest. The order is the same on
    every machine: entries of a folder sorted by name.

    - ``data_root`` alone: every image below the folder, at any depth. Links are followed, but no folder is visited
      twice. Names that begin with a dot are skipped.
    - ``data_root`` and ``with_labels``: each sub-folder of the first level is a class. Their sorted names become
      ``metainfo['classes']``. Where ``metainfo`` already has classes, their order gives the labels.
    - ``ann_file``: one path in each line, relative to ``data_root`` or absolute. Blank lines and lines that begin with
      ``#`` are skipped. With ``with_labels`` a line ends in white space and the label. The list is UTF-8, or any
      Unicode with a byte-order mark.

    Before a file goes into the pipeline, its header is checked, whatever decodes it there. ``~`` is the home folder.

    Args:
        data_root: Folder of the images. Without labels and list it may be several folders, one after the other; where
            one lies in another, an image counts once.
        ann_file: Text list. A relative path is taken from ``data_root``, as everywhere in mmengine.
        with_labels: Read class labels, for evaluation; pretraining needs none.
        extensions: Endings of the files in folders that are images, small or capital letters; for other files than the
            usual ones, such as ``('.npy',)``.
        max_pixels: Largest number of pixels, rows times columns, that an image may have. A file that claims more is
            refused as a damaged one is, before it takes memory.
        **kwargs: mmengine's usual arguments: ``pipeline``, ``metainfo``, ``data_prefix=dict(img_path=...)`` (a folder
            below ``data_root``), ``indices``, ``lazy_init``, ``test_mode``, ``serialize_data``, ``max_refetch``.

    Raises:
        FileNotFoundError: If the folder, the list, or a file that the list names does not exist.
        PermissionError: If a folder cannot be read.
        ValueError: If there is no image to read, a label is missing or malformed, the folders do not fit
            ``with_labels``, there are several for labels or a list, or the list is not Unicode.
        UndecodableImageError: From ``__getitem__``, if a file is not a regular file or claims too many pixels.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | Sequence[str | os.PathLike] = '',
        ann_file: str | os.PathLike = '',
        with_labels: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
        max_pixels: int = MAX_PIXELS,
        **kwargs: Any,
    ) -> None:
        if not data_root and not ann_file:
            raise ValueError(
                'ImageDataset needs images: give data_root (a folder) or ann_file (a text list of image paths)'
            )
        self.with_labels = with_labels
        self.extensions = tuple(ending.lower() for ending in extensions)
        self.max_pixels = max_pixels
        prefixes = kwargs.pop('data_prefix', dict(img_path=''))
        several = isinstance(data_root, (list, tuple))
        if several and (with_labels or ann_file):
            raise ValueError(
                f'data_root={data_root!r}: several folders are for images without labels and without a list; with '
                f'{with_labels=} and {ann_file=} give one folder.'
            )
        self._roots = [expanded(root, 'data_root') for root in (data_root if several else [data_root])]
        super().__init__(
            data_root=self._roots[0] if len(self._roots) == 1 else '',
            ann_file=expanded(ann_file, 'ann_file'),
            data_prefix={name: expanded(prefix, 'data_prefix') for name, prefix in prefixes.items()},
            **kwargs,
        )

    def get_data_info(self, index: int) -> dict:
        """The sample before the pipeline; if ``max_pixels`` is set, it says so to ``LoadImage``."""
        info = super().get_data_info(index)
        return info if self.max_pixels == MAX_PIXELS else {**info, 'max_pixels': self.max_pixels}

    def prepare_data(self, index: int) -> Any:
        """The sample after the pipeline, if the header of its file is as allowed."""
        return self.pipeline(check_files(self.get_data_info(index), self.max_pixels))

    def load_data_list(self) -> list[dict]:
        """One dict for each image; mmengine calls it once."""
        folder = self.data_prefix['img_path'].rstrip('/')
        folders = [folder] if len(self._roots) == 1 else [os.path.join(root, folder) for root in self._roots]
        for each in folders:
            self._check_folder(each)
        if self.ann_file:
            return self._read_list(folder)
        if self.with_labels:
            return self._scan_classes(folder)
        visited: set[tuple[int, int]] = set()
        return [sample for each in folders for sample in self._scan(each, visited)]

    def _check_folder(self, folder: str) -> None:
        if folder and not os.path.isdir(folder):
            several = (
                f' It is one of {len(self._roots)}: in --cfg-options a comma makes a list, so a path with a comma '
                'belongs into a config file.'
            )
            raise FileNotFoundError(
                f'data_root is not a folder: {folder} (working directory: {os.getcwd()}). Give the folder of images.'
                f'{several if len(self._roots) > 1 else ""}'
            )

    def _scan(self, folder: str, visited: set[tuple[int, int]]) -> list[dict]:
        more = 'more ' if visited else ''
        paths, num_others = find_images(folder, self.extensions, visited)
        if not paths:  # it may lie in a folder before it
            refuse_empty(folder, *find_images(folder, self.extensions), self.extensions)
        print_log(f'{len(paths)} {more}images in {folder}{_ignored(num_others)}', logger='current')
        return [dict(img_path=path) for path in paths]

    def _scan_classes(self, root: str) -> list[dict]:
        found = find_classes(root, self._metainfo.get('classes'), self.extensions)
        self._metainfo['classes'] = found.classes
        without = f'; {len(found.empty)} classes without an image ({first(found.empty)})' if found.empty else ''
        what = f'{len(found.samples)} images of {len(found.classes)} classes in {root}'
        print_log(f'{what}{_ignored(found.num_others)}{without}', logger='current')
        return found.samples

    def _read_list(self, root: str) -> list[dict]:
        if not os.path.lexists(self.ann_file):
            raise FileNotFoundError(
                f'ann_file does not exist: {self.ann_file}. A relative name is taken from data_root '
                f'({self.data_root or "not given"}); give an absolute path for a list that lies elsewhere.'
            )
        samples = read_image_list(self.ann_file, root, self.with_labels)
        self._refuse_missing([sample['img_path'] for sample in samples])
        print_log(f'{len(samples)} images listed in {self.ann_file}', logger='current')
        return samples

    def _refuse_missing(self, paths: list[str]) -> None:
        missing = missing_files(paths)
        if not missing:
            return
        if not self.with_labels and all(re.search(r'\s-?\d+$', path) for path in missing):
            cure = 'The lines end in numbers: set with_labels=True if these are labels.'
        else:
            cure = f'Paths are taken relative to data_root ({self.data_root or "not given"}).'
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} files listed in {self.ann_file} do not exist: {first(missing)}. {cure}'
        )


def _ignored(num_others: int) -> str:
    return f', {num_others} other files ignored' if num_others else ''
