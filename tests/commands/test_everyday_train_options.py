"""The short options of a training do what the long ones do, in a config of every family."""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from small_training import build_runner, small_config

from dino_plugin.commands.dry_run import DryRunEnded, DryRunHook
from dino_plugin.commands.everyday_options import add_train_options, short_train_option
from dino_plugin.commands.mistakes import explained
from dino_plugin.commands.training import training_config

CUSTOM = 'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'
DINOV2 = 'dinov2/dinov2_vit-small-p16_1xb64-coslr-100e_custom.py'
DINOV3 = 'dinov3/dinov3_vit-small-p16_1xb64-coslr-100e_custom.py'
SMALL = 'ibot/ibot_vit-small-p16_1xb64-coslr-200e_small-data.py'
CHANNELS = 'dino/dino_vit-small-p16_1xb64-coslr-200e_channels.py'
HIGHRES = 'dinov3/dinov3_vit-small-p16_32xb64-highres-30k_folder.py'
LIGHTLY = 'dino/dino_vit-small-p16_1xb64_lightly-dataset.py'
QUICKSTART = 'quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py'
SIMCLR = 'baselines/simclr_vit-small-p16_8xb128-coslr-100e_in1k.py'
ADE20K = 'segmentation/vit-small-p16_linear_1xb16-40k_ade20k-512x512.py'
VOC = 'segmentation/vit-small-p16_upernet_8xb2-160k_voc12aug-512x512.py'
FINETUNE = 'classification/vit-small-p16_finetune_1xb64-100e_custom.py'
DETECTION = 'detection/vit-small-p16_mask-rcnn_8xb2-1x_coco.py'
GRID = 'probes/linear-grid_vit-small-p16_1xb128-10e_custom.py'
IMAGES, SET = 'train_dataloader.dataset.dataset.data_root', 'train_dataloader.dataset'


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Words of a command line -> config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_train_options(parser)

    def build(name: str, *words: str, **options: object) -> Config:
        """Options with dots written as ``__`` are those of --cfg-options."""
        args = parser.parse_args([name, *words])
        others = dict(work_dir=None, launcher='none', local_rank=0, resume=None, amp=False, no_validate=False,
                      auto_scale_lr=False)  # fmt: skip
        args.cfg_options = {key.replace('__', '.'): value for key, value in options.items()}
        vars(args).update(others)
        return training_config(args)

    return build


def same(short: Config, long: Config) -> None:
    assert short.to_dict() == long.to_dict()


def folders(root: Path, *names: str) -> str:
    for name in ('', *names):
        (root / name).mkdir(parents=True, exist_ok=True)
    return str(root)


# --- each short option, spelled out -----------------------------------------------------------------------------------


@pytest.mark.parametrize('name', [CUSTOM, DINOV2, DINOV3, SIMCLR])
def test_images_and_numbers_of_a_pretraining_are_the_long_options(name, config):
    short = config(name, '--images', str(CIFAR), '--epochs', '7', '--batch-size', '3', '--num-workers', '2')
    loader = {'train_dataloader.batch_size': 3, 'train_dataloader.num_workers': 2}
    same(short, config(name, **{IMAGES: str(CIFAR), 'train_cfg.max_epochs': 7, **loader}))


def test_lightlys_dataset_has_another_name_for_the_folder(config, refused):
    Path('there').mkdir()
    Path('too').mkdir()
    same(config(LIGHTLY, '--images', 'there'), config(LIGHTLY, **{f'{SET}.dataset.input_dir': 'there'}))
    assert 'LightlyDataset reads one folder, not 2' in refused(LIGHTLY, '--images', 'there', 'too')


def test_several_folders_are_one_set_of_images(config, tmp_path):
    for name in ('a', 'b'):
        shutil.copytree(CIFAR / 'cat', tmp_path / name / 'below')
    dataset = config(SMALL, '--images', 'a', 'b').train_dataloader.dataset.dataset
    assert dataset.data_root == ['a', 'b']
    number = len(list((CIFAR / 'cat').iterdir()))
    assert config(SMALL, '--images', 'a', 'b').model.num_images == 2 * number
    assert config(SMALL, '--images', 'a', 'a/below', 'b').model.num_images == 2 * number  # none twice


