"""Two pictures of the same thing, among many others: does each find the other?"""

import csv
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dino_plugin.evaluation.nearest import nearest_by_cosine
from dino_plugin.evaluation.scorecard.image_scores import ImageScores, mean_over_images


class Paired(NamedTuple):
    """Picture i of one list and picture i of the other show the same thing."""

    first: list[dict]
    second: list[dict]


def read_pairs(table: Path) -> Paired:
    """The rows of a CSV file with the columns `first` and `second`, paths from its folder on.

    Raises:
        FileNotFoundError: If a picture does not exist.
        ValueError: If the columns are others, or there are fewer than two rows.
    """
    with table.open(newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    if len(rows) < 2 or not {'first', 'second'} <= rows[0].keys():
        raise ValueError(f'{table} must have the columns first and second, and at least two rows.')
    parts = [[table.parent / row[name] for row in rows] for name in ('first', 'second')]
    if missing := [path for part in parts for path in part if not path.is_file()]:
        raise FileNotFoundError(f'{len(missing)} pictures of {table} do not exist, the first: {missing[0]}')
    return Paired(*([dict(img_path=str(path)) for path in part] for part in parts))


def pairs_found(first: Float[Tensor, 'pairs dim'], second: Float[Tensor, 'pairs dim']) -> ImageScores:
    """Share of pictures whose nearest picture of the other list, by cosine, is their own partner; over both directions.

    Chance is 1 / pairs. Of equally near pictures one is drawn, so that a collapsed network finds pairs by chance.
    """
    found = torch.stack([_finds(first, second), _finds(second, first)])
    return mean_over_images(found.float().mean(dim=0))


def _finds(queries: Float[Tensor, 'pairs dim'], bank: Float[Tensor, 'pairs dim']) -> Tensor:
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(0)).to(bank.device)
    _, places = nearest_by_cosine(bank[order], queries, 1)
    return order[places[:, 0]] == torch.arange(len(bank), device=bank.device)
