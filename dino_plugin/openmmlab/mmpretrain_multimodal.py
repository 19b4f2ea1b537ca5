"""mmpretrain beside a transformers that is newer than it knows.

If pycocotools and transformers are installed, mmpretrain imports its models of images and text, and that fails from
transformers 5 on; then mmdetection, which imports mmpretrain where it is installed, cannot be imported either.
"""

from types import ModuleType

from dino_plugin.openmmlab.import_hooks import after_import
from dino_plugin.openmmlab.providers import installed_version


def import_mmpretrain_without_text() -> None:
    """With transformers 5 or newer, mmpretrain is imported as if that was not there; its text models say so."""
    version = installed_version('transformers')
    if version is not None and int(version.partition('.')[0]) >= 5:
        after_import('mmpretrain.utils.dependency', _leave_out)


def _leave_out(module: ModuleType) -> None:
    vars(module).update(WITH_MULTIMODAL=False)