def test_a_list_of_images_takes_the_place_of_a_folder(config, tmp_path):
    paths = [str(path) for path in sorted(CIFAR.rglob('*.jpg'))[:9]]
    (tmp_path / 'chosen.txt').write_text('\n'.join([*paths, paths[0]]))  # one image twice
    found = config(SMALL, '--images', str(tmp_path / 'chosen.txt'))
    dataset = found.train_dataloader.dataset.dataset
    assert (dataset.ann_file, found.model.num_images) == (str(tmp_path / 'chosen.txt'), 10)


def test_relative_lines_of_a_list_are_taken_from_the_working_directory_and_an_error_names_it(config, tmp_path):
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists/chosen.txt').write_text('a/0.jpg\n')
    dataset = config(SMALL, '--images', 'lists/chosen.txt').train_dataloader.dataset.dataset
    with pytest.raises(FileNotFoundError, match=re.escape(f'relative to data_root ({os.getcwd()})')):
        DATASETS.build(dataset)
    (Path.cwd() / 'a').mkdir()
    shutil.copy(next(CIFAR.rglob('*.jpg')), 'a/0.jpg')
    assert len(DATASETS.build(dataset)) == 1


def test_a_recipe_that_needs_the_number_of_images_gets_it_unless_it_is_given(config):
    number = len(list(CIFAR.rglob('*.jpg')))
    long = {IMAGES: str(CIFAR), 'model.num_images': number}
    same(config(SMALL, '--images', str(CIFAR)), config(SMALL, **long))
    twice = config(SMALL, '--images', str(CIFAR), str(CIFAR))
    assert twice.model.num_images == number  # no image is taken twice
    assert config(SMALL, '--images', str(CIFAR), model__num_images=77).model.num_images == 77
    assert 'num_images' not in config(CUSTOM, '--images', str(CIFAR)).model


def test_a_knn_without_its_images_is_left_out_and_said(config, capsys, repository, monkeypatch):
    assert 'dino_plugin.KNNHook' not in [hook.type for hook in config(QUICKSTART, '--images', str(CIFAR)).custom_hooks]
    assert 'KNNHook is left out: its images, tests/data/cifar10_mini/train, are not here' in capsys.readouterr().err
    monkeypatch.chdir(repository)
    kept = config(QUICKSTART, '--images', str(CIFAR), work_dir=str(repository / 'work_dirs/nowhere'))
    assert 'dino_plugin.KNNHook' in [hook.type for hook in kept.custom_hooks]


def test_a_sampler_that_makes_batches_has_their_size(config):
    cfg = config(HIGHRES, '--batch-size', '4')
    assert cfg.train_dataloader.batch_size == cfg.train_dataloader.sampler.batch_size == 4


def test_no_worker_is_none_for_the_evaluation_either(config, repository, monkeypatch):
    cfg = config(QUICKSTART, '--num-workers', '0')
    assert (cfg.train_dataloader.num_workers, cfg.train_dataloader.persistent_workers) == (0, False)
    cfg = config(GRID, '--num-workers', '1')
    assert (cfg.train_dataloader.num_workers, cfg.val_dataloader.num_workers) == (1, 1)


@pytest.mark.parametrize('name', [ADE20K, VOC])
def test_a_data_set_of_mmsegmentation_is_one_folder_with_its_layout(name, config, tmp_path):
    cfg, old = config(name, '--images', folders(tmp_path / 'mine')), config(name)
    root = old.val_dataloader.dataset.dataset.data_root
    assert root in str(old.train_dataloader) and root not in str(cfg.train_dataloader)
    assert str(cfg.train_dataloader) == str(old.train_dataloader).replace(root, str(tmp_path / 'mine'))
    assert cfg.val_dataloader.dataset.dataset.data_root == str(tmp_path / 'mine')


def test_classes_of_ones_own_bring_their_number(config, tmp_path):
    mine = folders(tmp_path / 'mine', 'train/cat', 'train/dog', 'train/.hidden', 'val/cat')
    long = {f'{part}_dataloader.dataset.data_root': mine for part in ('train', 'val', 'test')}
    long |= {'model.head.num_classes': 2, 'model.data_preprocessor.num_classes': 2}
    same(config(FINETUNE, '--images', mine), config(FINETUNE, **long))
    train, val = f'{mine}/train', f'{mine}/val'
    long = {f'{SET}.dataset.dataset.data_root': train, 'val_dataloader.dataset.dataset.data_root': train,
            'test_dataloader.dataset.data_root': val, 'model.num_classes': 2,
            'test_cfg.held_out_dataloader.dataset.dataset.data_root': train}  # fmt: skip
    same(config(GRID, '--images', mine), config(GRID, **long))
    assert config(GRID, '--images', mine, model__num_classes=9).model.num_classes == 9


