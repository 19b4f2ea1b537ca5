"""Images in tar shards, as webdataset and img2dataset write them, as an mmengine data set."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from dino_plugin.data.images.user_files import expanded
from dino_plugin.data.sources.changed_shards import compare
from dino_plugin.data.sources.counted_images import CountedImages
from dino_plugin.data.sources.shard_index import INDEX, ShardIndex
from dino_plugin.data.sources.stores import joined


class ShardDataset(CountedImages):
    """Images of tar shards, each of which is read by itself: any order, any number of processes, resumed anywhere.

    It takes the place of :class:`~dino_plugin.data.images.image_dataset.ImageDataset` in training and evaluators. An
    item holds ``img_path``, a path that ``LoadImage``, ``LoadChannels`` and mmcv's loader read, and, with labels,
    ``gt_label``; with captions, ``caption_path``. ``dino-plugin make_shards`` writes shards of a folder, ``dino-plugin
    index_shards`` the index of others. The order is that of the names of the shards, then that in the shard;
    :class:`~dino_plugin.data.sources.shard_sampler.ShardSampler` shuffles so that few shards are read at a time.

    Args:
        data_root: Folder of the shards, or an address that fsspec knows, such as ``s3://bucket/shards``; or several,
            one after the other.
        ann_file: The index; a relative path is taken from each ``data_root``. An index on a local disk is mapped into
            memory, one in a store is held by each process.
        with_labels: Give the labels, from members ``.cls``.
        with_captions: Give where the captions are, members ``.txt``, or ``.json`` where there is no text.
        **kwargs: ``max_pixels`` as in ``ImageDataset``, and mmengine's usual arguments, such as ``pipeline``,
            ``metainfo`` and ``indices``. There are no ``data_prefix`` and ``filter_cfg``.

    Raises:
        FileNotFoundError: If a folder, its index, or a shard of the index does not exist.
        ValueError: If a shard was changed after the index was written, the index is of an earlier version, or labels or
            captions are missing.
        RuntimeError: If a store does not answer, also from ``__getitem__``.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | Sequence[str | os.PathLike],
        ann_file: str = INDEX,
        with_labels: bool = False,
        with_captions: bool = False,
        **kwargs: Any,
    ) -> None:
        roots = data_root if isinstance(data_root, (list, tuple)) else [data_root]
        self._roots = [os.fspath(expanded(root, 'data_root')) for root in roots]
        self.with_labels, self.with_captions = with_labels, with_captions
        root = self._roots[0] if len(self._roots) == 1 else ''
        super().__init__(ann_file=expanded(ann_file, 'ann_file'), data_root=root, **kwargs)

    def _join_prefix(self) -> None:
        """mmengine's would not know the addresses; `full_init` joins."""

    def open(self) -> int:
        """Open the index of each folder, and compare it with the shards that are there."""
        self._indexes = [ShardIndex(joined(root, self.ann_file)) for root in self._roots]
        for root, index in zip(self._roots, self._indexes):
            compare(root, index)
        if self.with_labels:
            self._check_labels()
        if self.with_captions:
            self._check_captions()
        self._firsts = np.cumsum([0, *map(len, self._indexes)])
        return int(self._firsts[-1])

    def sample(self, image: int) -> dict:
        """A range of a shard as the path."""
        folder = int(np.searchsorted(self._firsts, image, side='right')) - 1
        index, place = self._indexes[folder], (image - int(self._firsts[folder]), self._roots[folder])
        info = index.sample(*place)
        if not self.with_labels:
            del info['gt_label']
        return info | dict(caption_path=index.caption_path(*place)) if self.with_captions else info

    def begins(self) -> Int64[np.ndarray, ' shards']:
        """Of all folders, one after the other."""
        return np.concatenate([index.starts[:-1] + begin for index, begin in zip(self._indexes, self._firsts)])

    def _check_captions(self) -> None:
        for root, index in zip(self._roots, self._indexes):
            if len(missing := index.without_caption):
                raise ValueError(
                    f'{len(missing)} of {len(index)} images in the shards of {root} have no caption (a member NAME.txt '
                    f'or NAME.json beside NAME.jpg), such as {index.name(int(missing[0]))}: write them into the shards '
                    f'and run dino-plugin index_shards {root}, which also brings an old index up to date.'
                )

    def _check_labels(self) -> None:
        for root, index in zip(self._roots, self._indexes):
            if (missing := index.num_without_label) > 0:
                raise ValueError(
                    f'{missing} of {len(index)} images in the shards of {root} have no label (a member NAME.cls with a '
                    'number beside NAME.jpg): write them with make_shards --with-labels, or set with_labels=False.'
                )
        if self._indexes[0].classes:
            self._metainfo.setdefault('classes', self._indexes[0].classes)
