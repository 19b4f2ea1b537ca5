"""A data set of class folders in two parts: to train on, and held out to choose settings on."""

import re

import numpy as np
import torch
from jaxtyping import Bool
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from dino_plugin.evaluation.classification.labelled_features import held_out as drawn


def held_out_split(
    dataset: dict | BaseDataset, held_out: bool, share: float = 0.1, seed: int = 0, group: str | None = None
) -> BaseDataset:
    """One part of a labelled data set; two configs that differ in `held_out` have each image once.

    Args:
        dataset: A data set of mmengine with labels, or its config.
        held_out: The part that is drawn: `share` of each class, see `labelled_features.held_out`. False: the rest.
        share: Of each class, or of the groups, in (0, 1).
        seed: Of the draw.
        group: Regular expression: files in whose paths it finds the same text belong together, and whole groups are
            drawn, at least one. For films that were cut from one source: `_g[0-9]+_` in UCF101.

    Raises:
        ValueError: If there are no labels, or nothing can be held out; a path has no group, or all have the same.
    """
    built = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
    built.full_init()
    infos = [built.get_data_info(index) for index in range(len(built))]
    labels = [info.get('gt_label') for info in infos]
    if None in labels:
        raise ValueError(f'{type(built).__name__} has no labels: set with_labels=True.')
    if group is None:
        chosen = drawn(torch.tensor(labels), share, seed).numpy()
    else:
        chosen = _drawn_groups([info['img_path'] for info in infos], share, seed, group)
    built.get_subset_(np.flatnonzero(chosen == held_out).tolist())
    return built


def _drawn_groups(paths: list[str], share: float, seed: int, group: str) -> Bool[np.ndarray, ' samples']:
    found = [re.search(group, path) for path in paths]
    if None in found:
        raise ValueError(
            f'group={group!r} finds nothing in {paths[found.index(None)]}: give an expression for all files.'
        )
    names = [match[0] for match in found]
    groups = sorted(set(names))
    if len(groups) < 2:
        raise ValueError(f'group={group!r} finds {groups} in all {len(paths)} files: two groups or more are needed.')
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    apart = {groups[number] for number in order[: max(int(share * len(groups)), 1)]}
    return np.array([name in apart for name in names])
