"""The images that a scorecard measures with: found, divided and read."""

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dataset import Compose
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dino_plugin.data.collate import image_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import preserved_random_state
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.evaluation.classification.labelled_features import held_out
from dino_plugin.evaluation.objects.images import ObjectImage
from dino_plugin.evaluation.scorecard.pairs import Paired
from dino_plugin.evaluation.video.clip import Clip

VIEWS_OF_IMAGE = 8


class Labelled(NamedTuple):
    """Images with classes: to search and to learn among, and to ask about."""

    bank: list[dict]
    queries: list[dict]


class Card(NamedTuple):
    """What is measured with.

    Args:
        images: Samples with `img_path`; with `gt_label` where classes are known.
        labelled: The same images with their classes, in two parts; None without classes.
        objects: Images with masks.
        clips: Video clips with masks.
        size: Pixels of the square that the network sees of an image in `images`.
        short_side: Shorter side of images in `objects`, `clips` and `class_masks`.
        class_masks: Images whose masks hold a class in each pixel.
        pairs: Two pictures each of the same things; None without.
    """

    images: list[dict]
    labelled: Labelled | None
    objects: Sequence[ObjectImage]
    clips: Sequence[Clip]
    size: int
    short_side: int
    class_masks: Sequence[ObjectImage] = ()
    pairs: Paired | None = None


def read_images(folder: Path, labels: Path | None, limit: int, seed: int = 0) -> tuple[list[dict], Labelled | None]:
    """The images below a folder, and their classes if there are any.

    Classes are known from `labels`, a CSV file with the columns `file` (a path below the folder) and `label`; from
    folders `train/CLASS` and `val/CLASS` (or `test/CLASS`); or from folders `CLASS`, of which a fifth of each is asked
    about.

    Args:
        folder: Of images.
        labels: The CSV file, or None.
        limit: Largest number of images; of more, that many are drawn, of each class the same share.
        seed: Of all draws.

    Raises:
        FileNotFoundError: If a file in `labels` does not exist.
        ValueError: If there is no image, or `labels` has other columns.
    """
    if labels is not None:
        infos = _from_csv(folder, labels)
    elif asked := next(
        (name for name in ('val', 'test') if (folder / 'train').is_dir() and (folder / name).is_dir()), None
    ):
        parts = [_infos(ImageDataset(data_root=folder / part, with_labels=True)) for part in ('train', asked)]
        parts = [drawn(part, limit * len(part) // sum(map(len, parts)), seed) for part in parts]
        return parts[0] + parts[1], Labelled(*parts)
    else:
        try:
            infos = _infos(ImageDataset(data_root=folder, with_labels=True))
        except ValueError:  # images lie outside of class folders
            return drawn(_infos(ImageDataset(data_root=folder)), limit, seed), None
    infos = drawn(infos, limit, seed)
    numbers = torch.tensor([info['gt_label'] for info in infos])
    if len(numbers.unique()) < 2:
        return infos, None
    apart = held_out(numbers, 0.2, seed).tolist()
    parts = [[info for info, ask in zip(infos, apart) if ask is wanted] for wanted in (False, True)]
    return infos, Labelled(*parts)


class _Images(Dataset):
    """Samples as an `ImageDataset` gives them, cut to squares."""

    def __init__(self, infos: list[dict], size: int) -> None:
        self.infos = infos
        self.pipeline = Compose(
            [
                dict(type='dino_plugin.LoadImage'),
                dict(type='dino_plugin.ResizeCentreCrop', resize=size, crop=size),
                dict(type='dino_plugin.PackImage'),
            ]
        )

    def __len__(self) -> int:
        return len(self.infos)

    def __getitem__(self, index: int) -> Any:
        return self.pipeline(dict(self.infos[index]))


class RandomViews(_Images):
    """Random views of each image, as DINO's global views; the same whenever one looks."""

    def __init__(self, infos: list[dict], size: int) -> None:
        super().__init__(infos, size)
        self.pipeline = Compose([dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.PackImage')])
        self.views = MultiCrop(size, num_local=0)

    def __getitem__(self, index: int) -> Tensor:
        image = super().__getitem__(index)[0].numpy()
        with preserved_random_state():
            random.seed(index)
            return torch.cat([self.views.blocks(image)[0] for _ in range(VIEWS_OF_IMAGE // 2)])


def loader_of(infos: list[dict], size: int) -> DataLoader:
    return DataLoader(_Images(infos, size), batch_size=64, num_workers=2, collate_fn=image_collate)


def _infos(dataset: ImageDataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def drawn(infos: list[dict], limit: int, seed: int) -> list[dict]:
    """At most so many samples; of each class the same share, in their order."""
    if len(infos) <= limit:
        return infos
    order = torch.randperm(len(infos), generator=torch.Generator().manual_seed(seed)).tolist()
    by_class: dict[Any, list[int]] = {}
    for number in order:
        by_class.setdefault(infos[number].get('gt_label'), []).append(number)
    share = limit / len(infos)
    chosen: Iterable[int] = (
        number for part in by_class.values() for number in part[: max(round(share * len(part)), 1)]
    )
    return [infos[number] for number in sorted(chosen)]


def _from_csv(folder: Path, labels: Path) -> list[dict]:
    with labels.open(newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    if not rows or not {'file', 'label'} <= rows[0].keys():
        raise ValueError(f'{labels} must have the columns file and label, and at least one row.')
    paths = [folder / row['file'] for row in rows]
    if missing := [path for path in paths if not path.is_file()]:
        raise FileNotFoundError(
            f'{len(missing)} of {len(paths)} files in {labels} do not exist, the first: {missing[0]}'
        )
    names = sorted({row['label'] for row in rows})
    return [dict(img_path=str(path), gt_label=names.index(row['label'])) for path, row in zip(paths, rows)]
