"""For tools/curate.py: the processes that a launcher started, and embeddings by the network of the command line."""

import argparse
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import init_dist, is_main_process

from dino_plugin.commands.features_of_images import images_at
from dino_plugin.commands.network_arguments import backbone_or_fail
from dino_plugin.core.reduce import join_processes_on_cpu
from dino_plugin.curation.embedding import write_shards
from dino_plugin.curation.rows import names_of_rows
from dino_plugin.curation.run import Source
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.features.cache import hash_of_images
from dino_plugin.evaluation.features.names import refuse_other_than_utf8

PATIENCE = timedelta(days=2)  # the first process works alone at times: on an index, on tables


def join_if_launched() -> str:
    """Joins the processes of `torchrun`, if it started this one; the device of the computations."""
    if 'RANK' in os.environ:
        if torch.cuda.is_available():
            init_dist('pytorch', timeout=PATIENCE.total_seconds())
        else:
            join_processes_on_cpu(PATIENCE)
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def embeddings_of(args: argparse.Namespace, folder: str) -> Source:
    """Settings of the embeddings of a folder of images, and the function that writes them.

    The network is read only if there is something to embed.
    """
    folder = os.path.abspath(os.path.expanduser(folder))  # the list of chosen images is read from elsewhere, too
    dataset = images_at(folder, args.resize, args.crop)
    options = dict(features=args.features, batch_size=args.batch_size, num_workers=args.num_workers)
    settings = dict(checkpoint=args.checkpoint, backbone=args.backbone, images=folder, number=len(dataset))
    settings['hash_of_files'] = hash_of_images(map(dataset.get_data_info, range(len(dataset))))
    settings |= dict(features=args.features, resize=args.resize, crop=args.crop, precision=args.precision)
    if os.path.isfile(args.checkpoint):  # a training may have written another network under this name
        status = os.stat(args.checkpoint)
        settings['checkpoint_bytes_and_change'] = [status.st_size, status.st_mtime_ns]

    def embed(out: Path) -> dict[str, Any]:
        refuse_other_than_utf8(_names(dataset), 'Lists of images')  # before long work
        backbone = backbone_or_fail(args.checkpoint, args.backbone)
        write_shards(backbone, dataset, out, autocast_dtype=PRECISIONS[args.precision], **options)
        return _unreadable(dataset, out) if is_main_process() else {}

    return settings, embed


def _names(dataset: BaseDataset) -> Iterator[str]:
    return (dataset.get_data_info(index)['img_path'] for index in range(len(dataset)))


def _unreadable(dataset: BaseDataset, out: Path) -> dict[str, Any]:
    """Lists the images that have no row."""
    missing = sorted(set(_names(dataset)).difference(names_of_rows(out)))
    (out / 'unreadable.txt').write_text(''.join(f'{name}\n' for name in missing), encoding='utf-8')
    return dict(images=len(dataset), unreadable=len(missing))
