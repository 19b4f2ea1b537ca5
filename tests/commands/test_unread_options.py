"""Options of the command line that change nothing are told with the names that were probably meant."""

import argparse

import pytest
from mmengine.config import Config

from dino_plugin.commands.launch import read_config
from dino_plugin.commands.unread_options import unread_options
from dino_plugin.openmmlab.config_files import config_path

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


def test_a_variable_that_only_feeds_other_lines_is_told(tmp_path, capsys, monkeypatch):
    """A habit of OpenMMLab's configs: the lines below it have its old value already."""
    (tmp_path / 'own.py').write_text("size = 96\nmodel = dict(type='X', size=size)\n")
    monkeypatch.setattr('sys.argv', ['tools/train.py'])
    cfg = read_config(argparse.Namespace(config=str(tmp_path / 'own.py'), cfg_options=[('size', '48')]))
    assert cfg.model.size == 96
    assert capsys.readouterr().err == (
        'train.py: warning: size has no effect: nothing reads it. Nearest: model.size.\n'
    )
