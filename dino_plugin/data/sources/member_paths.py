"""A range of a shard as a path that any loader reads."""

import os
import re
from typing import NamedTuple

from mmengine.fileio import BaseStorageBackend, register_backend

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.sources.stores import is_address, read_range

_PATH = re.compile(r'shard://(.+?\.tar)::(.*)@(\d+)\+(\d+)', re.DOTALL)
# fileio allows one '://' in a path, so those of addresses are written ':/'.
_PROTOCOL = re.compile(r'(^|::)([a-z][a-z0-9+.-]*):/(?!/)')


def member_path(shard: str, name: str, offset: int, size: int) -> str:
    """A part of a shard as the path that `mmengine.fileio` reads, and so every loader: `LoadImage`, mmcv's."""
    return f'shard://{f"{shard}::{name}".replace("://", ":/")}@{offset}+{size}'


class MemberRange(NamedTuple):
    """What `member_path` was made of."""

    shard: str
    name: str
    offset: int
    size: int


def read_member_path(path: str) -> MemberRange | None:
    """The parts of a path of `member_path`; None for another path."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    return MemberRange(_PROTOCOL.sub(r'\1\2://', found[1]), found[2], int(found[3]), int(found[4]))


class ShardBackend(BaseStorageBackend):
    """What `mmengine.fileio` does with the paths of `member_path`."""

    def get(self, filepath: str) -> bytes:
        """The bytes of an image.

        Raises:
            UndecodableImageError: If the shard ends before them.
            FileNotFoundError: If there is no such shard.
            RuntimeError: As `read_range`.
        """
        member = read_member_path(str(filepath))
        if member is None:
            raise ValueError(f'{filepath} is no path of dino_plugin.ShardDataset: shard://SHARD.tar::NAME@OFFSET+SIZE')
        data = read_range(member.shard, member.offset, member.size)
        if len(data) < member.size:
            raise UndecodableImageError(f'the shard {member.shard} is truncated: it ends inside this image')
        return data

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """The bytes as text."""
        return self.get(filepath).decode(encoding)


def status_of(path: str) -> os.stat_result | None:
    """Of the file, or of the shard that a path of `member_path` lies in; None for an address.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if member := read_member_path(path):
        path = member.shard
    return None if is_address(path) else os.stat(path)


register_backend('shard', ShardBackend, force=True, prefixes='shard')
