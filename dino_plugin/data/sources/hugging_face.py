"""Hugging Face's data sets, downloaded or not, as mmengine data sets of images."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64
from mmengine.fileio import BaseStorageBackend, register_backend
from mmengine.logging import print_log

from dino_plugin.data.sources.counted_images import CountedImages
from dino_plugin.data.sources.table_rows import ArrowRows, ParquetRows

_OPEN: dict[str, ArrowRows | ParquetRows] = {}  # of this process, by name


class HuggingFaceDataset(CountedImages):
    """A column of images of a data set that the package `datasets` loads: from the hub, or from a folder.

    An item holds ``img_path``, by which ``LoadImage`` and the others find the row, and, with labels, ``gt_label``, or
    with captions, ``captions``.
    Streamed, nothing is downloaded beforehand: the rows of its Parquet files are read where they are. They keep their
    numbers, so a streamed run resumes exactly, too. Every worker reads the groups of rows that its images are in; so
    take `ShardSampler`, with a window of at most eight.

    Args:
        path: As of ``datasets.load_dataset``, such as ``'uoft-cs/cifar10'`` or ``'parquet'``; or a folder that
            ``save_to_disk`` wrote.
        split: The part.
        column: Of the images.
        label_column: Of numbers of classes, for evaluation; None: no labels.
        caption_column: Of texts, or lists of texts, in place of labels; None: no captions.
        streaming: Read Parquet files where they are.
        load: Other arguments of ``datasets.load_dataset``, such as ``name``, ``revision`` and ``data_files``.
        **kwargs: ``max_pixels`` as in ``ImageDataset``, and mmengine's usual arguments, such as ``pipeline``.

    Raises:
        ImportError: If the package is not installed.
        ValueError: If there are no such columns or split, both labels and captions are asked for, or ``streaming``
            finds other files than Parquet.
        RuntimeError: If the hub does not answer.
    """

    def __init__(
        self,
        path: str,
        split: str = 'train',
        column: str = 'image',
        label_column: str | None = None,
        caption_column: str | None = None,
        streaming: bool = False,
        load: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        try:
            import datasets  # noqa: F401
        except ImportError as error:
            raise ImportError('HuggingFaceDataset needs: pip install "dino_plugin[datasets]"') from error
        if label_column and caption_column:
            raise ValueError(f'HuggingFaceDataset gives labels or captions: drop {label_column=} or {caption_column=}.')
        self._source = os.path.expanduser(path), split, dict(load or {})
        self._columns = column, label_column or caption_column
        self._gives = 'gt_label' if label_column else 'captions'
        self._streaming = streaming
        # Of two data sets with other files, too: `path` may be 'parquet'.
        digest = hashlib.sha256(f'{self._source}'.encode()).hexdigest()[:8]
        self._key = f'{path}/{split}/{column}/{digest}'.replace('://', ':/')
        super().__init__(**kwargs)

    def open(self) -> int:
        """Open the data set."""
        self._rows = (_parquet if self._streaming else _arrow)(*self._source, *self._columns)
        _OPEN[self._key] = self._rows
        if self._rows.classes:
            self._metainfo.setdefault('classes', self._rows.classes)
        print_log(f'{len(self._rows)} images of {self._key}{", streamed" if self._streaming else ""}', 'current')
        return len(self._rows)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self._fully_initialized:
            _OPEN[self._key] = self._rows  # in a spawned worker

    def sample(self, image: int) -> dict:
        """A row as the path."""
        info = dict(img_path=f'row://{self._key}@{image}')
        return info | {self._gives: self._rows.value(image)} if self._columns[1] else info

    def begins(self) -> Int64[np.ndarray, ' groups']:
        """Of the groups of rows."""
        return self._rows.starts


class RowBackend(BaseStorageBackend):
    """What `mmengine.fileio` does with ``row://DATASET@ROW``."""

    def get(self, filepath: str) -> bytes:
        """The file of an image."""
        key, _, row = filepath.removeprefix('row://').rpartition('@')
        return _OPEN[key].image(int(row))

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """The file as text."""
        return self.get(filepath).decode(encoding)


register_backend('row', RowBackend, force=True, prefixes='row')


def _arrow(path: str, split: str, load: dict, column: str, other_column: str | None) -> ArrowRows:
    import datasets

    if os.path.isfile(os.path.join(path, 'state.json')):
        table = datasets.load_from_disk(path)
    elif os.path.isfile(os.path.join(path, 'dataset_dict.json')):
        table = datasets.load_from_disk(path)[split]
    else:
        table = datasets.load_dataset(path, split=split, **load)
    return ArrowRows(table, column, other_column)


def _parquet(path: str, split: str, load: dict, column: str, other_column: str | None) -> ParquetRows:
    import datasets

    files = datasets.load_dataset_builder(path, **load).config.data_files or {}
    paths = [str(file) for file in files.get(split, ())]
    if not paths or not all(name.endswith('.parquet') for name in paths):
        raise ValueError(
            f'streaming reads Parquet files, and {path} has {paths[:1] or "none"} for the split {split!r} of '
            f'{sorted(files)}: set streaming=False, or on the hub load=dict(revision="refs/convert/parquet").'
        )
    return ParquetRows(paths, column, other_column)
