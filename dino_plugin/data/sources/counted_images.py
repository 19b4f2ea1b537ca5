"""mmengine's data set without its list of samples: each is made when it is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from jaxtyping import Int64
from mmengine.dataset import BaseDataset, force_full_init

from dino_plugin.data.images.headers import MAX_PIXELS


class CountedImages(BaseDataset, ABC):
    """Images that have numbers; a list of a billion of them would need hundreds of gigabytes.

    A class of a kind of source gives :meth:`open`, :meth:`sample` and :meth:`begins`.

    Args:
        max_pixels: As in :class:`~dino_plugin.data.images.image_dataset.ImageDataset`.
        **kwargs: mmengine's usual arguments, such as ``pipeline``, ``metainfo`` and ``indices``.
    """

    _fully_initialized: bool = False

    def __init__(self, max_pixels: int = MAX_PIXELS, **kwargs: Any) -> None:
        self.max_pixels = max_pixels
        self._chosen: np.ndarray | None = None
        super().__init__(**kwargs)

    @abstractmethod
    def open(self) -> int:
        """Open the source, and count its images."""

    @abstractmethod
    def sample(self, image: int) -> dict:
        """`img_path` and, with labels, `gt_label` of an image."""

    @abstractmethod
    def begins(self) -> Int64[np.ndarray, ' shards']:
        """The number of the first image of each shard."""

    def full_init(self) -> None:
        """Open the source."""
        if self._fully_initialized:
            return
        self._num_images = self.open()
        self._fully_initialized = True
        if self._indices is not None:
            self.get_subset_(self._indices)

    @property
    def starts(self) -> Int64[np.ndarray, ' shards']:
        """As :meth:`begins`; [0] for a part of the images, which is in no order of shards."""
        return self.begins() if self._chosen is None else np.zeros(1, np.int64)

    @force_full_init
    def __len__(self) -> int:
        return self._num_images if self._chosen is None else len(self._chosen)

    @force_full_init
    def get_data_info(self, index: int) -> dict:
        """The sample before the pipeline."""
        place = range(len(self))[index]
        image = place if self._chosen is None else int(self._chosen[place])
        info = self.sample(image) | dict(sample_idx=place)
        return info if self.max_pixels == MAX_PIXELS else {**info, 'max_pixels': self.max_pixels}

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keep only these images, or so many first or (negative) last ones, as mmengine's data sets do."""
        kept = np.arange(self._num_images) if self._chosen is None else self._chosen
        if isinstance(indices, int):
            self._chosen = kept[:indices] if indices >= 0 else kept[indices:]
        else:
            self._chosen = kept[np.asarray(indices, np.int64)]

    @force_full_init
    def get_subset(self, indices: Sequence[int] | int) -> 'CountedImages':
        """These images as another data set, which shares all else with this one."""
        part = copy(self)
        part.get_subset_(indices)
        return part
