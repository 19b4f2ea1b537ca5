"""Embeddings of many images as shards; each process of a run makes some of them."""

from pathlib import Path
from typing import Any

from mmengine.dist import barrier, get_rank
from torch import nn

from dino_plugin.core.reduce import num_ranks
from dino_plugin.evaluation.features.files import write_features

SHARD = 65536


def write_shards(backbone: nn.Module, dataset: Any, folder: Path, shard: int = SHARD, **options: Any) -> None:
    """Writes `000000.npy` and the names of its rows in `000000.txt`, and so on. All processes call it.

    An image that cannot be read has no row. Shards that exist are not made again, and an unfinished one is gone on
    with: an interrupted call loses at most 1,024 images of each process.

    Args:
        backbone: As in `write_features`.
        dataset: Likewise.
        folder: Of the shards.
        shard: Images of each at most; all have nearly the same number.
        **options: Of `write_features`: `features`, `batch_size`, `num_workers`, `autocast_dtype`.

    Raises:
        ValueError: As in `write_features`: if no image of a shard can be read.
    """
    shards = -(-len(dataset) // shard)
    for number in range(get_rank(), shards, num_ranks()):
        out = folder / f'{number:06}.npy'
        if not out.with_suffix('.txt').is_file():  # it is written last
            images = range(len(dataset) * number // shards, len(dataset) * (number + 1) // shards)
            write_features(backbone, dataset.get_subset(list(images)), out, **options)
    barrier()
