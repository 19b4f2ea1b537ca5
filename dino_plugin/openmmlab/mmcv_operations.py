"""mmsegmentation on an mmcv without compiled operations.

The official mmsegmentation 1.2.2 always imports two names from ``mmcv.ops``, and mmcv-lite has no ``mmcv.ops`` that can
be imported. One of the two, ``point_sample``, is plain PyTorch. (onedl-mmsegmentation checks before it imports.)
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from dino_plugin.openmmlab.providers import installed_version


def replace_compiled_operations() -> None:
    """Without compiled operations, ``import mmcv.ops`` gives a module with the functions that need none.

    Other names raise ModuleNotFoundError, as mmsegmentation expects for missing operations.
    """
    if not installed_version('onedl-mmcv'):
        sys.meta_path.insert(0, OperationsFinder())


class OperationsFinder(MetaPathFinder, Loader):
    """Finds only ``mmcv.ops``, and only if mmcv has no compiled operations."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The module ``mmcv.ops``, which ``exec_module`` fills."""
        if name != 'mmcv.ops' or PathFinder.find_spec('mmcv._ext', path) is not None:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""

        def missing(name: str):
            if name.startswith('__'):
                raise AttributeError(name)
            raise ModuleNotFoundError(
                f'mmcv.ops.{name} is a compiled operation, and this mmcv has none: install mmcv instead of mmcv-lite, '
                'with a compiler or from a built wheel.'
            )

        def sigmoid_focal_loss(*_, **__):
            missing('sigmoid_focal_loss')

        vars(module).update(
            point_sample=import_module('mmcv.ops.point_sample').point_sample,
            sigmoid_focal_loss=sigmoid_focal_loss,
            __getattr__=missing,
        )