def test_a_test_folder_stands_in_for_val(config, tmp_path):
    mine = folders(tmp_path / 'mine', 'train/cat', 'test/cat')
    assert config(GRID, '--images', mine).test_dataloader.dataset.data_root == f'{mine}/test'


# --- epochs -----------------------------------------------------------------------------------------------------------


def test_schedules_that_count_epochs_keep_their_form(config):
    cfg = config(FINETUNE, '--epochs', '10')
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (10, 5)
    assert [(entry.begin, entry.end) for entry in cfg.param_scheduler] == [(0, 1), (1, 10)]
    assert config(FINETUNE, '--epochs', '2').train_cfg.val_interval == 2
    cfg = config(DETECTION, '--epochs', '6')
    assert cfg.param_scheduler[1].milestones == [4, 6] and cfg.param_scheduler[1].end == 6
    assert cfg.param_scheduler[0].end == 500  # steps


def test_a_length_in_steps_is_refused_in_words(refused):
    said = refused(HIGHRES, '--epochs', '5')
    assert 'counted in steps, 30,000 of them' in said and '--cfg-options train_cfg.max_iters=N\n' in said
    assert '--cfg-options train_cfg.max_iters=N param_scheduler.1.end=N\n' in refused(ADE20K, '--epochs', '5')


# --- another network --------------------------------------------------------------------------------------------------


def test_another_width_is_a_name(config):
    same(config(CUSTOM, '--backbone', 'vit_base_patch16_224'), config(CUSTOM, **{
        'model.backbone.model_name': 'vit_base_patch16_224', 'model.backbone.img_size': 224}))  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'network', 'patch', 'views'),
    [
        (DINOV2, 'vit_small_patch14_dinov2', 14, (224, 98)),
        (DINOV2, 'vit_base_patch8_224', 8, (224, 96)),
        (DINOV2, 'vit_tiny_r_s16_p8_224', 32, (224, 96)),  # behind a stem of stride 4
        ('dinov2/dinov2_vit-small-p14_1xb64-continued-20e_custom.py', 'vit_base_patch16_224', 16, (224, 96)),
        (DINOV3, 'vit_small_patch16_224', 16, (224, 96)),
    ],
)
def test_masks_views_and_positions_follow_the_patches(name, network, patch, views, config):
    cfg = config(name, '--backbone', network)
    assert cfg.train_dataloader.collate_fn.patch_size == patch
    crop = cfg.train_dataloader.dataset.dataset.pipeline[1]
    assert (crop.global_size, crop.local_size) == views
    assert cfg.model.backbone.img_size == 224 and 'patch_size' not in cfg.model.backbone


@pytest.mark.parametrize('sizes', ['global_crop_size', 'local_crop_size'])
def test_views_of_lightly_follow_too(sizes, config):
    cfg = config(LIGHTLY, '--backbone', 'vit_small_patch14_dinov2')
    assert (
        cfg.train_dataloader.dataset.dataset.transform[sizes] == dict(global_crop_size=224, local_crop_size=98)[sizes]
    )


def test_the_recipe_keeps_what_the_network_takes_and_says_what_it_does_not(config, capsys):
    backbone = config(DINOV3, '--backbone', 'vit_small_patch16_224').model.backbone
    assert backbone.init_values == 1e-5 and backbone.mask_token and backbone.token_std == 0.02
    assert 'rope_rescale_coords' not in backbone
    assert 'takes no rope_rescale_coords: left out' in capsys.readouterr().err
    backbone = config(DINOV3, '--backbone', 'vit_base_patch16_dinov3').model.backbone
    assert backbone.rope_rescale_coords == 2.0 and 'img_size' not in backbone
    backbone = config(CUSTOM, '--backbone', 'resnet18').model.backbone
    assert set(backbone) == {'type', 'model_name', 'drop_path_rate'}
    assert 'position_resampling' in (said := capsys.readouterr().err) and 'token_std' in said
    assert (
        'in_chans'
        in config('dino/dino_vit-small-p16_1xb64-coslr-200e_channels.py', '--backbone', 'resnet18').model.backbone
    )


