"""A caller's mistake ends in one message that names the option to type, whatever part of a config it is in."""

import logging
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, init_default_scope
from small_training import build_runner, small_config

from dino_plugin.commands.mistakes import explained, refused_options
from dino_plugin.openmmlab.config_files import config_path

CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
LIGHTLY = 'dino/dino_vit-small-p16_1xb64_lightly-dataset.py'
SEGMENTATION = 'segmentation/vit-tiny_linear_1xb8-60_davis-224x224.py'
TRAIN, TEST = 'train_dataloader.dataset', 'test_dataloader.dataset'
BANK = 'test_cfg.bank_dataloader.dataset'


@pytest.fixture
def told(capsys, monkeypatch, tmp_path):
    """What is printed about the mistake that a part of a config has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])

    def tell(name: str, part: str, mode: str, **changes) -> str:
        cfg = Config.fromfile(config_path(name))
        init_default_scope(cfg.default_scope)
        cfg.merge_from_dict(changes)
        whole = cfg
        for key in part.split('.'):
            whole = whole[key]
        with pytest.raises(SystemExit) as stop, explained(cfg, mode):
            (MODELS if part == 'model' else DATASETS).build(whole)
        assert stop.value.code == 2
        return capsys.readouterr().err

    return tell


def options(said: str) -> list[str]:
    return [line.removeprefix('    --cfg-options ') for line in said.splitlines() if line.startswith('    --cfg')]


@pytest.mark.parametrize(
    ('name', 'part', 'changes', 'expected'),
    [
        (CUSTOM, TRAIN, {}, [f'{TRAIN}.dataset.data_root=path/to/images']),
        (CUSTOM, TRAIN, {'data_root': '~/none/'}, [f'{TRAIN}.dataset.data_root=path/to/images']),
        (CUSTOM, TRAIN, {'data_root': '.'}, [f'{TRAIN}.dataset.data_root=path/to/images']),
        (
            CUSTOM,
            TRAIN,
            {'data_root': ''},
            [f'{TRAIN}.dataset.data_root=path/to/images', f'{TRAIN}.dataset.ann_file=path/to/list.txt'],
        ),
        (LIGHTLY, TRAIN, {}, [f'{TRAIN}.dataset.input_dir=path/to/images']),
        ('knn/knn_folder.py', TEST, {}, [f'{TEST}.data_root=path/to/images']),
        ('knn/knn_folder.py', BANK, {}, [f'{BANK}.data_root=path/to/images']),
        ('video/davis_folder.py', TEST, {}, [f'{TEST}.data_root=path/to/images']),
        (CUSTOM, TRAIN, {'pipeline.1.num_local': -3}, [f'{TRAIN}.dataset.pipeline.1.num_local=...']),
        (CUSTOM, TRAIN, {'pipeline.1.photometric': 'papr'}, [f'{TRAIN}.dataset.pipeline.1.photometric=...']),
    ],
)
def test_a_refused_value_of_a_dataset_is_told_with_its_option(name, part, changes, expected, told):
    if part == TRAIN:
        changes = {f'{part}.dataset.{key}': value for key, value in changes.items()}
    assert options(told(name, part, part.partition('_')[0], **changes)) == expected


def test_a_folder_that_mmsegmentation_does_not_find_is_told_with_its_option(told):
    said = told(SEGMENTATION, TRAIN, 'train', **{f'{TRAIN}.dataset.data_root': 'nowhere'})
    assert f'{TRAIN}.dataset.data_root=path/to/images' in options(said)
    assert 'nowhere/JPEGImages/480p' in said and 'test_dataloader' not in said


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [('checkpoint', 'none.pth', 'path/to/checkpoint.pth'), ('model_name', 'vit_smal', '...')],
)
def test_a_refused_value_of_a_model_is_told_with_its_option(key, value, expected, told):
    said = told(CUSTOM, 'model', 'train', **{f'model.backbone.{key}': value})
    assert options(said) == [f'model.backbone.{key}={expected}']


def test_a_message_that_names_its_options_is_left_as_it_is(told):
    said = told(CUSTOM, 'model', 'train', **{'model.backbone.model_name': None})
    assert said.startswith('train.py: TimmBackbone: no model_name is given') and options(said) == []


def test_a_value_counts_only_where_it_stands_alone():
    sections = dict(model=dict(size=4, other=40, rate=0.4, path='data/a'))
    assert refused_options(sections, 'size, other and rate of the model: got 4', [object]) == ['model.size']
    assert refused_options(sections, 'size, other and rate of the model: got 0.4', [object]) == ['model.rate']
    assert refused_options(sections, 'path: data/ab does not exist', [object]) == []
    assert refused_options(sections, 'path: /home/data/a/b.jpg does not exist', [object]) == ['model.path']
    assert refused_options(sections, 'got 4', [object]) == []


def test_an_error_that_nobody_wrote_for_a_caller_keeps_its_traceback():
    for error in (ValueError, FileNotFoundError, KeyError):
        with pytest.raises(error), explained(Config(), 'train'):
            raise error('of this test')


def test_the_log_file_has_the_traceback_and_the_console_has_not(tmp_path, capsys):
    runner = build_runner(small_config(tmp_path, optim_wrapper__clip_mode='unknown'))
    with pytest.raises(SystemExit), explained(runner.cfg, 'train'):
        runner.train()
    captured = capsys.readouterr()
    assert options(captured.err) == ['optim_wrapper.clip_mode=...']
    assert 'Traceback' not in captured.err + captured.out
    (log,) = [
        handler for handler in MMLogger.get_current_instance().handlers if isinstance(handler, logging.FileHandler)
    ]
    assert f'The traceback is in {log.baseFilename}' in captured.err
    assert 'Traceback (most recent call last)' in Path(log.baseFilename).read_text()
