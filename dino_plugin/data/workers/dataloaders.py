"""Dataloaders from configs, with and without workers."""

from typing import Any

from torch.utils.data import DataLoader

WORKER_OPTIONS = ('persistent_workers', 'prefetch_factor', 'timeout')


def without_unused_options(dataloader: DataLoader | dict[str, Any]) -> DataLoader | dict[str, Any]:
    """The config without the options of workers if ``num_workers`` is 0.

    PyTorch refuses these options without workers, so a user would have to remove each of them from a recipe.
    """
    if isinstance(dataloader, DataLoader) or dataloader.get('num_workers', 0):
        return dataloader
    return {name: value for name, value in dataloader.items() if name not in WORKER_OPTIONS}
