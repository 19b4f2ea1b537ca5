"""--smoke: every part of a config stays, everything about it is small, and it trains, evaluates and saves."""

import re
import runpy
import sys
from argparse import Namespace
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.commands import smoke as command
from dino_plugin.commands.few_images import loaders_of, nested, take_few_images
from dino_plugin.commands.smoke import shrink, smoke
from dino_plugin.openmmlab.config_files import config_path, config_root

QUICKSTART = 'quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py'
CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
LONG = 'dinov2/dinov2_vit-small-p14_96xb32-long-625k_in22k.py'
HIGHRES = 'dinov3/dinov3_vit-small-p16_32xb64-highres-30k_folder.py'
LIGHTLY = 'dino/dino_vit-small-p16_1xb64_lightly-dataset.py'
FINETUNE = 'classification/vit-small-p16_finetune_1xb64-100e_custom.py'
UPERNET = 'segmentation/vit-small-p16_upernet_8xb2-160k_ade20k-512x512.py'
SEGMENTATION = 'segmentation/vit-tiny_linear_1xb8-60_davis-224x224.py'
DETECTION = 'detection/vit-small-p16_mask-rcnn_8xb2-1x_coco.py'
METHODS = [path.parent.name for path in config_root().glob('*/metafile.yml')]
FOLDERS = {*METHODS, 'classification', 'probes', 'quickstart', 'segmentation'}
TRAINING = sorted(
    f'{folder}/{path.name}'
    for folder in FOLDERS
    for path in (config_root() / folder).glob('*.py')
    if 'train_dataloader' in Config.fromfile(path)
)


def loaded(name: str, tmp_path: Path, images: Path | None = None) -> Config:
    """The config, with these images for pretraining."""
    cfg = Config.fromfile(config_path(name))
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'work'), f'{Path(name).stem}_{tmp_path.name}'
    for dataset in nested(cfg.train_dataloader.dataset) if images else ():
        for key in {'data_root', 'input_dir'} & dataset.keys():
            dataset[key] = str(images)
    return cfg


def types(cfg: Config) -> list[str]:
    """The classes that a config names, in order, without the sections of tests."""
    sections = {name: part for name, part in cfg.to_dict().items() if not name.startswith(('test_', 'tta_'))}
    found = [str(part['type']) for part in nested(sections) if 'type' in part]
    return [name for name in found if not name.endswith('prototypes_for_images')]  # a number takes its place


def run(name: str, tmp_path: Path, images: Path | None = None, **options) -> Runner:
    cfg = loaded(name, tmp_path, images)
    smoke(cfg, Namespace(config=name, num_workers=0), options)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize('name', TRAINING)
def test_every_part_of_a_config_stays_and_is_small(name, tmp_path):
    cfg = loaded(name, tmp_path)
    before = types(deepcopy(cfg))
    shrink(cfg)
    assert types(cfg) == before, 'a part was exchanged for another'
    backbone, loader = cfg.model.backbone, cfg.train_dataloader
    assert backbone.model_name == 'resnet10t' or (backbone.depth, backbone.embed_dim) == (4, 32)
    assert not backbone.get('pretrained')
    assert (loader.batch_size, loader.sampler.get('batch_size', 8)) == (8, 8)
    assert cfg.train_cfg.get('max_iters', 16) == 16
    assert cfg.train_cfg.get('max_epochs', 2) == 2
    sides = ('global_size', 'local_size', 'size', 'crop', 'crop_size', 'global_crop_size', 'local_crop_size')
    found = [
        step[side] for part in loaders_of(cfg) for step in nested(part.dataset) for side in sides if step.get(side)
    ]
    assert all(max(side) <= 32 if isinstance(side, tuple) else side <= 32 + 4 * 8 for side in found)
    heads = [head for head in nested(cfg.model.get('heads', {})) if head.get('type') == 'dino_plugin.DINOHead']
    assert all(head['prototypes'] == 64 for head in heads)
    assert all(part['num_local'] <= 2 for part in nested(loader.dataset) if 'num_local' in part)
    for scheduler in cfg.param_scheduler:
        assert scheduler.get('end', 0) <= 16


