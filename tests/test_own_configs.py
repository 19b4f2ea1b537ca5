"""What `import dino_plugin` does for the configs of users, in their own folders."""

import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import FUNCTIONS

from dino_plugin import registry
from dino_plugin.engine.vocabulary import VOCABULARY
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.openmmlab.import_hooks import after_import

CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'


def said_by(script: str, cwd: Path | None = None) -> list[str]:
    """The words that a fresh interpreter prints."""
    run = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, cwd=cwd)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def own(folder: Path, text: str) -> Path:
    path = folder / 'own.py'
    path.write_text(text)
    return path


def test_importing_the_package_imports_nothing_heavy():
    script = (
        'import sys, dino_plugin\n'
        "print(*sorted({'torch', 'numpy', 'timm', 'cv2', 'mmengine', 'mmcv', 'rich'} & set(sys.modules)), 'end')"
    )
    assert said_by(script) == ['end']


@pytest.mark.parametrize('first', ['import dino_plugin, mmengine', 'import mmengine, dino_plugin'])
def test_an_import_is_enough_for_the_name_of_the_package_before_or_after_mmengine(first, tmp_path):
    own(tmp_path, f"_base_ = 'dino_plugin::{CUSTOM}'\n")
    script = f"{first}\nfrom mmengine.config import Config\nprint(Config.fromfile('own.py').train_cfg.max_epochs)"
    assert said_by(script, tmp_path) == ['100']


def test_an_import_inside_a_config_is_enough(tmp_path):
    """For programs that know nothing of us, such as mmsegmentation's own tools/train.py."""
    own(tmp_path, f"_base_ = __import__('dino_plugin') and 'dino_plugin::{CUSTOM}'\n")
    script = "from mmengine.config import Config\nprint(Config.fromfile('own.py').train_cfg.max_epochs)"
    assert said_by(script, tmp_path) == ['100']


def test_values_of_a_shipped_base_can_be_read_and_changed(tmp_path):
    path = own(
        tmp_path,
        "_base_ = ['dino_plugin::_base_/default_runtime.py', 'dino_plugin::_base_/schedules/adamw_coslr_100e.py']\n"
        'default_hooks = dict(logger=dict(interval=_base_.default_hooks.logger.interval * 2))\n'
        'again = {{_base_.log_processor}}\n',
    )
    cfg = Config.fromfile(path)
    assert cfg.train_cfg.max_epochs == 100
    assert cfg.default_hooks.logger == dict(type='LoggerHook', interval=100)
    assert cfg.again == cfg.log_processor
    assert '_scope_' not in str(cfg.to_dict())


def test_an_unknown_name_is_answered_with_similar_ones(tmp_path):
    path = own(tmp_path, f"_base_ = 'dino_plugin::{CUSTOM.replace('_1xb64', '')}'\n")
    with pytest.raises(FileNotFoundError, match=f'Similar: .*{CUSTOM}'):
        Config.fromfile(path)


def test_a_base_that_exists_nowhere_is_named_by_mmengine(tmp_path):
    path = own(tmp_path, "_base_ = './no_such_config.py'\n")
    with pytest.raises(FileNotFoundError, match='no_such_config'):
        Config.fromfile(path)


def test_a_base_beside_a_config_wins_over_a_shipped_one_of_its_name(tmp_path):
    (tmp_path / Path(CUSTOM).name).write_text('mine = 1\n')
    assert Config.fromfile(own(tmp_path, f"_base_ = './{Path(CUSTOM).name}'\n")).to_dict() == {'mine': 1}


def test_the_hub_of_mmengine_finds_shipped_configs():
    assert get_config(f'dino_plugin::{CUSTOM}').to_dict() == Config.fromfile(config_path(CUSTOM)).to_dict()


@pytest.mark.parametrize('name', [function.__name__ for function in VOCABULARY[registry.FUNCTIONS]])
def test_a_collate_function_of_a_config_takes_no_notice_of_a_scope(name, tmp_path):
    """mmengine hands on the scope of a base in another package, here mmpretrain's."""
    function = FUNCTIONS.get(f'dino_plugin.{name}')
    image = np.zeros((8, 8, 3), 'uint8')
    others = dict(image_collate=(image, 1, 'a'), caption_collate=(image, ['a bird'], 'a'))
    sample = others.get(name, ([torch.zeros(3, 8, 8)] * 2, 1, 'a'))
    needed = dict(patch_size=4) if name == 'masked_collate' else {}
    expected, found = (partial(function, **needed, **scope)([sample] * 2) for scope in ({}, dict(_scope_='mmpretrain')))
    assert str(found) == str(expected)
    assert pickle.loads(pickle.dumps(function)) is function, 'a worker that is spawned could not load it'


def test_bases_of_mmsegmentation_are_found_whatever_its_build_is_called(tmp_path):
    path = own(
        tmp_path,
        "_base_ = ['mmseg::_base_/models/fcn_r50-d8.py', 'mmseg::_base_/default_runtime.py']\n"
        "model = dict(backbone=dict(_delete_=True, type='dino_plugin.TimmFeatureMaps', model_name='resnet10t'))\n",
    )
    cfg = Config.fromfile(path)
    assert (cfg.default_scope, cfg.model.type, cfg.model._scope_) == ('mmseg', 'EncoderDecoder', 'mmseg')


def test_an_action_waits_for_its_module_and_happens_once(tmp_path, monkeypatch):
    (tmp_path / 'awaited_module.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    after_import('awaited_module', lambda module: seen.append(module.value))
    assert seen == []
    import awaited_module

    assert seen == [1]
    after_import('awaited_module', lambda module: seen.append(module.value + 1))
    assert seen == [1, 2]
    del sys.modules['awaited_module']
    import awaited_module  # noqa: F811

    assert seen == [1, 2]
    assert awaited_module.__spec__.name == 'awaited_module'


def test_a_module_that_does_not_exist_is_still_missing():
    after_import('no_such_module', lambda module: None)
    with pytest.raises(ModuleNotFoundError, match='no_such_module'):
        import no_such_module  # noqa: F401
