"""mmdetection and mmsegmentation on an mmcv without compiled operations.

All of ``mmcv.ops`` is Python around one compiled module, ``mmcv._ext``, which neither mmcv-lite nor onedl-mmcv has.
mmdetection imports it always, the official mmsegmentation 1.2.2 too; onedl-mmsegmentation does without.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from dino_plugin.openmmlab.import_hooks import Execute, around_import
from dino_plugin.openmmlab.providers import installed_version

COMPILED = 'mmcv._ext'


def replace_compiled_operations() -> None:
    """From the import of mmdetection on, torchvision computes what mmcv's compiled operations would, if it has none.

    `mmcv.ops` is then mmcv's own, complete, and an operation without a stand-in raises RuntimeError when it is
    called. Until then nothing changes: other packages ask whether there are compiled operations, and do without.
    """
    for package in ('mmdet',) if installed_version('onedl-mmcv') else ('mmdet', 'mmseg'):
        if package in sys.modules:
            _provide()
        else:
            around_import(package, _provide_first)


def _provide_first(execute: Execute, module: ModuleType) -> None:
    _provide()
    execute(module)


def _provide() -> None:
    if not any(isinstance(finder, OperationsFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, OperationsFinder())


class OperationsFinder(MetaPathFinder, Loader):
    """Finds only ``mmcv._ext``, and only if mmcv has none."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The module, which ``exec_module`` fills."""
        if name != COMPILED or PathFinder.find_spec(name, path) is not None:
            return None
        return ModuleSpec(name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        from dino_plugin.openmmlab import stand_ins

        vars(module).update({name: vars(stand_ins)[name] for name in stand_ins.__all__}, __getattr__=_missing)


def _missing(name: str):
    """In place of an operation that nothing stands in for."""
    if name.startswith('__'):
        raise AttributeError(name)

    def refuse(*_, **__):
        raise RuntimeError(
            f'{name} is a compiled operation of mmcv, this mmcv has none, and dino_plugin has no stand-in for it. '
            'Install an mmcv that was built with a compiler, or choose parts of the model that do without.'
        )

    return refuse
