"""Images in the columns of tables: of the package `datasets`, or of Parquet files wherever they lie."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dino_plugin.data.sources.stores import attempt, opened, read_all

GROUPS_IN_MEMORY = 8  # of each process; a hundred images each, or a thousand


class ArrowRows:
    """The rows of a `datasets.Dataset`, which lies on the local disk.

    Args:
        table: The data set.
        column: Of the images.
        other_column: Of numbers of classes, or texts; None: no such column.

    Raises:
        ValueError: If there are no such columns.
    """

    def __init__(self, table: Any, column: str, other_column: str | None) -> None:
        from datasets import Image

        _require(column, other_column, table.column_names)
        self.classes = tuple(getattr(table.features.get(other_column), 'names', None) or ())
        self._images = table.select_columns([column]).cast_column(column, Image(decode=False))
        self._others = table.select_columns([other_column]) if other_column else None
        self._column, self._other_column = column, other_column
        self.starts = np.zeros(1, np.int64)

    def __len__(self) -> int:
        return len(self._images)

    def image(self, row: int) -> bytes:
        """The file."""
        return _file_of(self._images[row][self._column])

    def value(self, row: int) -> Any:
        """What stands in the other column."""
        return self._others[row][self._other_column]


class ParquetRows:
    """The rows of Parquet files, local or at an address: a process reads one group of rows at a time, and keeps eight.

    The groups take the place of shards for `ShardSampler`, whose window should be at most eight.

    Args:
        paths: Of the files.
        column: Of the images: of bytes, or Hugging Face's of ``bytes`` and ``path``.
        other_column: Of numbers of classes, or texts; None: no such column.

    Raises:
        ValueError: If there are no such columns.
    """

    def __init__(self, paths: Sequence[str], column: str, other_column: str | None) -> None:
        self._columns = [column, *([other_column] if other_column else [])]
        self._groups: list[tuple[str, Any, int]] = []  # path, its metadata, number in it
        sizes = []
        for path in paths:
            metadata = self._read(path, None, lambda file: file.metadata)
            _require(column, other_column, metadata.schema.to_arrow_schema().names)
            for number in range(metadata.num_row_groups):
                self._groups.append((path, metadata, number))
                sizes.append(metadata.row_group(number).num_rows)
        self.classes = _classes(metadata.metadata, other_column)
        self._ends = np.cumsum(sizes)
        self.starts = np.concatenate([[0], self._ends[:-1]])
        self._kept: tuple[dict[int, Any], ...] = ({}, {})  # groups of each column

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict:
        return self.__dict__ | dict(_kept=({}, {}))

    def image(self, row: int) -> bytes:
        """The file."""
        return _file_of(self._value(row, 0))

    def value(self, row: int) -> Any:
        """What stands in the other column."""
        return self._value(row, 1)

    def _value(self, row: int, column: int) -> Any:
        group = int(np.searchsorted(self._ends, row, side='right'))
        kept = self._kept[column]
        if group not in kept:
            path, metadata, number = self._groups[group]
            name = self._columns[column]  # alone: who asks for all labels reads no image
            table = self._read(path, metadata, lambda file: file.read_row_group(number, columns=[name]))
            if len(kept) == GROUPS_IN_MEMORY:
                del kept[next(iter(kept))]  # the oldest
            kept[group] = table.column(0)
        return kept[group][row - int(self.starts[group])].as_py()

    @staticmethod
    def _read(path: str, metadata: Any, act: Any) -> Any:
        from pyarrow.parquet import ParquetFile

        def attempted(*_: Any) -> Any:
            with opened(path) as file:
                return act(ParquetFile(file, metadata=metadata))

        return attempt(path, attempted)


def _require(column: str, other_column: str | None, names: Sequence[str]) -> None:
    for name in (column, other_column):
        if name is not None and name not in names:
            raise ValueError(
                f'there is no column {name!r}, there are {list(names)}: set column, label_column or caption_column.'
            )


def _classes(metadata: dict[bytes, bytes] | None, other_column: str | None) -> tuple[str, ...]:
    described = json.loads((metadata or {}).get(b'huggingface', b'{}'))
    return tuple(described.get('info', {}).get('features', {}).get(other_column, {}).get('names', ()))


def _file_of(value: Any) -> bytes:
    """Of a column of bytes, or of `bytes` and `path`, one of which may be empty."""
    if isinstance(value, dict):
        return value['bytes'] if value.get('bytes') is not None else read_all(value['path'])
    return value or b''
