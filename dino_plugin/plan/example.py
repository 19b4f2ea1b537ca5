"""The shapes of a config's batches: its own transforms and collate function on one made-up image."""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, FUNCTIONS
from PIL import Image
from torch import Tensor, nn

from dino_plugin.commands.few_images import nested
from dino_plugin.commands.image_folders import train_on
from dino_plugin.core.views import ViewBatch

SIDE = 256  # pixels of the image; views may be larger
SAMPLES = 16  # in one example: enough for the mean number of masked patches


class Example(NamedTuple):
    """A batch of one of the sizes that a recipe uses.

    Attributes:
        views: As the model gets them, of `SAMPLES` images.
        share: Of the steps that have this size, in (0, 1].
    """

    views: ViewBatch
    share: float

    def of(self, batch: int) -> ViewBatch:
        """The same for a batch of this many images; its numbers mean nothing."""
        views = self.views
        resized = {
            name: value.new_empty(value.shape[0], batch, *value.shape[2:])
            for name, value in views._asdict().items()
            if isinstance(value, Tensor) and name != 'mask_indices'
        }
        if views.mask_indices is not None:
            resized['mask_indices'] = views.mask_indices.new_empty(round(len(views.mask_indices) * batch / SAMPLES))
        return views._replace(**resized)


def examples(cfg: Config, preprocessor: nn.Module) -> list[Example]:
    """One example for each size of views; most recipes have one.

    Args:
        cfg: Of a pretraining; its images need not exist.
        preprocessor: Of its model, on the CPU.
    """
    loader = cfg.train_dataloader
    collate = dict(loader.collate_fn)
    collate = partial(FUNCTIONS.get(collate.pop('type')), **collate)
    with _dataset_of_one_image(cfg) as dataset:
        odds = loader.get('sampler', {}).get('odds') or [1.0] * len(dataset)
        batches = [collate([dataset[index]] * SAMPLES) for index in range(len(dataset))]
    found = [preprocessor(batch, True)['views'] for batch in batches]
    return [Example(views, share / sum(odds)) for views, share in zip(found, odds, strict=True)]


@contextmanager
def _dataset_of_one_image(cfg: Config) -> Iterator[Any]:
    """The config's dataset on a folder with one image; with several pipelines it has a sample for each."""
    channels = [part['num_channels'] for part in nested(cfg.train_dataloader.dataset) if part.get('num_channels')]
    changed = Config(copy.deepcopy(dict(train_dataloader=cfg.train_dataloader, model=dict(type=cfg.model.type))))
    for part in nested(changed.train_dataloader.dataset):
        for listed in ('ann_file', 'indices', 'filenames', 'data_prefix'):
            part.pop(listed, None)
        if part.get('split') in ('auto', 'device', 'decode'):
            part['split'] = 'worker'  # the shapes are the same
    with tempfile.TemporaryDirectory() as folder:
        if channels:
            np.save(Path(folder, 'image.npy'), np.ones((SIDE, SIDE, channels[0]), np.uint16))
        else:
            Image.new('RGB', (SIDE, SIDE), 'grey').save(Path(folder, 'image.png'))
        train_on(changed, [folder], {})
        yield DATASETS.build(changed.train_dataloader.dataset)
