"""Whether an index still fits the shards that it is of."""

import logging
from contextlib import suppress

import numpy as np
from mmengine.logging import print_log

from dino_plugin.data.images.image_files import first
from dino_plugin.data.sources.shard_index import ShardIndex
from dino_plugin.data.sources.stores import Stored, is_absolute, is_address, joined, stored, stored_below
from dino_plugin.data.sources.tar_members import Members, ending_of, read_members

_READ_AGAIN = 16  # shards; a copy gives all of them another time, and reading 100,000 would take hours


def compare(root: str, index: ShardIndex) -> None:
    """Refuse an index that does not fit its shards, and say in the log what it leaves out.

    A shard that was written again in another size does not fit. One of the same size with another time or checksum is
    a copy, or has other content: of these, the headers of 16 are read and compared with the index.

    Raises:
        FileNotFoundError: If a shard does not exist.
        ValueError: If a shard was changed, or the index is of a version that did not note times.
    """
    found = stored_below(root, '.tar') | _elsewhere(index)
    where, again = f'in {root}', f'dino-plugin index_shards {root}'
    if missing := [name for name in index.shards if name not in found]:
        raise FileNotFoundError(
            f'{len(missing)} of {len(index.shards)} shards of the index {index.path} do not exist: {first(missing)}. '
            f'Copy them to {root}, or leave them out by writing the index again: {again}'
        )
    if changed := [name for name, size in index.shards.items() if found[name].size != size]:
        raise ValueError(
            f'{len(changed)} shards of {root} have another size than in {index.path}: {first(changed)}. Bring the '
            f'index up to date: {again}'
        )
    if not index.stored:
        raise ValueError(
            f'{index.path} is of an earlier version, which did not note when shards were changed, so it may be wrong. '
            f'Write it again: {again} (if curation chose its images: remove the folder, and curate as before)'
        )
    _refuse_other_content(root, index, [name for name in index.stored if _differ(index.stored[name], found[name])])
    if new := found.keys() - index.shards.keys():
        _warn(f'{len(new)} shards {where} are not in its index and not read: index_shards adds them')
    for name, damage in index.damage.items():
        _warn(f'shard {name} {where} is damaged ({damage}): its images before that are read')
    kind = 'address' if is_address(root) else 'folder'
    print_log(f'{len(index)} images in {len(index.shards)} shards of the {kind} {root}', 'current')


def _refuse_other_content(root: str, index: ShardIndex, names: list[str]) -> None:
    places = np.linspace(0, len(names) - 1, min(len(names), _READ_AGAIN)).round().astype(int)
    if changed := [name for name in map(names.__getitem__, places) if not _fits(root, index, name)]:
        raise ValueError(
            f'{len(changed)} shards of {root} were written again after {index.path}, with other images, labels or '
            f'captions: {first(changed)}. Bring the index up to date: dino-plugin index_shards {root}'
        )
    if names:
        _warn(
            f'{len(names)} shards in {root} have another time than in {index.path}: if they are copies, that is well. '
            f'{len(places)} of them were read and fit; dino-plugin index_shards {root} reads them all.'
        )


def _differ(before: Stored, now: Stored) -> bool:
    """A time and a checksum cannot be compared: shards that were copied into a store, say."""
    return before.change.split(' ')[0] == now.change.split(' ')[0] and before != now


def _fits(root: str, index: ShardIndex, name: str) -> bool:
    indexed, path = index.members(name), joined(root, name)
    if index.extensions:
        now = read_members(path, index.extensions)
        return all(np.array_equal(before, after) for before, after in zip(indexed[:-1], now[:-1]))
    chosen = _places(indexed)
    return chosen <= _places(read_members(path, tuple({ending_of(member) for member, _, _ in chosen})))


def _places(members: Members) -> set[tuple[str, int, int]]:
    return set(zip(members.member_names(), members.offsets.tolist(), members.sizes.tolist()))


def _elsewhere(index: ShardIndex) -> dict[str, Stored]:
    """Of the shards with absolute names, as `write_index_of` writes them."""
    found = {}
    for name in filter(is_absolute, index.shards):
        with suppress(FileNotFoundError):
            found[name] = stored(name)
    return found


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)
