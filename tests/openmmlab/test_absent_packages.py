"""Packages that mmdetection imports and does not need."""

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from dino_plugin.openmmlab import line_augmentations, mmpretrain_multimodal


@pytest.mark.skipif(find_spec('imgaug') is not None, reason='imgaug is installed: nothing stands in for it')
def test_what_imports_imgaug_is_imported_and_what_uses_it_is_refused():
    def execute(module: ModuleType) -> None:
        code = 'import imgaug.augmenters as iaa\nfrom imgaug.augmentables.lines import LineString'
        exec(code, vars(module))

    module = ModuleType(line_augmentations.USER)
    line_augmentations._with_stand_ins(execute, module)
    for use in (module.LineString, module.iaa.Affine):
        with pytest.raises(ModuleNotFoundError, match='but imgaug is not installed'):
            use()
    assert not any(name.startswith('imgaug') for name in sys.modules), 'others find it missing, as it is'


@pytest.mark.parametrize(('version', 'left_out'), [('5.0.0', True), ('4.57.1', False), (None, False)])
def test_mmpretrains_text_models_are_left_out_where_transformers_is_too_new(version, left_out, monkeypatch):
    waiting = []
    monkeypatch.setattr(mmpretrain_multimodal, 'installed_version', lambda _: version)
    monkeypatch.setattr(mmpretrain_multimodal, 'after_import', lambda name, action: waiting.append((name, action)))
    mmpretrain_multimodal.import_mmpretrain_without_text()
    assert [name for name, _ in waiting] == ['mmpretrain.utils.dependency'] * left_out
    module = ModuleType('dependency')
    module.WITH_MULTIMODAL = True
    for _, action in waiting:
        action(module)
    assert module.WITH_MULTIMODAL is not left_out
