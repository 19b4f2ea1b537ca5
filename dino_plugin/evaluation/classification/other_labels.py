"""Test sets whose labels are not those of the training set: other folder names, fewer classes, several valid labels."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.user_files import expanded, is_folder, list_folder, read_lines


class ImagesOfClasses(ImageDataset):
    """Class folders of another data set, with the labels of the classes that a classifier has learnt.

    A folder has the label of its name: by `mapping`; else as a name of `classes`; else, if it is a number, that number.
    So ImageNet-A, -R and -Sketch (folders n01440764 …) and -V2 (folders 0 … 999) need no mapping.

    Args:
        data_root: Folder with a folder for each class.
        classes: Where the learnt classes stand, in the order of their labels: a folder, whose sub-folders they are in
            sorted order, or a text list with a name at the beginning of each line.
        mapping: JSON file, `{folder: class}`; a class is a name of `classes` or a number.
        **kwargs: Other arguments of `ImageDataset`.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        ValueError: If a folder has no label; as `ImageDataset`.
    """

    def __init__(
        self,
        data_root: str | os.PathLike,
        classes: str | os.PathLike,
        mapping: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> None:
        self._learnt = learnt_classes(classes)
        self._mapping = {} if mapping is None else _read_json(mapping, dict, '{folder: class}')
        super().__init__(data_root, with_labels=True, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict for each image; mmengine calls it once."""
        samples = super().load_data_list()
        labels = _labels_of(self._metainfo['classes'], self._learnt, self._mapping)
        self._metainfo['classes'] = self._learnt
        return [dict(sample, gt_label=labels[sample['gt_label']]) for sample in samples]


class NumberedImages(ImageDataset):
    """Images whose label is the number at the end of their file's name, from 1 on, less one.

    For `ValidLabels`, whose rows it names: ILSVRC2012_val_00000001.JPEG has row 0. Folders do not matter.

    Args:
        **kwargs: Arguments of `ImageDataset` apart from `with_labels`.

    Raises:
        ValueError: If a name does not end in a number from 1 on; as `ImageDataset`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(with_labels=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One dict for each image; mmengine calls it once."""
        return [dict(sample, gt_label=_number(sample['img_path']) - 1) for sample in super().load_data_list()]


class ValidLabels:
    """All labels that are right for each image, from a JSON list of lists such as ImageNet-ReaL's `real.json`.

    Images without a valid label do not count, as in the authors' code.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is not such a list.

    References:
        Beyer et al. 2020, arXiv:2006.07159.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        rows = _read_json(path, list, 'a list of lists of labels')
        if not rows or not all(isinstance(row, list) and all(_is_label(label) for label in row) for row in rows):
            raise ValueError(f'{path} is not a list of lists of labels: numbers from 0 on.')
        width = 1 + max((label for row in rows for label in row), default=0)
        self.table = torch.zeros(len(rows), width, dtype=torch.bool)
        for number, row in enumerate(rows):
            self.table[number, row] = True

    def hits(
        self, predicted: Int[Tensor, 'images *ranks'], rows: Int[Tensor, ' images']
    ) -> tuple[Bool[Tensor, 'images *ranks'], Bool[Tensor, ' images']]:
        """Whether predictions are valid, and which images count.

        Args:
            predicted: Labels; -1 for none.
            rows: The row of each image, as `NumberedImages` gives it.

        Raises:
            ValueError: If a row does not exist.
        """
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self.table):
            raise ValueError(
                f'{self.path} has {len(self.table)} rows, images ask for {int(rows.min())} to {int(rows.max())}: use '
                'dino_plugin.NumberedImages as data set.'
            )
        table = self.table.to(rows.device)
        known = (predicted >= 0) & (predicted < table.shape[1])
        places = rows.view(-1, *[1] * (predicted.ndim - 1)).expand_as(predicted)
        return table[places, predicted.clamp(0, table.shape[1] - 1)] & known, table[rows].any(dim=1)


def learnt_classes(source: str | os.PathLike) -> tuple[str, ...]:
    """Names of classes in the order of their labels: sorted sub-folders of a folder, or first words of lines.

    Raises:
        FileNotFoundError: If there is neither.
        ValueError: If there is no name, or one twice.
    """
    path = Path(expanded(source, 'classes'))
    if path.is_dir():
        names = sorted(entry.name for entry in list_folder(str(path)) if is_folder(entry))
    elif path.is_file():
        names = [line.split()[0] for _, line in read_lines(path)]
    else:
        raise FileNotFoundError(
            f'classes is neither a folder nor a text list: {path} (working directory: {Path.cwd()}).'
        )
    if not names or len(set(names)) < len(names):
        raise ValueError(f'{path} names {len(names)} classes, {len(set(names))} of them different: give each once.')
    return tuple(names)


def present_labels(dataset: ImageDataset) -> list[int]:
    """The labels that occur in a data set, smallest first."""
    return sorted({dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))})


def _labels_of(folders: Sequence[str], learnt: Sequence[str], mapping: dict[str, Any]) -> list[int]:
    numbers = {name: number for number, name in enumerate(learnt)}
    labels, unknown = [], []
    for folder in folders:
        found = mapping.get(folder, folder)
        label = numbers.get(found, int(found) if str(found).isdecimal() else None)
        if label is None or label >= len(learnt):
            unknown.append(folder)
        labels.append(label)
    if unknown:
        raise ValueError(
            f'{len(unknown)} of {len(folders)} folders are no class of the {len(learnt)} learnt ones ({unknown[0]}; a '
            f'learnt one is {learnt[0]}): give mapping=FILE, a JSON file of {{folder: class}}.'
        )
    return labels


def _number(path: str) -> int:
    found = re.search(r'(\d+)$', Path(path).stem)
    if not found or int(found[1]) < 1:
        raise ValueError(f'{path} does not end in a number from 1 on, which would be its row in the list of labels.')
    return int(found[1])


def _is_label(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_json(path: str | os.PathLike, kind: type, form: str) -> Any:
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, kind):
        raise ValueError(f'{path} must hold {form}, it holds a {type(content).__name__}.')
    return content