def test_pretraining_runs_with_its_knn_and_leaves_a_backbone(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(repository)
    runner = run(QUICKSTART, tmp_path)
    assert (runner.iter, runner.epoch) == (16, 2)
    accuracies = runner.message_hub.get_scalar('knn/top1_k20')
    assert 0 < accuracies.current() < 100, 'images of all classes are classified'
    network = TimmBackbone(checkpoint=str(tmp_path / 'work/epoch_2.pth'))
    teacher = runner.model.distillation.teacher.backbone
    assert all(map(torch.equal, network.model.parameters(), teacher.model.parameters()))


def test_going_on_from_released_weights_runs_with_its_guard(tmp_path):
    run('dinov2/dinov2_vit-small-p14_1xb64-continued-20e_custom.py', tmp_path, CIFAR)
    table = (tmp_path / 'work/before_after.md').read_text()
    assert '| **k-NN** |' in table and '| neighbours that agree |' in table, 'class folders count as classes'
    assert TimmBackbone(checkpoint=str(tmp_path / 'work/best.pth')).embed_dim == 32


@pytest.mark.parametrize('name', [LONG, HIGHRES])
def test_recipes_that_count_steps_run_all_their_views(name, tmp_path):
    runner = run(name, tmp_path, CIFAR, **{'train_cfg.max_iters': 6})
    assert runner.iter == 6
    assert len(runner.train_dataloader.dataset) % 64 == 0
    assert (tmp_path / 'work/last_checkpoint').is_file()


def test_segmentation_runs_and_is_validated(tmp_path, monkeypatch, repository):
    pytest.importorskip('mmseg', reason='mmsegmentation is not installed')
    monkeypatch.chdir(repository)
    runner = run(SEGMENTATION, tmp_path)
    assert runner.iter == 16
    assert 0 < runner.message_hub.get_scalar('val/mIoU').current() < 100


def test_classification_runs_and_is_validated(tmp_path, repository):
    try:
        import mmpretrain  # noqa: F401
    except Exception as error:  # the official build raises an AssertionError for versions of mmcv that it does not know
        pytest.skip(f'mmpretrain cannot be imported: {error}')
    (tmp_path / 'images').mkdir()
    for name, folder in (('train', 'train'), ('val', 'test')):
        (tmp_path / 'images' / name).symlink_to(repository / 'tests/data/cifar10_mini' / folder)
    root = str(tmp_path / 'images')
    options = {f'{part}_dataloader.dataset.data_root': root for part in ('train', 'val')}
    cfg = loaded(FINETUNE, tmp_path)
    cfg.merge_from_dict(options)
    smoke(cfg, Namespace(config=FINETUNE, num_workers=0), options)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert (runner.iter, len(runner.val_dataloader.dataset)) == (16, 64)
    assert len({runner.val_dataloader.dataset.get_data_info(index)['gt_label'] for index in range(64)}) == 10
    assert runner.message_hub.get_scalar('val/accuracy/top1').current() <= 100


def test_the_user_s_own_numbers_win(tmp_path):
    cfg = loaded(CUSTOM, tmp_path, CIFAR)
    args = Namespace(config=CUSTOM, batch_size=40, epochs=3, num_workers=1)
    pipeline = 'train_dataloader.dataset.dataset.pipeline.1'
    line = smoke(cfg, args, {f'{pipeline}.global_size': 48, 'model.heads.cls.prototypes': 100})
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs, cfg.train_dataloader.num_workers) == (40, 3, 1)
    multi_crop = cfg.train_dataloader.dataset.dataset.pipeline[1]
    assert (multi_crop.global_size, multi_crop.local_size, cfg.model.heads.cls.prototypes) == (48, 16, 100)
    assert len(cfg.train_dataloader.dataset.dataset.indices) == 80, 'two batches'
    assert 'batches of 40, 3 epochs, at most 80 images' in line
    assert 'not worth keeping' in line


def test_a_given_network_stays_and_no_weights_are_downloaded(tmp_path):
    network = TimmBackbone('vit_tiny_patch16_224', depth=1)
    torch.save(
        {'state_dict': network.model.state_dict(), 'meta': {'backbone': network.description}}, tmp_path / 'a.pth'
    )
    cfg = loaded(CUSTOM, tmp_path, CIFAR)
    cfg.model.backbone = dict(type='dino_plugin.TimmBackbone', checkpoint=str(tmp_path / 'a.pth'))
    backbone = dict(cfg.model.backbone)
    line = smoke(cfg, Namespace(config=CUSTOM), {'model.backbone.pretrained': True})
    assert cfg.model.backbone == backbone
    assert cfg.train_dataloader.dataset.dataset.pipeline[1].global_size == 112
    assert line.startswith('--smoke: the given network')


