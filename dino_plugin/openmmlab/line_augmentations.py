"""mmdetection without imgaug.

onedl-mmdetection imports it always, for the augmentation of lane markings alone. It is the package imaug, which brings
a second OpenCV, whose files overwrite those of the first.
"""

import sys
from importlib.util import find_spec
from types import ModuleType

from dino_plugin.openmmlab.import_hooks import Execute, around_import

USER = 'mmdet.datasets.transforms.generate_line'
MODULES = ('imgaug', 'imgaug.augmenters', 'imgaug.augmentables.lines', 'imgaug.augmentables.segmaps')


def import_line_augmentations_without_imgaug() -> None:
    """The module of mmdetection that needs imgaug is imported without it, and raises an error where it uses it."""
    around_import(USER, _with_stand_ins)


def _with_stand_ins(execute: Execute, module: ModuleType) -> None:
    if find_spec('imgaug') is not None:
        execute(module)
        return
    sys.modules.update({name: _Absent(name) for name in MODULES})
    try:
        execute(module)
    finally:
        for name in MODULES:
            del sys.modules[name]


class _Absent(ModuleType):
    """A module that can be imported from, and nothing more."""

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)
        if f'{self.__name__}.{name}' in MODULES:
            return sys.modules[f'{self.__name__}.{name}']

        def refuse(*_, **__):
            raise ModuleNotFoundError(
                f'imgaug.{name} is used, but imgaug is not installed: pip install --no-deps imaug'
            )

        return refuse
