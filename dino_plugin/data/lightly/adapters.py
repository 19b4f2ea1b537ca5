"""Adapters for Lightly: its dataset in our configs, its batches from ours and ours from its.

Lightly's samples are ``(views, label, filename)``, its batches ``(views, labels, filenames)``. Only
:func:`LightlyDataset` imports Lightly, when it is called.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from mmengine.registry import TRANSFORMS
from torch import Tensor
from torch.utils.data import default_collate

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.images.pillow_images import load_as_rgb
from dino_plugin.data.views.stacking import require_one_shape, require_views
from dino_plugin.openmmlab.scope import named_in_configs

LightlyBatch = tuple[list[Tensor], Int[Tensor, ' batch'], list[str]]


def LightlyDataset(input_dir: str, transform: dict | Callable | None = None, **kwargs: Any) -> Any:
    """Lightly's dataset, built from a config: ``transform`` may be a dict.

    Files of 16 bits are read as everywhere here, by their high byte; Lightly alone would make them white. It has the
    name of the class that it returns::

        dataset=dict(
            type='dino_plugin.SeededDataset',
            dataset=dict(
                type='dino_plugin.LightlyDataset',
                input_dir='data/images',
                transform=dict(type='lightly.transforms.DINOTransform', n_local_views=8)))

    Args:
        input_dir: Folder of images or videos, with or without class folders.
        transform: A config for mmengine's ``TRANSFORMS``, also with a dotted path; a callable ``image -> views``; or
            None for the image itself.
        **kwargs: Passed to ``lightly.data.LightlyDataset``.

    Returns:
        A ``lightly.data.LightlyDataset`` of samples ``(views, label, filename)``.

    Raises:
        ImportError: If Lightly is not installed.
        FileNotFoundError: If the folder does not exist.
    """
    try:
        from lightly.data import LightlyDataset as Lightly
    except ImportError as error:
        raise ImportError('dino_plugin.LightlyDataset needs Lightly: pip install "dino_plugin[lightly]"') from error
    if not os.path.isdir(input_dir):
        raise FileNotFoundError(
            f'input_dir is not a folder: {input_dir} (working directory: {os.getcwd()}). Give the folder of images.'
        )
    if isinstance(transform, dict):
        transform = TRANSFORMS.build(transform)
    dataset = Lightly(input_dir, transform=transform, **kwargs)
    if hasattr(dataset.dataset, 'loader'):  # folders of images; videos have frames of 8 bits
        dataset.dataset.loader = load_as_rgb
    return dataset


@named_in_configs
def multi_view_collate(batch: Sequence[tuple[Sequence[Tensor], int, str]]) -> LightlyBatch:
    """Lightly's ``MultiViewCollate`` as a function, which a config's ``collate_fn`` has to be.

    Args:
        batch: Samples ``(views, label, filename)``.

    Returns:
        One stacked tensor for each view, the labels, the filenames. An empty batch gives a warning and empty lists.
    """
    if len(batch) == 0:
        warnings.warn('multi_view_collate received an empty batch', stacklevel=2)
        return [], torch.tensor([], dtype=torch.long), []
    views = default_collate([list(views) for views, _, _ in batch])
    labels = torch.tensor([int(label) for _, label, _ in batch], dtype=torch.long)
    return views, labels, [filename for _, _, filename in batch]


class MultiViewCollate:
    """:func:`multi_view_collate` as a callable object, as in Lightly's examples."""

    def __call__(self, batch: Sequence[tuple[Sequence[Tensor], int, str]]) -> LightlyBatch:
        return multi_view_collate(batch)


def views_from_lightly(batch: Sequence[Any], num_global: int = 2) -> ViewBatch:
    """A Lightly batch ``(views, labels, filenames)`` -> our batch; labels and filenames are dropped.

    Args:
        batch: One float tensor ``batch channels rows columns`` for each view; global views first.
        num_global: Number of global views.

    Raises:
        ValueError: If there are fewer than two views, or views that belong together differ in size.
    """
    views = batch[0]
    require_views(len(views), num_global)
    require_one_shape(views[:num_global], 'global')
    global_views = torch.stack(list(views[:num_global]))
    if num_global == len(views):
        return ViewBatch(global_views, None)
    require_one_shape(views[num_global:], 'local')
    return ViewBatch(global_views, torch.stack(list(views[num_global:])))


def views_to_lightly(
    views: ViewBatch, labels: Int[Tensor, ' batch'] | None = None, filenames: Sequence[str] | None = None
) -> LightlyBatch:
    """Our normalised batch -> a Lightly batch ``(views, labels, filenames)``, without copying.

    Masks and anchor views are left out, since Lightly's batches have no place for them.

    Args:
        views: Float views as :class:`~dino_plugin.data.preprocessor.ViewPreprocessor` leaves them.
        labels: Zeros if None.
        filenames: Empty strings if None.

    Raises:
        TypeError: If the views are still uint8.
    """
    if not views.global_views.is_floating_point():
        raise TypeError(f'Lightly expects normalised float views, got {views.global_views.dtype}: use ViewPreprocessor')
    listed = [*views.global_views, *(() if views.local_views is None else views.local_views)]
    batch_size = len(listed[0])
    labels = torch.zeros(batch_size, dtype=torch.long) if labels is None else labels.long()
    return listed, labels, [''] * batch_size if filenames is None else list(filenames)