def test_frozen_teachers_are_small_unless_their_file_is_there_and_other_networks_stay(tmp_path):
    name, student = (
        'distillation/distill_vit-tiny_1xb64-3e_imagenette128.py',
        dict(network=dict(type='torch.nn.Conv2d')),
    )
    for file, small in ((tmp_path / 'missing.pth', True), (tmp_path / 'there.pth', False)):
        (tmp_path / 'there.pth').touch()
        cfg = loaded(name, tmp_path)
        cfg.model.losses.regression.teacher.checkpoint = str(file)
        cfg.model.backbone = dict(type='dino_plugin.FeatureMapBackbone', **student)
        shrink(cfg)
        teacher = cfg.model.losses.regression.teacher
        assert teacher.get('checkpoint') == (None if small else str(file))
        assert teacher.get('embed_dim') == (command.NETWORK['embed_dim'] if small else None)
        assert cfg.model.backbone.to_dict() == dict(type='dino_plugin.FeatureMapBackbone', **student)


@pytest.mark.parametrize(
    ('own', 'left'),
    [
        (None, range(0, 1000, 100)),
        (range(1, 1000, 2), range(1, 1000, 100)),
        (400, range(0, 400, 40)),
        (-50, range(950, 1000, 5)),
        ([3, 1, 2], [3, 1, 2]),
    ],
)
def test_images_are_spread_over_those_that_the_config_chooses(tmp_path, own, left):
    cfg = loaded(CUSTOM, tmp_path, CIFAR)
    dataset = cfg.train_dataloader.dataset.dataset
    dataset.indices = own
    take_few_images(cfg, 10)
    assert list(dataset.indices) == list(left)
    take_few_images(cfg, 1000)
    assert list(dataset.indices) == list(left), 'few images stay'


def test_lightly_s_dataset_has_few_images_too(tmp_path):
    pytest.importorskip('lightly', reason='Lightly is not installed')
    runner = run(LIGHTLY, tmp_path, CIFAR)
    names = [Path(name).parent.name for name in runner.train_dataloader.dataset.dataset.get_filenames()]
    assert (len(names), len(set(names)), runner.iter) == (64, 10, 16)


def test_the_decoder_s_windows_are_as_small_as_the_crops(tmp_path):
    cfg = loaded(UPERNET, tmp_path)
    cfg.model.test_cfg = dict(mode='slide', crop_size=(512, 512), stride=(341, 341))
    shrink(cfg)
    assert (cfg.model.test_cfg.crop_size, cfg.model.test_cfg.stride) == ((32, 32), (16, 16))
    assert cfg.model.data_preprocessor.size == (32, 32)
    assert cfg.model.decode_head.channels == 16


def test_what_cannot_be_made_small_is_refused_in_words(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r'trains nothing|no train_dataloader'):
        shrink(Config.fromfile(config_path('knn/knn_folder.py')))
    with pytest.raises(FileNotFoundError, match=r'data/custom .*--images DIR'):
        smoke(loaded(CUSTOM, tmp_path), Namespace(config=CUSTOM))
    monkeypatch.setattr(command, 'find_spec', lambda name: None)
    with pytest.raises(ValueError, match='mmdetection, which it needs, is not installed'):
        shrink(loaded(DETECTION, tmp_path))
    monkeypatch.setattr(command, 'find_spec', lambda name: name)
    cfg = loaded(DETECTION, tmp_path)
    shrink(cfg)
    assert cfg.train_dataloader.dataset.pipeline[4].scale == (128, 64)
    assert re.match(r'vit_', cfg.model.backbone.model_name)


@pytest.fixture
def train(repository, monkeypatch, tmp_path):
    """tools/train.py with these words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_tool(*words) -> None:
        monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, words)])
        runpy.run_path(str(repository / 'tools/train.py'), run_name='__main__')

    return run_tool


def test_the_tool_keeps_a_small_training_apart_from_the_real_one(train, tmp_path, capsys):
    train(CUSTOM, '--images', CIFAR, '--smoke', '--batch-size', '32', '--epochs', '1', '--num-workers', '0')
    folder = tmp_path / f'work_dirs/{Path(CUSTOM).stem}_smoke'
    assert (folder / 'epoch_1.pth').is_file()
    assert not (tmp_path / f'work_dirs/{Path(CUSTOM).stem}').exists()
    told = capsys.readouterr().err
    assert 'train.py: --smoke: a tiny network' in told
    assert 'batches of 32, 1 epoch, at most 64 images' in told


def test_the_tool_says_that_images_are_missing(train, capsys):
    with pytest.raises(SystemExit):
        train(CUSTOM, '--smoke')
    told = capsys.readouterr().err
    assert 'data/custom' in told
    assert '--images DIR' in told