@pytest.mark.parametrize(
    ('name', 'network'),
    [
        (DINOV2, 'vit_tiny_patch16_224'), (CUSTOM, 'resnet10t'), (DINOV3, 'vit_tiny_patch16_224'),
        (DINOV2, 'vit_small_patch16_dinov3'), (CUSTOM, 'convnext_atto'), (QUICKSTART, 'vit_tiny_patch16_224'),
    ],
)  # fmt: skip
def test_the_model_of_another_network_is_built_and_sees_its_views(name, network, config):
    cfg = config(name, '--backbone', network)
    for head in cfg.model.heads.values():
        head.update(prototypes=8, hidden_dim=8, bottleneck_dim=8)
    model = MODELS.build(cfg.model)
    student = model.distillation.student.backbone
    assert student.description['model_name'] == network
    side = cfg.train_dataloader.dataset.dataset.pipeline[1].global_size
    with torch.no_grad():
        assert student(torch.zeros(1, 3, side, side)).class_token.shape == (1, student.embed_dim)


def test_a_probe_or_decoder_takes_its_width_from_the_name(config):
    same(config(ADE20K, '--backbone', 'vit_base_patch14_dinov2', '--init', 'pretrained'), config(ADE20K, **{
        'model.backbone.model_name': 'vit_base_patch14_dinov2', 'model.backbone.pretrained': True}))  # fmt: skip
    cfg = config(GRID, '--backbone', 'vit_base_patch16_224')
    assert cfg.model.backbone == dict(type='dino_plugin.TimmBackbone', model_name='vit_base_patch16_224')


def test_an_unknown_name_is_answered_with_similar_ones(refused):
    said = refused(CUSTOM, '--backbone', 'vit_smal')
    assert "timm has no model 'vit_smal'" in said and 'Traceback' not in said


# --- first weights ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path) -> str:
    """A training checkpoint of a network that no recipe has."""
    arguments = dict(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    backbone = MODELS.build(dict(type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', **arguments))
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(backbone=backbone.description)), tmp_path / 'tiny.pth')
    return str(tmp_path / 'tiny.pth')


@pytest.mark.parametrize('name', [ADE20K, FINETUNE, DETECTION, GRID])
def test_a_file_is_the_checkpoint_of_the_backbone(name, config, tiny):
    long = {'model.backbone.checkpoint': tiny, 'model.backbone.pretrained': False}
    same(config(name, '--init', tiny), config(name, **long))


def test_a_pretraining_from_a_file_has_the_network_of_the_file(config, tiny):
    cfg = config(DINOV2, '--init', tiny)
    backbone = cfg.model.backbone
    assert (backbone.checkpoint, backbone.patch_size, backbone.embed_dim, backbone.depth) == (tiny, 8, 32, 1)
    assert cfg.train_dataloader.collate_fn.patch_size == 8 and backbone.mask_token
    for head in cfg.model.heads.values():
        head.update(prototypes=8, hidden_dim=8, bottleneck_dim=8)
    state = torch.load(tiny)['state_dict']
    built = MODELS.build(dict(cfg.model, backbone=dict(backbone, init_values=None, img_size=32)))
    key = 'model.patch_embed.proj.weight'
    assert torch.equal(built.distillation.teacher.backbone.state_dict()[key],
                       state[f'distillation.teacher.backbone.{key}'])  # fmt: skip


def test_the_stage_before_is_what_a_later_stage_starts_from(config, refused, tiny):
    same(config(HIGHRES, '--init', tiny), config(HIGHRES, model__checkpoint=tiny))
    assert 'goes on from a training of the stage before' in refused(HIGHRES, '--init', 'pretrained')


def test_timms_weights_need_a_name(config, refused):
    assert '--backbone vit_small_patch14_dinov2' in refused(ADE20K, '--init', 'pretrained')
    assert config(CUSTOM, '--init', 'pretrained').model.backbone.pretrained is True


# --- who wins, and what is refused ------------------------------------------------------------------------------------


def test_a_value_of_cfg_options_wins_over_every_short_option(config, tiny):
    Path('mine').mkdir()
    long = {IMAGES: 'other', 'train_cfg.max_epochs': 3, 'train_dataloader.batch_size': 5,
            'train_dataloader.num_workers': 6, 'model.backbone.patch_size': 8, 'model.backbone.img_size': 64,
            'model.backbone.checkpoint': 'other.pth', 'train_dataloader.dataset.dataset.pipeline.1.local_size': 97,
            'work_dir': 'there'}  # fmt: skip
    words = ['--images', 'mine', '--epochs', '9', '--batch-size', '9', '--num-workers', '9']
    words += ['--backbone', 'vit_small_patch16_224', '--init', tiny]
    cfg, expected = config(DINOV2, *words, **long), config(DINOV2, **long)
    assert cfg.train_dataloader.collate_fn.patch_size == 8  # follows from the network as it will be
    expected.train_dataloader.collate_fn.patch_size = 8
    expected.model.backbone.pretrained = False
    same(cfg, expected)


def test_the_classes_of_a_detector_are_those_of_the_folder(config, tmp_path):
    cfg = config(DETECTION, '--images', str(tmp_path))
    assert cfg.model.data_root == cfg.train_dataloader.dataset.data_root == str(tmp_path)


def test_a_metric_with_a_list_of_its_own_is_named(refused, tmp_path):
    own = tmp_path / 'own.py'
    own.write_text(
        f"_base_ = 'dino_plugin::{DETECTION}'\n"
        "val_evaluator = dict(ann_file='data/coco/annotations/instances_val2017.json')\n"
        'test_evaluator = val_evaluator\n'
    )
    said = refused(str(own), '--images', str(tmp_path))
    assert '--images: not for this config' in said and 'annotations/instances_val2017.json' in said
    assert 'train_dataloader.dataset.data_root=DIR' in said and 'val_evaluator.ann_file=FILE' in said


def test_labels_are_in_one_folder(refused, tmp_path):
    assert 'this config has labels; give one folder' in refused(GRID, '--images', str(tmp_path), str(tmp_path))


def test_a_config_without_a_training_is_refused(refused):
    assert 'knn/knn_folder.py trains nothing: use tools/test.py' in refused('knn/knn_folder.py', '--epochs', '3')


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (['--epochs', '0'], "argument --epochs: expected a whole number, 1 or more, got '0'"),
        (['--batch-size', '-3'], "argument --batch-size: expected a whole number, 1 or more, got '-3'"),
        (['--num-workers', 'x'], "argument --num-workers: expected a whole number, 0 or more, got 'x'"),
        (['--images', 'nowhere'], 'argument --images: nowhere does not exist'),
        (['--init', 'nowhere'], 'argument --init: nowhere does not exist'),
    ],
)
def test_wrong_words_are_refused_before_anything_is_read(words, expected, refused):
    assert expected in refused(CUSTOM, *words)


