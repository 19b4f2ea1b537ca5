"""The short options of a test do what the long ones do; size and network come from the checkpoint."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.registry import MODELS
from safetensors.torch import save_file

from dino_plugin.commands.everyday_test_options import add_test_options, apply_test_options
from dino_plugin.commands.launch import load_config
from dino_plugin.commands.own_input import untrained

KNN, CHANNELS, RETRIEVAL = 'knn/knn_folder.py', 'knn/knn_folder_channels.py', 'retrieval/retrieval_folder.py'
PATCHES, COPIES, COPYDAYS = 'probes/patches_folder.py', 'retrieval/copies_folder.py', 'retrieval/copies_copydays.py'
ATTENTION, VOC12 = 'attention/jaccard_folder.py', 'attention/jaccard_voc12.py'
DISCOVERY, VIDEO = 'discovery/token_cut_folder.py', 'video/davis_folder.py'
GRID = 'probes/linear-grid_vit-small-p16_1xb128-10e_custom.py'
CLASSES = 'classification/vit-small-p16_linear_1xb128-100e_custom.py'
QUERIES, BANK = 'test_dataloader.dataset', 'test_cfg.bank_dataloader.dataset'
NETWORK = dict(img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
SMALL = {f'{loader}.pipeline.1.{key}': 32 for loader in (QUERIES, BANK) for key in ('resize', 'crop')}


def saved(path: Path, model_name: str = 'vit_tiny_patch16_224', **arguments: object) -> str:
    torch.manual_seed(1)
    backbone = MODELS.build(dict(type='dino_plugin.TimmBackbone', model_name=model_name, **{**NETWORK, **arguments}))
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(backbone=backbone.description)), path)
    return str(path)


@pytest.fixture
def checkpoint(tmp_path) -> str:
    return saved(tmp_path / 'small.pth')


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Words of a command line -> config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['tools/test.py'])
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    add_test_options(parser)

    def build(name: str, *words: str, **options: object) -> Config:
        args = parser.parse_args([name, *(words if words and not words[0].startswith('--') else ('none', *words))])
        vars(args).update(cfg_options=options, work_dir=None, launcher='none', local_rank=0)
        return load_config(args, lambda cfg: apply_test_options(cfg, args, options))

    return build


def same(short: Config, long: Config) -> None:
    assert short.to_dict() == long.to_dict()


def folders(*names: str) -> None:
    for name in names:
        Path(name).mkdir(parents=True)


@pytest.mark.parametrize('name', [KNN, PATCHES, 'probes/linear_folder.py'])
def test_one_folder_is_the_bank_and_the_queries(name, config, refused):
    folders('mine/train', 'mine/val', 'other/train', 'other/test', 'third')
    long = {f'{BANK}.data_root': 'mine/train', f'{QUERIES}.data_root': 'mine/val'}
    same(config(name, '--images', 'mine'), config(name, **long))
    assert config(name, '--images', 'other').test_dataloader.dataset.data_root == 'other/test'
    same(config(name, '--bank', 'third', '--queries', 'mine'),
         config(name, **{f'{BANK}.data_root': 'third', f'{QUERIES}.data_root': 'mine'}))  # fmt: skip
    assert 'there is no folder third/' in (said := refused(name, '--images', 'third'))
    assert '--bank DIR --queries DIR' in said


def test_other_layouts_are_kept(config):
    folders('mine/original', 'mine/train/cat', 'mine/train/dog', 'mine/val')
    both = {f'{BANK}.data_root': 'mine', f'{QUERIES}.data_root': 'mine'}
    same(config(COPIES, '--images', 'mine'), config(COPIES, **both))
    same(config(COPYDAYS, '--images', 'mine'), config(COPYDAYS, **both | {f'{BANK}.data_root': 'mine/original'}))
    for name in (RETRIEVAL, VIDEO, VOC12):
        same(config(name, '--images', 'mine'), config(name, **{f'{QUERIES}.data_root': 'mine'}))
    same(config(ATTENTION, '--images', 'mine', '--masks', 'mine/val'),
         config(ATTENTION, **{f'{QUERIES}.images': 'mine', f'{QUERIES}.masks': 'mine/val'}))  # fmt: skip
    same(config(DISCOVERY, '--images', 'mine'), config(DISCOVERY, **{f'{QUERIES}.images': 'mine'}))


def test_a_trained_classifier_has_the_classes_of_its_training(config):
    folders('mine/train/cat', 'mine/train/dog', 'mine/val')
    assert config(GRID, '--images', 'mine').model.num_classes == 2
    assert config(CLASSES, '--images', 'mine').model.head.num_classes == 2


@pytest.mark.parametrize(
    ('name', 'words', 'said'),
    [
        (RETRIEVAL, ['--bank', '.'], '--bank: this config has no bank'),
        (VIDEO, ['--queries', '.'], '--queries: this config has no bank'),
        (KNN, ['--masks', '.'], 'no folder for masks alone'),
        (PATCHES, ['--masks', '.'], 'no folder for masks alone'),
        (CLASSES, ['--image-size', '64'], '--image-size: this config has no size of images to set'),
        (KNN, ['--untrained'], '--untrained: of which network?'),
        (KNN, ['--image-size', '0'], 'expected a whole number, 1 or more'),
    ],
)
def test_what_makes_no_sense_is_refused(name, words, said, refused):
    assert said in refused(name, *words)


# --- the size of images -----------------------------------------------------------------------------------------------


def test_the_size_is_set_for_bank_and_queries(config):
    same(config(KNN, '--image-size', '32'), config(KNN, **SMALL))
    larger = {key: 512 if key.endswith('resize') else 448 for key in SMALL}
    same(config(KNN, '--image-size', '448'), config(KNN, **larger))
    same(config(KNN, '--image-size', '224'), config(KNN))
    same(config(PATCHES, '--image-size', '64'), config(PATCHES, **{'model.short_side': 64}))


def test_a_small_network_gets_small_images_unless_the_user_says_otherwise(config, checkpoint, tmp_path, capsys):
    same(config(KNN, checkpoint), config(KNN, **SMALL))
    assert f'images of 32 px, as {checkpoint} says' in capsys.readouterr().err
    assert config(KNN, checkpoint, '--image-size', '224').test_dataloader.dataset.pipeline[1].crop == 224
    mine = {f'{loader}.pipeline.1.{key}': 48 for loader in (QUERIES, BANK) for key in ('resize', 'crop')}
    same(config(KNN, checkpoint, **mine), config(KNN, **mine))
    (tmp_path / 'own.py').write_text(
        "_base_ = 'dino_plugin::knn/knn_folder.py'\n"
        'for loader in (_base_.test_dataloader, _base_.test_cfg.bank_dataloader):\n'
        '    loader.dataset.pipeline[1].update(resize=64, crop=56)\n'
    )
    assert config('own.py', checkpoint).test_dataloader.dataset.pipeline[1].crop == 56
    same(config('knn/knn_cifar10-mini.py', checkpoint), config('knn/knn_cifar10-mini.py'))  # nothing is resized


def test_a_large_network_keeps_the_usual_size_and_is_told(config, tmp_path, capsys):
    large = saved(tmp_path / 'large.pth', img_size=448)
    same(config(KNN, large), config(KNN))
    assert '--image-size 448' in capsys.readouterr().err


def test_the_normalisation_is_that_of_the_description(config, tmp_path):
    backbone = MODELS.build(dict(type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', **NETWORK))
    save_file(backbone.model.state_dict(), tmp_path / 'out.safetensors')
    half, other = [0.5] * 3, [0.25] * 3
    (tmp_path / 'out.json').write_text(
        str(dict(backbone.description, mean=half, std=other)).replace("'", '"').replace('None', 'null')
    )
    preprocessor = config(KNN, 'out.safetensors').model.data_preprocessor
    assert preprocessor == dict(type='dino_plugin.ViewPreprocessor', mean=[127.5] * 3, std=[63.75] * 3)
    assert config(CHANNELS, 'out.safetensors').model.data_preprocessor == config(CHANNELS).model.data_preprocessor


def test_timms_weights_say_it_too(config):
    network = {'model.backbone.model_name': 'vit_tiny_patch16_224.augreg_in21k_ft_in1k'}
    released = config(KNN, **network, **{'model.backbone.pretrained': True})
    assert released.model.data_preprocessor.mean == [127.5] * 3
    assert 'data_preprocessor' not in config(KNN, **network).model


# --- untrained --------------------------------------------------------------------------------------------------------


def test_untrained_is_the_described_network_as_seven_options_name_it(config, checkpoint):
    long = {f'model.backbone.{key}': value for key, value in NETWORK.items()}
    long |= {'model.backbone.model_name': 'vit_tiny_patch16_224'} | SMALL
    same(config(KNN, checkpoint, '--untrained'), config(KNN, **long))


@pytest.mark.parametrize(
    ('name', 'arguments', 'scale'),
    [
        ('vit_tiny_patch16_224', dict(init_values=1e-5), dict(init_values=1.0)),
        ('vit_small_patch14_dinov2', {}, dict(init_values=1.0)),
        ('vit_small_patch16_dinov3', dict(rope_rescale_coords=2.0), dict(init_values=1.0)),
    ],
)
def test_a_layer_scale_starts_at_one(name, arguments, scale, config, tmp_path):
    cfg = config(KNN, saved(tmp_path / 'scaled.pth', name, **arguments), '--untrained')
    assert {key: cfg.model.backbone[key] for key in scale} == scale
    model = MODELS.build(cfg.model)
    found = [value for key, value in model.named_parameters() if key.endswith(('ls1.gamma', 'gamma_1'))]
    assert found and all((value == 1).all() for value in found)


def test_untrained_needs_a_network_alone(config, checkpoint, refused):
    assert 'trained on top of a network' in refused(GRID, checkpoint, '--untrained')
    torch.save(dict(weight=torch.zeros(2)), 'nothing.pth')
    with pytest.raises(ValueError, match=r'backbone found|does not say which network'):
        untrained(config(KNN), 'nothing.pth')


def test_the_program_gives_the_same_knn_by_one_word_as_by_the_long_options(
    checkpoint, tmp_path, monkeypatch, repository
):
    spec = importlib.util.spec_from_file_location('test_program', repository / 'tools/test.py')
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.chdir(tmp_path)

    def knn(name: str, *words: str, **options: object) -> str:
        options |= {f'{loader}.{key}': value for loader in ('test_dataloader', 'test_cfg.bank_dataloader')
                    for key, value in {'num_workers': 0, 'dataset.indices': 60}.items()}  # fmt: skip
        pairs = [f'{key}={value}' for key, value in options.items()] + [f'experiment_name={name}{tmp_path.name}']
        where = ['--bank', str(CIFAR), '--queries', str(CIFAR), '--out', f'{name}.json']
        monkeypatch.setattr(sys, 'argv', ['test.py', KNN, *words, *where, '--cfg-options', *pairs])
        program.main()
        return Path(f'{name}.json').read_text()

    assert knn('short', checkpoint) == knn('long', checkpoint, **SMALL)
    network = {f'model.backbone.{key}': value for key, value in NETWORK.items()}
    network |= {'model.backbone.model_name': 'vit_tiny_patch16_224'}
    assert knn('word', checkpoint, '--untrained') == knn('words', 'none', **network, **SMALL)
