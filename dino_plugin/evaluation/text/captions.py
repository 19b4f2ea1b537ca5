"""A table of images and their captions."""

import csv
import logging
import os
from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log

from dino_plugin.data.images.image_dataset import ImageDataset


class CaptionDataset(ImageDataset):
    """Images and captions of a table: a row for each caption, so an image may have several.

    An item holds ``img_path`` and ``captions``, in the order of the rows. The same row twice counts once.

    Args:
        ann_file: The table, CSV, or TSV by its ending ``.tsv``; its first row has names.
        image_column: Of paths, relative to ``data_root`` and ``data_prefix['img_path']``.
        caption_column: Of captions.
        **kwargs: As in ``ImageDataset``, but ``with_labels``.

    Raises:
        FileNotFoundError: If the table or an image does not exist.
        ValueError: If a column is missing, or a row has no image or caption or too many cells; the message names its
            line.
    """

    def __init__(
        self, ann_file: str | os.PathLike, image_column: str = 'image', caption_column: str = 'caption', **kwargs: Any
    ) -> None:
        self._columns = image_column, caption_column
        super().__init__(ann_file=ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One sample for each image."""
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f'ann_file does not exist: {self.ann_file}. It is a table of images and captions; a relative name is '
                f'taken from data_root ({self.data_root or "not given"}).'
            )
        captions: dict[str, dict[str, None]] = {}
        rows = list(self._rows())
        for image, caption in rows:
            captions.setdefault(image, {})[caption] = None
        folder = self.data_prefix['img_path']
        samples = [dict(img_path=os.path.join(folder, name), captions=list(own)) for name, own in captions.items()]
        if not samples:
            raise ValueError(f'{self.ann_file} has no row below its names: expected one for each caption.')
        self._refuse_missing([sample['img_path'] for sample in samples])
        kept = sum(len(sample['captions']) for sample in samples)
        twice = f'; {len(rows) - kept} rows stand there twice and count once' if kept < len(rows) else ''
        level = logging.WARNING if twice else logging.INFO
        print_log(f'{len(samples)} images with {kept} captions in {self.ann_file}{twice}', 'current', level)
        return samples

    def _rows(self) -> Iterator[list[str]]:
        delimiter = '\t' if self.ann_file.endswith('.tsv') else ','
        with open(self.ann_file, encoding='utf-8-sig', newline='') as file:
            table = csv.DictReader(file, delimiter=delimiter)
            try:
                if missing := [name for name in self._columns if name not in (table.fieldnames or ())]:
                    raise ValueError(
                        f'{self.ann_file} has no column {missing[0]!r}; its first row names {table.fieldnames}. Write '
                        'names into the first row, or set image_column and caption_column.'
                    )
                for row in table:
                    yield self._values(row, f'{self.ann_file}, line {table.line_num}')
            except UnicodeDecodeError as error:
                raise ValueError(f'{self.ann_file} is not UTF-8 ({error}): save it as UTF-8.') from error
            except csv.Error as error:
                raise ValueError(f'{self.ann_file}, line {table.line_num}: {error}. Is a quote not closed?') from error

    def _values(self, row: dict, place: str) -> list[str]:
        if any(row.get(None, ())):  # DictReader's name for cells behind the last column
            raise ValueError(
                f'{place}: {len(row) - 1} cells expected, and there are more, {row[None][:3]}: put captions with '
                'commas or tabs into double quotes.'
            )
        values = [(row[name] or '').strip() for name in self._columns]
        if not all(values):
            raise ValueError(f'{place}: image and caption expected, got {values}. Fill in the row, or delete it.')
        return values
