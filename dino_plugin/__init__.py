"""DINO-family self-supervised learning for the OpenMMLab ecosystem."""

import importlib
from types import ModuleType
from typing import Any

from dino_plugin.openmmlab.config_files import config_path, serve_configs
from dino_plugin.openmmlab.import_hooks import after_import
from dino_plugin.openmmlab.late_transformers import import_transformers_late
from dino_plugin.openmmlab.line_augmentations import import_line_augmentations_without_imgaug
from dino_plugin.openmmlab.mmcv_operations import replace_compiled_operations
from dino_plugin.openmmlab.mmpretrain_multimodal import import_mmpretrain_without_text
from dino_plugin.openmmlab.providers import require_openmmlab

__version__ = '0.1.0'
__all__ = ['__version__', 'config_path', 'extract_features', 'load_backbone', 'pretrain']


def _read_checkpoints_safely(module: ModuleType) -> None:
    from dino_plugin.weights.reading.mmengine_loaders import use_safe_loading  # not above: PyTorch takes seconds

    use_safe_loading(module)


def __getattr__(name: str) -> Any:
    if name in ('pretrain', 'load_backbone', 'extract_features'):
        return getattr(importlib.import_module('dino_plugin.api'), name)  # not above: PyTorch takes seconds
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


require_openmmlab()
# All act only when mmengine and mmcv are imported, so this import stays quick.
serve_configs()
replace_compiled_operations()
import_line_augmentations_without_imgaug()
import_mmpretrain_without_text()
import_transformers_late()
after_import('mmengine.runner.checkpoint', _read_checkpoints_safely)
