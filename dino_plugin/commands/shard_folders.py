"""--images, where these are tar shards, or several sources."""

import os
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

from dino_plugin.commands.command_line import fail
from dino_plugin.commands.few_images import nested
from dino_plugin.data.sources.shard_index import INDEX, ShardIndex
from dino_plugin.data.sources.stores import is_address, joined

SHARDS = 'dino_plugin.ShardDataset'


def take_shards(dataset: ConfigDict) -> bool:
    """Read shards in place of files, if such lie in the folders; whether the data set is of shards afterwards."""
    here = all(is_address(root) or os.path.isfile(joined(root, INDEX)) for root in _roots(dataset))
    if here and dataset.type == 'dino_plugin.ImageDataset':
        dataset.type = SHARDS
    return dataset.type == SHARDS


def one_folder_a_source(cfg: Config, folders: Sequence[str]) -> bool:
    """Put folders into a training of several sources, in their order; False for one of a single source.

    Raises:
        SystemExit: If there are not as many folders as sources.
    """
    sources = [part for part in nested(cfg.train_dataloader.dataset) if part.get('data_root')]
    if len(sources) < 2:
        return False
    if len(sources) != len(folders):
        fail(f'--images: this config has {len(sources)} sources, got {len(folders)} folders; give one for each.')
    for dataset, folder in zip(sources, folders):
        dataset.data_root = folder
    return True


def count_in_shards(cfg: Config) -> int | None:
    """Images of the training; None if they are not in shards."""
    parts = [part for part in nested(cfg.train_dataloader.dataset) if part.get('type') == SHARDS]
    if not parts:
        return None
    return sum(len(ShardIndex(joined(root, part.get('ann_file', INDEX)))) for part in parts for root in _roots(part))


def _roots(dataset: ConfigDict) -> list[str]:
    roots = dataset.data_root if isinstance(dataset.data_root, list) else [dataset.data_root]
    return [os.path.expanduser(root) for root in roots]
