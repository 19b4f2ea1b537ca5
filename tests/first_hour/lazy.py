"""Inherits from another config in pure Python."""

from mmengine.config import read_base

with read_base():
    from .lazy_base import *  # noqa: F403

train_dataloader['dataset']['dataset'].update(data_root='photos')  # noqa: F405
