"""Which images a tar file has, and where: only headers are read."""

import os
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from dino_plugin.data.images.image_files import EXTENSIONS
from dino_plugin.data.sources.stores import opened

LABEL = '.cls'
CAPTIONS = ('.json', '.txt')  # where both are, the text is the caption
MOST_BYTES = 2**31 - 1
BYTES = 'surrogateescape'  # names of members need not be UTF-8; tarfile reads them so


class Place(NamedTuple):
    """First byte of a file in its shard, and its bytes."""

    offset: int
    size: int


class Members(NamedTuple):
    """The images of one shard, in its order; arrays, since a hundred thousand shards have a billion of them.

    Attributes:
        offsets: First byte of each in the shard.
        sizes: Bytes of each.
        labels: Of the members `.cls` that belong to them; -1 without.
        names: All names, one behind the other.
        name_ends: Where each name ends.
        caption_offsets: First byte of the caption of each image, a member `.txt` or `.json`.
        caption_sizes: Bytes of it; 0 without.
        damage: What is wrong with the shard behind the images that were found; empty: nothing.
        others: How many other members there are, by their endings: other or empty files, links that are not followed.
    """

    offsets: Int64[np.ndarray, ' images']
    sizes: Int32[np.ndarray, ' images']
    labels: Int32[np.ndarray, ' images']
    names: UInt8[np.ndarray, ' bytes']
    name_ends: Int64[np.ndarray, ' images']
    caption_offsets: Int64[np.ndarray, ' images']
    caption_sizes: Int32[np.ndarray, ' images']
    damage: str
    others: Mapping[str, int]

    def member_names(self) -> list[str]:
        """Of each image."""
        joined = self.names.tobytes()
        ends = self.name_ends.tolist()
        return [joined[start:end].decode(errors=BYTES) for start, end in zip([0, *ends], ends)]


def ending_of(name: str) -> str:
    """What webdataset takes as the kind of a member: all after the first dot of the base name, in small letters."""
    _, dot, ending = os.path.basename(name).partition('.')
    return (dot + ending).lower()


def read_members(path: str, extensions: tuple[str, ...] = EXTENSIONS) -> Members:
    """The images of a shard in webdataset's layout: `KEY.jpg`, with `KEY.cls` as its label, `KEY.txt` or `KEY.json`
    as its caption, and any other members.

    A hard link is the file that it leads to, which tar writes before it; symbolic links are not followed. A damaged
    shard gives the images before the damage.

    Args:
        path: A tar file without compression, local or an address.
        extensions: Endings of images.
    """
    images: list[tuple[str, int, int]] = []
    labels: dict[str, int] = {}
    captions: dict[str, tuple[int, int, int]] = {}  # kind, offset, size
    files: dict[str, Place] = {}
    others: Counter[str] = Counter()
    damage = ''
    with opened(path) as file:
        num_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode='r:') as shard:
                for member in shard:
                    name, ending, place = member.name, ending_of(member.name), _place(member, files)
                    if member.isdir() or (place and sum(place) > num_bytes):
                        continue
                    if place:
                        files[name] = place  # a later hard link may lead to it
                    if place and ending in extensions and 0 < place.size <= MOST_BYTES:
                        images.append((name, *place))
                    elif place and ending == LABEL:
                        file.seek(place.offset)
                        labels[_key(name)] = _number(file.read(min(place.size, 32)))
                    else:
                        others[ending] += 1
                    if place and ending in CAPTIONS:
                        found = CAPTIONS.index(ending), *place
                        captions[_key(name)] = max(found, captions.get(_key(name), found))
                damage = _damage_at(file, shard.offset)
        except tarfile.TarError as error:
            damage = str(error)
    return as_members(images, labels, damage, others, captions)


def as_members(
    images: Sequence[tuple[str, int, int]],
    labels: Mapping[str, int] = MappingProxyType({}),
    damage: str = '',
    others: Mapping[str, int] = MappingProxyType({}),
    captions: Mapping[str, tuple[int, int, int]] = MappingProxyType({}),
) -> Members:
    """Arrays of (name, offset, size) of each image, and of labels and (kind, offset, size) of captions by name without
    ending.
    """
    names = [name.encode(errors=BYTES) for name, _, _ in images]
    places = np.array([captions.get(_key(name), (0, 0, 0)) for name, _, _ in images], np.int64).reshape(-1, 3)
    return Members(
        np.array([offset for _, offset, _ in images], np.int64),
        np.array([size for _, _, size in images], np.int32),
        np.array([labels.get(_key(name), -1) for name, _, _ in images], np.int32),
        np.frombuffer(b''.join(names), np.uint8),
        np.cumsum([len(name) for name in names], dtype=np.int64),
        places[:, 1],
        places[:, 2].astype(np.int32),
        damage,
        dict(others),
    )


def _damage_at(file: Any, offset: int) -> str:
    """Behind its last member a whole shard has zeros."""
    file.seek(offset)
    return f'byte {offset} begins no member' if file.read(tarfile.BLOCKSIZE).strip(b'\0') else ''


def _place(member: tarfile.TarInfo, files: Mapping[str, Place]) -> Place | None:
    if member.isreg() and not member.issparse():
        return Place(member.offset_data, member.size)
    return files.get(member.linkname) if member.islnk() else None


def _key(name: str) -> str:
    return name[: len(name) - len(ending_of(name))]


def _number(text: bytes) -> int:
    return int(text) if text.strip().isdigit() else -1
