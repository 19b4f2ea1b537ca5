"""A checkpoint folder of a sharded training as one file, and back."""

import shutil
from pathlib import Path

import torch
from torch.distributed.checkpoint import FileSystemWriter, save

from dino_plugin.engine.distributed.sharded_checkpoint import joined, split
from dino_plugin.weights.reading.sharded import REST, is_sharded, load_sharded
from dino_plugin.weights.safe_loading import load_checkpoint


def convert(source: Path, destination: Path) -> Path:
    """Write a folder as one file, or a file as a folder, with all that training needs to go on.

    Args:
        source: Checkpoint of a training of this package; all of it is read into memory.
        destination: Gets its name when it is whole.

    Returns:
        The destination.

    Raises:
        FileExistsError: If the destination exists.
        ValueError: If the source is no checkpoint of a training.
    """
    if destination.exists():
        raise FileExistsError(f'{destination} exists; delete it, or choose another name.')
    partial = destination.with_name(f'{destination.name}.partial')
    if is_sharded(source):
        if not (source / REST).is_file():
            raise ValueError(f'{source} was not written by a training of this package: it has no {REST}.')
        torch.save(joined(load_sharded(source, optimizers=True), load_checkpoint(source / REST)), partial)
    else:
        checkpoint = load_checkpoint(source)
        if 'state_dict' not in checkpoint or 'meta' not in checkpoint:
            raise ValueError(f'{source} is no checkpoint of a training: it has no state_dict or meta.')
        tensors, rest = split(checkpoint)
        shutil.rmtree(partial, ignore_errors=True)
        save(tensors, storage_writer=FileSystemWriter(partial), no_dist=True)
        torch.save(rest, partial / REST)
    partial.rename(destination)
    return destination