@pytest.mark.parametrize('name', [CUSTOM, LIGHTLY, ADE20K])
def test_a_mistake_is_told_with_the_short_option(name, config, capsys):
    cfg = config(name)
    init_default_scope(cfg.default_scope)
    with pytest.raises(SystemExit), explained(cfg, 'train', 'val', short=short_train_option):
        DATASETS.build(cfg.train_dataloader.dataset)
    said = capsys.readouterr().err
    assert '\n    --images DIR\n' in said
    if name != ADE20K:  # there the name of the folder of images below it is an answer, too
        assert 'On the command line:\n' in said and '--cfg-options' not in said


def test_a_mistake_without_a_short_option_is_told_with_the_long_one(config, capsys):
    cfg = config(CUSTOM, **{'model.backbone.model_name': 'vit_smal', 'model.backbone.drop_path_rate': 'vit_smal'})
    with pytest.raises(SystemExit), explained(cfg, 'train', short=short_train_option):
        MODELS.build(cfg.model)
    said = capsys.readouterr().err
    assert (
        'In a config, or on the command line:\n    --backbone NAME\n    --cfg-options model.backbone.drop_path' in said
    )


# --- a dry run --------------------------------------------------------------------------------------------------------


def test_a_dry_run_builds_everything_and_trains_nothing(tmp_path):
    runner = build_runner(small_config(tmp_path))
    runner.register_hook(DryRunHook())
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    with pytest.raises(DryRunEnded) as ended:
        runner.train()
    assert ended.value.code == 0
    assert 'the first batch is here (2 x 16 x 32 x 32 x 3, 2 x 16 x 16 x 16 x 3)' in ended.value.message
    assert runner.iter == 0 and not list(tmp_path.rglob('*.pth'))
    assert all(torch.equal(value, before[name]) for name, value in runner.model.state_dict().items())
