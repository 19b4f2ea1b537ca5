"""mmsegmentation on an mmcv without compiled operations.

The official mmsegmentation 1.2.2 imports two names from ``mmcv.ops``, whether a config needs them or not, and mmcv-lite
has no ``mmcv.ops`` that can be imported. One of the two, ``point_sample``, is plain PyTorch. (The onedl builds of
mmsegmentation ask before they import.)
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType


def stand_in_for_compiled_operations() -> None:
    """Where mmcv has no compiled operations, ``import mmcv.ops`` gives a module that holds what needs none.

    Other names raise ModuleNotFoundError, as mmsegmentation expects of operations that are missing.
    """
    try:
        distribution('onedl-mmcv')
    except PackageNotFoundError:
        sys.meta_path.insert(0, OperationsFinder())


class OperationsFinder(MetaPathFinder, Loader):
    """Finds ``mmcv.ops``, and nothing else, if mmcv has no compiled operations."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The package of mmcv, to be filled by ``exec_module``."""
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
