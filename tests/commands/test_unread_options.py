"""Options of the command line that change nothing are told with the names that were probably meant."""

import argparse

import pytest
from mmengine.config import Config

from dino_plugin.commands.launch import read_config
from dino_plugin.commands.unread_options import read_names, unread_options
from dino_plugin.openmmlab.config_files import config_path, config_root

FOR_RECIPES = {'train_pipeline'}  # recipes that inherit write `{{_base_.train_pipeline}}`, as in all of OpenMMLab
CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'


def told(name: str, config: str = CUSTOM) -> str:
    return ''.join(unread_options(Config.fromfile(config_path(config)), [name]))


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('data_root', 'train_dataloader.dataset.dataset.data_root'),
        ('lr', 'optim_wrapper.optimizer.lr'),
        ('batch_size', 'train_dataloader.batch_size'),
        ('max_epochs', 'train_cfg.max_epochs'),
        ('dataset.data_root', 'train_dataloader.dataset.dataset.data_root'),
        ('backbone.model_name', 'model.backbone.model_name'),
        ('train_dataloder.batch_size', 'train_dataloader.batch_size'),
        ('work_dri', 'work_dir'),
        ('env_cfg.cudnn_benchmrk', 'env_cfg.cudnn_benchmark'),
        ('env_cfg.mp_cfg.start_method', 'env_cfg.mp_cfg.mp_start_method'),
        ('randomness.sed', 'randomness.seed'),
        ('auto_scale_lr.enabled', 'auto_scale_lr.enable'),
    ],
)
def test_an_option_without_effect_is_told_with_the_one_that_was_meant(name, meant):
    assert told(name).startswith(f'{name} has no effect: nothing reads it. Nearest: ') and meant in told(name)


@pytest.mark.parametrize(
    'name',
    [
        'train_dataloader.batch_size', 'train_cfg.max_epochs', 'model.backbone.in_chans', 'work_dir', 'randomness.seed',
        'env_cfg.cudnn_benchmark', 'default_hooks.checkpoint.interval', 'resume', 'load_from', 'launcher',
        'custom_hooks.0.priority', 'auto_scale_lr.enable', 'runner_type', 'log_level', 'model_wrapper_cfg.type',
    ],
)  # fmt: skip
def test_an_option_that_is_read_is_not_told(name):
    assert told(name) == ''


@pytest.mark.parametrize(('name', 'short'), [('data_root', True), ('dataset.data_root', True), ('lr', False)])
def test_for_folders_of_images_the_short_option_is_named(name, short):
    assert told(name).endswith(' Shorter: --images DIR.') == short


def test_nothing_at_the_top_of_our_configs_only_feeds_other_lines():
    """It would look like a setting, but `--cfg-options` comes too late for it."""
    recipes = [path for path in config_root().rglob('*.py') if not {'_base_', 'studies'} & set(path.parts)]
    assert len(recipes) > 100
    unread = {path.name: Config.fromfile(path).keys() - read_names() - FOR_RECIPES for path in recipes}
    assert {name: names for name, names in unread.items() if names} == {}


def test_the_pipelines_of_a_base_can_be_put_into_a_config_that_inherits(tmp_path):
    base = 'segmentation/vit-small-p16_linear_1xb16-2k_camvid-352x352.py'
    (tmp_path / 'own.py').write_text(
        f"_base_ = '{config_path(base)}'\n"
        'mine = dict(_delete_=True, type="X", pipeline={{_base_.train_pipeline}})\n'
        'train_dataloader = dict(dataset=dict(dataset=mine))\n'
    )
    pipelines = [
        Config.fromfile(path).train_dataloader.dataset.dataset.pipeline
        for path in (config_path(base), tmp_path / 'own.py')
    ]
    assert pipelines[0] == pipelines[1]
    assert told('train_pipeline.3.crop_size', base).startswith('train_pipeline.3.crop_size has no effect')


def test_a_variable_that_only_feeds_other_lines_is_told(tmp_path, capsys, monkeypatch):
    """A habit of OpenMMLab's configs: the lines below it have its old value already."""
    (tmp_path / 'own.py').write_text("size = 96\nmodel = dict(type='X', size=size)\n")
    monkeypatch.setattr('sys.argv', ['tools/train.py'])
    cfg = read_config(argparse.Namespace(config=str(tmp_path / 'own.py'), cfg_options=[('size', '48')]))
    assert cfg.model.size == 96
    assert capsys.readouterr().err == (
        'train.py: warning: size has no effect: nothing reads it. Nearest: model.size.\n'
    )
