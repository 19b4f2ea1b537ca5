"""--images with tar shards: any recipe reads them."""

import argparse
import sys

import pytest
from bundled import CIFAR
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from dino_plugin.commands.everyday_options import add_train_options
from dino_plugin.commands.features_of_images import images_at
from dino_plugin.commands.training import training_config
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.sources.index_writing import index_shards
from dino_plugin.data.sources.shard_writing import write_shards
from dino_plugin.openmmlab.config_files import config_path


@pytest.fixture(scope='module')
def shards(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp('shards')
    write_shards([dict(img_path=path) for path in find_images(str(CIFAR))[0][::10]], CIFAR, out, 30)
    index_shards(str(out))
    return str(out)


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Name of a recipe and folders -> config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['tools/train.py'])

    def build(name: str, *folders: str) -> Config:
        parser = argparse.ArgumentParser()
        parser.add_argument('config')
        add_train_options(parser)
        args = parser.parse_args([name, '--images', *folders])
        others = dict(cfg_options={}, work_dir=None, launcher='none', local_rank=0, resume=None, amp=False)
        vars(args).update(others, no_validate=False, auto_scale_lr=False)
        return training_config(args)

    return build


def test_a_recipe_for_folders_reads_shards(training, shards):
    config = training('dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py', shards)
    as_shipped = Config.fromfile(config_path('dino/dino_vit-small-p16_1xb64-coslr-100e_shards.py')).train_dataloader
    as_shipped.dataset.dataset.data_root = shards
    assert config.train_dataloader.sampler.type == as_shipped.sampler.type == 'dino_plugin.ShardSampler'
    assert config.train_dataloader.dataset.to_dict() == as_shipped.dataset.to_dict()
    init_default_scope(config.default_scope)
    assert len(DATASETS.build(config.train_dataloader.dataset)) == 100


def test_values_that_follow_from_the_number_of_images_follow_from_that_in_the_shards(training, shards):
    assert training('dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py', shards).model.num_images == 100


def test_a_training_of_several_sources_takes_one_folder_for_each(training, shards, capsys):
    name = 'dinov3/dinov3_vit-large-p16_64xb64-pretrain-1000k_sources.py'
    sources = training(name, shards, '.', shards).train_dataloader.dataset.dataset.datasets
    assert [source.data_root for source in sources] == [shards, '.', shards]
    with pytest.raises(SystemExit):
        training(name, shards)
    assert 'this config has 3 sources, got 1 folders; give one for each' in capsys.readouterr().err


def test_features_are_those_of_the_shards(shards):
    dataset = images_at(shards, 40, 32)
    image, _, path = dataset[99]
    assert len(dataset) == 100 and image.shape == (32, 32, 3) and path.startswith(f'shard://{shards}/00003.tar::')
