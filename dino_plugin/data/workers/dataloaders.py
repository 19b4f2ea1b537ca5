"""Dataloaders of configs, on whatever machine they are read."""

from typing import Any

from torch.utils.data import DataLoader

OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'timeout')


def for_any_workers(dataloader: DataLoader | dict[str, Any]) -> DataLoader | dict[str, Any]:
    """The config, where ``num_workers=0`` is enough to do without workers.

    PyTorch refuses options of workers that are not there, so a recipe's would have to be undone one by one.
    """
    if isinstance(dataloader, DataLoader) or dataloader.get('num_workers', 0):
        return dataloader
    return {name: value for name, value in dataloader.items() if name not in OF_WORKERS}
