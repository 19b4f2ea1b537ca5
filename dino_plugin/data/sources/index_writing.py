"""Tar shards -> one file that says where each of their images lies."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from dino_plugin.data.images.image_files import EXTENSIONS, first
from dino_plugin.data.sources.member_paths import read_member_path
from dino_plugin.data.sources.shard_index import INDEX, ShardIndex
from dino_plugin.data.sources.stores import Stored, is_address, joined, stored, stored_below
from dino_plugin.data.sources.tar_members import Members, as_members, read_members


class Indexed(NamedTuple):
    """What `index_shards` did."""

    index: ShardIndex
    num_new: int  # shards that were read


def index_shards(
    root: str,
    path: str = '',
    extensions: tuple[str, ...] = EXTENSIONS,
    num_workers: int = 0,
    classes: Iterable[str] = (),
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Indexed:
    """Read the headers of all shards below a folder, and write the index.

    Shards that an earlier index has, read with the same endings and not written since, are not read again: so more
    shards are added, and an interrupted run goes on.

    Args:
        root: The folder, or an address that fsspec knows.
        path: The index; empty: `index.safetensors` in the folder. It has to be local.
        extensions: Endings of images, see `read_members`.
        num_workers: Processes.
        classes: Names of the labels; empty: those of an earlier index.
        progress: Around the names of the shards, for a bar.

    Raises:
        FileNotFoundError: If there is no shard.
        ValueError: If the index would not be local, or no shard has an image.
        KeyboardInterrupt: If it is interrupted, after the index of what was read has been written.
    """
    path = path or joined(root, INDEX)
    if is_address(path):
        raise ValueError(f'{root} is not on a local disk: give --out for the index, then copy it there.')
    there = stored_below(root, '.tar')
    if not there:
        raise FileNotFoundError(f'no .tar file in {root} or below')
    known = ShardIndex(path) if os.path.exists(path) else None
    same = known.stored.items() & there.items() if known and known.extensions == tuple(extensions) else ()
    found = {name: known.members(name) for name, _ in same}
    new = [name for name in there if name not in found]
    try:
        for name, members in zip(progress(new), _read_all(root, new, extensions, num_workers)):
            found[name] = members
    finally:
        images = sum(len(members.sizes) for members in found.values())
        if images:
            read = {name: shard for name, shard in there.items() if name in found}
            header = dict(
                extensions=list(extensions),
                classes=list(classes) or list(known.classes if known else ()),
                damage={name: found[name].damage for name in read if found[name].damage},
                others={name: found[name].others for name in read if found[name].others},
            )
            _write(path, [found[name] for name in read], read, header)
    if not images:
        others = sorted(set().union(*(members.others for members in found.values())))
        raise ValueError(
            f'no image in the {len(found)} shards of {root}: looked for members in {" ".join(extensions)}, all after '
            f'the first dot of a name, and found {first(others) or "none"}.'
        )
    return Indexed(ShardIndex(path), len(new))


def write_index_of(paths: Sequence[str], path: str) -> None:
    """An index of some images of shards, which stay where they are: for `ShardDataset` in the index's folder.

    Args:
        paths: Of `ShardDataset`, `shard://...`; one that stands there twice is there twice.
        path: The index; it names the shards by absolute paths, and has no labels.

    Raises:
        ValueError: If a path is no image of a shard.
    """
    images: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for each in paths:
        member = read_member_path(each)
        if member is None:
            raise ValueError(f'{each} is no image of a shard: expected shard://SHARD.tar::NAME@OFFSET+SIZE.')
        shard = member.shard if is_address(member.shard) else os.path.abspath(member.shard)
        images[shard].append((member.name, member.offset, member.size))
    parts = [as_members(members) for members in images.values()]
    header = dict(extensions=[], classes=[], damage={}, others={})
    _write(path, parts, {shard: stored(shard) for shard in images}, header)


def _read_all(root: str, names: list[str], extensions: tuple[str, ...], num_workers: int) -> Iterator[Members]:
    read = partial(read_members, extensions=extensions)
    paths = [joined(root, name) for name in names]
    with ProcessPoolExecutor(num_workers) if num_workers else nullcontext() as pool:
        yield from pool.map(read, paths, chunksize=4) if pool else map(read, paths)


def _write(path: str, parts: list[Members], shards: Mapping[str, Stored], header: dict[str, Any]) -> None:
    bytes_before = np.cumsum([0, *(len(part.names) for part in parts)])
    arrays = dict(
        starts=np.cumsum([0, *(len(part.sizes) for part in parts)]),
        offsets=np.concatenate([part.offsets for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        names=np.concatenate([part.names for part in parts]),
        name_ends=np.concatenate([part.name_ends + before for part, before in zip(parts, bytes_before)]),
    )
    header['shards'] = {name: shard.size for name, shard in shards.items()}
    header['changes'] = {name: shard.change for name, shard in shards.items()}
    header['captions'] = any(part.caption_sizes.any() for part in parts)
    if header['captions']:
        arrays['caption_offsets'] = np.concatenate([part.caption_offsets for part in parts])
        arrays['caption_sizes'] = np.concatenate([part.caption_sizes for part in parts])
    unfinished = Path(f'{path}.part')
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, unfinished, metadata=dict(shards=json.dumps(header)))
    os.chmod(unfinished, 0o644)  # others train on it, too
    os.replace(unfinished, path)
