"""Images of a folder as files and as shards: the time until their bytes are in memory, nothing is decoded."""

import argparse
import logging
import os
import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmengine import fileio

from benchmark.data import image_paths
from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.sources.index_writing import index_shards
from dino_plugin.data.sources.shard_dataset import ShardDataset
from dino_plugin.data.sources.shard_sampler import ShardSampler
from dino_plugin.data.sources.shard_writing import write_shards


def run(options: argparse.Namespace, report: Report, _: Reference | None) -> None:
    """Check that both hold the same images, then time listing and reading, with a cold and a warm cache of the disk.

    Cold: the pages of the files were given back to the system (``POSIX_FADV_DONTNEED``), and each round reads others;
    names and places of the files stay known. Warm: each round reads the same again.
    """
    logging.disable(logging.INFO)  # of each opening
    with tempfile.TemporaryDirectory(dir=options.out) as temporary:
        paths = image_paths(options)
        root = os.path.commonpath([os.path.dirname(path) for path in paths])
        write_shards([dict(img_path=path) for path in sorted(paths)], root, temporary, options.images_per_shard)
        index_shards(temporary)
        shards = ShardDataset(temporary)
        order = ShardSampler(SeededDataset(shards), options.window, seed=0)
        members = [shards.get_data_info(index)['img_path'] for index, _ in order]
        same = sorted(map(_size, paths)) == sorted(len(fileio.get(member)) for member in members)
        report.check('reading', same, f'{len(paths)} images, {sum(map(_size, paths)) / len(paths) / 1e3:.0f} kB each')
        list_folder = partial(find_images, root)
        candidates = [
            Candidate('files', lambda _: list_folder(), 'all files below a folder are listed', len(paths)),
            Candidate('shards', lambda _: len(ShardDataset(temporary)), 'the index is opened', len(paths)),
        ]
        report.compare('listing', 'Which images there are', 'image', candidates, 'wall')
        random.Random(1).shuffle(paths)
        chunks = options.rounds + 1  # one to warm up
        if len(paths) < chunks * options.chunk:
            raise SystemExit(f'{len(paths)} images for {chunks} rounds of {options.chunk}: set --rounds or --chunk.')
        _forget([*paths, *map(str, Path(temporary).glob('*.tar'))])
        ways = dict(files=(paths, 'in random order'), shards=(members, f'{options.window} shards at a time'))
        candidates = [
            Candidate(f'{name}, cold', partial(_read, names, options.chunk), note, options.chunk)
            for name, (names, note) in ways.items()
        ] + [
            Candidate(f'{name}, warm', lambda _, names=names: _read(names, options.chunk, 0), note, options.chunk)
            for name, (names, note) in ways.items()
        ]
        report.compare('reading', 'Bytes of images', 'image', candidates, 'wall')
    logging.disable(logging.NOTSET)


def _read(names: Sequence[str], number: int, chunk: int) -> None:
    for name in names[chunk * number : (chunk + 1) * number]:
        fileio.get(name)


def _size(path: str) -> int:
    return os.stat(path).st_size


def _forget(paths: Sequence[str]) -> None:
    """Let the system drop what it keeps of these files in memory."""
    os.sync()
    for path in paths:
        with open(path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
