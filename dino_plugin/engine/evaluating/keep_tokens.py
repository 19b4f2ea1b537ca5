"""A hook that runs the frozen backbone once for each film, and never again."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader, Subset

from dino_plugin import __version__
from dino_plugin.data.collate import image_collate
from dino_plugin.engine.evaluating.linear_grid import refuse_other_labels
from dino_plugin.evaluation.clips.dataset import ClipDataset
from dino_plugin.evaluation.features.cache import FeatureCache, cache_key
from dino_plugin.evaluation.features.rows_on_disk import write_rows
from dino_plugin.evaluation.progress import progress


class KeepTokensHook(Hook):
    """Keeps the tokens of a `ClipClassifier` in `FeatureCache`, in float16, and lets data sets read them from there.

    It does so for each `ClipDataset` whose samples are the same at each reading. Network, films (path, size, time of
    last change) and settings are the key: a second run takes the same file. Where views are drawn anew, or tokens would
    not fit, the backbone runs at each pass.

    Args:
        max_gigabytes: Of one data set's tokens, and of all kept features. 0: keep nothing.

    Raises:
        ValueError: Before anything is computed, if a film's label is no class of the model.
    """

    priority = 'LOW'

    def __init__(self, max_gigabytes: float = 10.0) -> None:
        self.cache = FeatureCache(max_gigabytes=max_gigabytes)

    def before_train(self, runner) -> None:
        """Films to train on and to validate on."""
        self._keep(runner, runner.train_loop.dataloader)
        if runner.val_loop is not None:
            self._keep(runner, runner.val_loop.dataloader)

    def before_test(self, runner) -> None:
        """Films to test on, and those that choose a probe."""
        for loader in (runner.test_loop.dataloader, getattr(runner.test_loop, 'bank_dataloader', None)):
            if loader is not None:
                self._keep(runner, loader)

    def _keep(self, runner, loader: DataLoader) -> None:
        dataset = getattr(loader.dataset, 'dataset', loader.dataset)  # in a SeededDataset
        if not isinstance(dataset, ClipDataset) or dataset.tokens:
            return
        model = getattr(runner.model, 'module', runner.model)
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        refuse_other_labels(torch.tensor([info['gt_label'] for info in infos]), model.num_classes)
        if not dataset.fixed or not self.cache.max_bytes:
            return
        path = self.cache.array_path(cache_key(model.backbone, infos, _settings(model, dataset)))
        if path.is_file():
            path.touch()
            print_log(f'Tokens of {len(dataset)} clips are taken from {path}', 'current')
        elif not self._compute(model, dataset, loader.num_workers, path):
            return
        dataset.tokens = str(path)

    def _compute(self, model: nn.Module, dataset: ClipDataset, num_workers: int, path: Path) -> bool:
        """Writes the tokens, if they are few enough."""
        shape = (len(dataset), *_tokens_of(model, [dataset[0]]).shape[1:])
        size = 2 * math.prod(shape)
        if size > self.cache.max_bytes:
            print_log(
                f'Tokens of {len(dataset)} clips would take {size / 1e9:.1f} GB and are computed at each pass: more '
                f'than max_gigabytes={self.cache.max_bytes / 1e9:g} of KeepTokensHook.',
                'current',
            )
            return False
        write_rows(path, shape, _rows(model, dataset, num_workers))
        self.cache.make_room()
        return True


def _settings(model: nn.Module, dataset: ClipDataset) -> list:
    """What tokens depend on, beside weights and films."""
    steps = [(type(step).__name__, vars(step)) for step in dataset.pipeline.transforms]
    colours = [model.data_preprocessor.mean.tolist(), model.data_preprocessor.std.tolist()]
    return [__version__, torch.__version__, str(model.autocast_dtype), model.backbone.description, colours, steps]


def _tokens_of(model: nn.Module, samples: list) -> torch.Tensor:
    return model.tokens(model.data_preprocessor(image_collate(samples))['images'])


def _rows(model: nn.Module, dataset: ClipDataset, num_workers: int) -> Iterator[tuple[int, np.ndarray]]:
    """The clips of this process."""
    own = range(get_rank(), len(dataset), get_world_size())
    loader = DataLoader(Subset(dataset, own), 1, num_workers=num_workers, collate_fn=list)
    for number, samples in zip(own, progress(loader, f'tokens of {len(own)} clips')):
        yield number, _tokens_of(model, samples)[0].half().cpu().numpy()
