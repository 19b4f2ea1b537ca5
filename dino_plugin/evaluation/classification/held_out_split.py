"""A data set of class folders in two parts: to train on, and held out to choose settings on."""

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from dino_plugin.evaluation.classification.labelled_features import held_out as drawn


def held_out_split(dataset: dict | BaseDataset, held_out: bool, share: float = 0.1, seed: int = 0) -> BaseDataset:
    """One part of a labelled data set; two configs that differ in `held_out` have each image once.

    Args:
        dataset: A data set of mmengine with labels, or its config.
        held_out: The part that is drawn: `share` of each class, see `labelled_features.held_out`. False: the rest.
        share: Of each class, in (0, 1).
        seed: Of the draw.

    Raises:
        ValueError: If there are no labels, or nothing can be held out.
    """
    built = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
    built.full_init()
    labels = [built.get_data_info(index).get('gt_label') for index in range(len(built))]
    if None in labels:
        raise ValueError(f'{type(built).__name__} has no labels: set with_labels=True.')
    chosen = drawn(torch.tensor(labels), share, seed).numpy() == held_out
    built.get_subset_(np.flatnonzero(chosen).tolist())
    return built
