"""Where each image of many tar shards lies, so that any of them is read by itself."""

import json
import os

import numpy as np
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes

from dino_plugin.data.sources.member_paths import member_path
from dino_plugin.data.sources.stores import Stored, is_address, joined, read_all
from dino_plugin.data.sources.tar_members import BYTES, Members

INDEX = 'index.safetensors'


class ShardIndex:
    """Where each image of the shards below one folder lies. A local file is mapped into memory, not read.

    A billion images take 37 GB of disk, with captions 49 GB; processes share what they touch of it.

    Args:
        path: Of the file that `index_shards` writes, local or an address, which is held in memory.

    Attributes:
        shards: Bytes of each shard, by its name relative to the folder.
        stored: The same with the change of each; empty in an index of an earlier version, which did not look.
        extensions: Endings of images that it was written with; empty if somebody chose the images.
        starts: Number of the first image of each shard, and last the number of all.
        classes: Their names, if the shards were written with them.
        damage: What is wrong with damaged shards, by name.
        others: How many members that are no images the shards have, by name and ending.
        has_captions: Whether there is any.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is no index.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            if is_address(path):
                self._arrays, header = _from_bytes(read_all(path))
            else:
                with safe_open(path, 'pt') as file:
                    self._arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
                    header = json.loads((file.metadata() or {})['shards'])
        except FileNotFoundError as error:
            folder = os.path.dirname(path)
            raise FileNotFoundError(
                f'no index of shards: {path}. Make it: dino-plugin index_shards {folder}'
            ) from error
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(
                f'{path} is no index of shards ({error}): delete it, then dino-plugin index_shards'
            ) from error
        self.shards: dict[str, int] = header['shards']
        changes: dict[str, str] = header.get('changes', {})
        self.stored = {name: Stored(self.shards[name], change) for name, change in changes.items()}
        self.extensions: tuple[str, ...] = tuple(header.get('extensions', ()))
        self.classes: tuple[str, ...] = tuple(header['classes'])
        self.damage: dict[str, str] = header['damage']
        self.others: dict[str, dict[str, int]] = header.get('others', {})
        self.has_captions: bool = header.get('captions', False)
        self._names = list(self.shards)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self.starts = self._arrays['starts']

    def __reduce__(self) -> tuple:
        return ShardIndex, (self.path,)  # a spawned worker maps the file again

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def num_without_label(self) -> int:
        """Images without a label."""
        return int((self._arrays['labels'] < 0).sum())

    @property
    def without_caption(self) -> Int64[np.ndarray, ' images']:
        """Numbers of the images without a caption."""
        return np.flatnonzero(self._arrays['caption_sizes'] == 0) if self.has_captions else np.arange(len(self))

    def caption_path(self, index: int, root: str) -> str:
        """Of the member that is the caption of an image, as `sample` gives that of the image."""
        offset, size = (int(self._arrays[name][index]) for name in ('caption_offsets', 'caption_sizes'))
        return member_path(self._shard_of(index, root), f'caption of {self.name(index)}', offset, size)

    def sample(self, index: int, root: str) -> dict:
        """`img_path` of an image, and its `gt_label`, -1 without; `root` is the folder of the shards."""
        offset, size, label = (int(self._arrays[name][index]) for name in ('offsets', 'sizes', 'labels'))
        path = member_path(self._shard_of(index, root), self.name(index), offset, size)
        return dict(img_path=path, gt_label=label)

    def _shard_of(self, index: int, root: str) -> str:
        return joined(root, self._names[int(np.searchsorted(self.starts, index, side='right')) - 1])

    def name(self, index: int) -> str:
        """Of the member."""
        ends = self._arrays['name_ends']
        found = self._arrays['names'][int(ends[index - 1]) if index else 0 : int(ends[index])]
        return found.tobytes().decode(errors=BYTES)

    def members(self, shard: str) -> Members:
        """What `read_members` found."""
        number = self._numbers[shard]
        begin, end = self.starts[number : number + 2].tolist()
        ends = self._arrays['name_ends'][begin:end]
        bytes_before = int(self._arrays['name_ends'][begin - 1]) if begin else 0
        names = self._arrays['names'][bytes_before : int(ends[-1]) if begin < end else bytes_before]
        offsets, sizes, labels = (self._arrays[part][begin:end] for part in ('offsets', 'sizes', 'labels'))
        places, lengths = np.zeros(end - begin, np.int64), np.zeros(end - begin, np.int32)
        if self.has_captions:
            places, lengths = (self._arrays[part][begin:end] for part in ('caption_offsets', 'caption_sizes'))
        said = self.damage.get(shard, ''), self.others.get(shard, {})
        return Members(offsets, sizes, labels, names, ends - bytes_before, places, lengths, *said)


def _from_bytes(data: bytes) -> tuple[dict[str, np.ndarray], dict]:
    length = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8 : 8 + length])
    return {name: tensor.numpy() for name, tensor in load_bytes(data).items()}, json.loads(
        header['__metadata__']['shards']
    )
