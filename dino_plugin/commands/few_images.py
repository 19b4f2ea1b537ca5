"""A config's sets of images, and few images of each."""

import logging
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

SCORECARD_HOOKS = ('OnlineEvaluationHook', 'GuardHook')  # ends of types; they measure without loaders of their own


def take_few_images(cfg: Config, number: int) -> None:
    """Keeps this number of images of each set of a training, evenly spread over those that the config chooses.

    The folders are listed for it; no image is read.

    Args:
        cfg: The config; changed in place.
        number: Images of each set.

    Raises:
        FileNotFoundError: If a folder of images does not exist.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for loader in loaders_of(cfg):
            for dataset in nested(loader.dataset):
                if {'data_root', 'input_dir', 'ann_file'} & dataset.keys():
                    _spread(dataset, number)


def _spread(dataset: dict, number: int) -> None:
    key = 'filenames' if dataset['type'] == 'dino_plugin.LightlyDataset' else 'indices'
    logging.disable(logging.INFO)  # the training itself says how many images it finds
    try:
        built = DATASETS.build({k: value for k, value in dataset.items() if k not in ('pipeline', 'transform', key)})
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error} A small training needs images, too: --images DIR.') from error
    finally:
        logging.disable(logging.NOTSET)
    chosen = built.get_filenames() if key == 'filenames' else range(len(built))
    given = dataset.get(key)
    if isinstance(given, int):
        chosen = chosen[:given] if given >= 0 else chosen[given:]  # mmengine's: so many first or last ones
    elif given is not None:
        chosen = given
    if len(chosen) > number:
        dataset[key] = [chosen[place * len(chosen) // number] for place in range(number)]


def loaders_of(cfg: Config) -> Iterator[ConfigDict]:
    """The configs of a training's loaders: of its images, of its validation, and those of hooks that evaluate."""
    hooks = [(hook, ('bank', 'queries')) for hook in cfg.get('custom_hooks') or []]
    for holder, names in [(cfg, ('train_dataloader', 'val_dataloader')), *hooks]:
        yield from (holder[name] for name in names if holder.get(name))


def nested(value: Any) -> Iterator[Any]:
    """Each dict inside a part of a config, the outer ones first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from nested(inner)
