"""Every config of text/ trains or tests; a resumed training is an unbroken one; checkpoints describe their towers."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.runner import Runner

from dino_plugin.engine.downstream.trained_model import name_backbone
from dino_plugin.evaluation.text.prompt import load_towers, prompt_sheet, text_maps
from dino_plugin.evaluation.text.zero_shot import ZeroShotClassifier
from dino_plugin.openmmlab.config_files import config_path, config_root

pytest.importorskip('open_clip', reason='pip install "dino_plugin[text]"')
NETWORK = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
CONFIGS = sorted(path.stem for path in (config_root() / 'text').glob('*.py'))
TRAINING = [name for name in CONFIGS if name.startswith('vit')]
SEGMENTATION = [name for name in CONFIGS if name.startswith('segmentation')]
CUSTOM = 'vit-small-p16_1xb256-20e_custom'
IMAGES = sorted(CIFAR.glob('*/*.jpg'))[::100]  # one of each class


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Ten images with two captions each, and masks."""
    folder = tmp_path_factory.mktemp('captions')
    for part in ('images', 'masks'):
        (folder / part).mkdir()
    rows = ['image,caption']
    for path in IMAGES:
        shutil.copy(path, folder / f'images/{path.parent.name}.jpg')
        cv2.imwrite(str(folder / f'masks/{path.parent.name}.png'), np.ones((32, 32), np.uint8))
        rows += [f'{path.parent.name}.jpg,a {path.parent.name}', f'{path.parent.name}.jpg,one {path.parent.name}']
    for split in ('train', 'val', 'test'):
        (folder / f'{split}.csv').write_text('\n'.join(rows))
        (folder / f'{split}.txt').write_text('\n'.join(path.parent.name for path in IMAGES))
    return folder


def config(name, data, work_dir):
    cfg = Config.fromfile(config_path(f'text/{name}.py'))
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{name}{work_dir}'.replace('/', '_')
    for loader in (cfg.get(f'{part}_dataloader') for part in ('train', 'val', 'test')):
        if loader is None:
            continue
        loader.update(num_workers=0, persistent_workers=False, batch_size=min(4, loader.batch_size))
        dataset = loader.dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        if dataset.type.endswith('ShardDataset'):
            dataset.clear()
            dataset.update(type='dino_plugin.CaptionDataset', ann_file='train.csv', pipeline=[*PIPELINE])
            loader.sampler = dict(type='dino_plugin.ResumableSampler', shuffle=True)
        if 'CaptionDataset' in dataset.type:
            dataset.update(data_prefix=dict(img_path='images'), indices=8)
        dataset.data_root = str(data)
        for step in dataset.pipeline:
            for key in {'size', 'resize', 'crop'} & step.keys():
                step[key] = 32
            if step.type == 'Resize':
                step.scale = (32, 32)
    return cfg


PIPELINE = [
    dict(type='dino_plugin.LoadImage'),
    dict(type='dino_plugin.RandomResizedCrop', size=32),
    dict(type='dino_plugin.PackCaptions', draw_one=True),
]


COLOURS = dict(type='dino_plugin.CaptionPreprocessor', mean=[127.5, 127.0, 126.5], std=[60.0, 61.0, 62.0])


def training(name, data, work_dir, epochs=2):
    cfg = config(name, data, work_dir)
    cfg.model.backbone.update(NETWORK)
    cfg.model.data_preprocessor = COLOURS
    cfg.model.text.update(width=32, heads=2, layers=1, context_length=16)
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.max_iters = 2 * epochs
        cfg.default_hooks.checkpoint.interval = 2
    else:
        cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    cfg.optim_wrapper.precision = 'fp32'
    cfg.default_hooks.logger.interval = 1
    return cfg


def weights(path):
    return torch.load(path, weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    Runner.from_cfg(training(CUSTOM, data, work_dir)).train()
    return work_dir / 'epoch_2.pth'


@pytest.mark.parametrize('name', [name for name in TRAINING if name != CUSTOM])
def test_a_config_trains_and_evaluates(name, data, tmp_path):
    runner = Runner.from_cfg(training(name, data, tmp_path, epochs=1))
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    moved = {
        key.split('.')[0] for key, value in runner.model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved == {'text', 'loss'} | ({'vision'} if runner.model.vision.blocks else set())


def test_a_resumed_training_is_the_unbroken_one(data, trained, tmp_path):
    shutil.copy(trained.parent / 'epoch_1.pth', tmp_path / 'epoch_1.pth')
    cfg = training(CUSTOM, data, tmp_path)
    cfg.resume, cfg.load_from = True, str(tmp_path / 'epoch_1.pth')
    Runner.from_cfg(cfg).train()
    found, expected = weights(tmp_path / 'epoch_2.pth'), weights(trained)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(('names', 'message'), [(3, '3 names .* and the data set 10 classes'), (1000, '1000 names')])
def test_names_and_classes_are_counted_before_the_first_image(names, message, trained, tmp_path, monkeypatch):
    cfg = config('zero-shot_folder', CIFAR, tmp_path)
    cfg.model.update(classes=[f'class {number}' for number in range(names)], templates=['{}'])
    monkeypatch.setattr(ZeroShotClassifier, 'forward', lambda *_, **__: pytest.fail('an image was looked at'))
    with pytest.raises(ValueError, match=message):
        results_of(cfg, trained)


def test_labels_of_a_list_need_names(trained, tmp_path):
    cfg = config('zero-shot_folder', CIFAR, tmp_path)
    (tmp_path / 'list.txt').write_text(f'{IMAGES[0].relative_to(CIFAR)} 0\n{IMAGES[1].relative_to(CIFAR)} 7\n')
    cfg.test_dataloader.dataset.ann_file = str(tmp_path / 'list.txt')
    cfg.model.update(classes=['a', 'b'], templates=['{}'])
    with pytest.raises(ValueError, match='labels of the data set go up to 7'):
        results_of(cfg, trained)


def results_of(cfg, trained):
    """As tools/test.py does it."""
    name_backbone(cfg.model, str(trained))
    runner = Runner.from_cfg(cfg)
    runner.load_checkpoint(str(trained), strict=True)
    return runner.test()


def test_the_retrieval_of_a_table_takes_the_towers_from_the_checkpoint(data, trained, tmp_path):
    found = results_of(config('retrieval_table', data, tmp_path), trained)
    assert set(found) == {
        f'retrieval/{way}_R@{k}' for way in ('image_to_text', 'text_to_image') for k in (1, 5, 10)
    } | {'retrieval/mean_recall'}
    assert found['retrieval/text_to_image_R@10'] == 100  # of 8 images


@pytest.mark.parametrize('name', [name for name in CONFIGS if name.startswith('zero-shot')])
def test_a_zero_shot_config_takes_names_and_folders(name, data, trained, tmp_path):
    cfg = config(name, CIFAR, tmp_path)
    cfg.test_dataloader.dataset.indices = list(range(0, 1000, 50))
    if name != 'zero-shot_imagenette128':
        cfg.model.update(classes=str(data / 'test.txt'), templates=['a {}'])  # ten, not a thousand
    found = results_of(cfg, trained)
    assert cfg.model.data_preprocessor == COLOURS
    assert found.get('accuracy/top5', 100) >= found['accuracy/top1'] >= 0
    assert ('accuracy/top5' in found) == (name != 'zero-shot_folder')  # which may have fewer than five classes


@pytest.mark.parametrize('name', SEGMENTATION)
def test_a_segmentation_config_scores_pixels(name, data, trained, tmp_path):
    pytest.importorskip('mmseg', reason='mmsegmentation is not installed: pip install "dino_plugin[onedl]"')
    cfg = config(name, data, tmp_path)
    cfg.model.update(templates=['{}'], window=32, stride=16)
    dataset = cfg.test_dataloader.dataset.dataset
    dataset.update(data_prefix=dict(img_path='images', seg_map_path='masks'), indices=2)
    if name == 'segmentation_voc12':
        dataset.ann_file = 'test.txt'
    else:
        dataset.update(img_suffix='.jpg', seg_map_suffix='.png')
    for step in dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (64, 48)
    assert 0 <= results_of(cfg, trained)['aAcc'] <= 100
    colours = {key: cfg.model.data_preprocessor[key] for key in ('type', 'mean', 'std')}
    assert colours == {**COLOURS, 'type': 'mmseg.SegDataPreProcessor'}  # as in training


def test_a_prompt_glows_where_patches_are_near_and_other_files_are_refused(trained, tmp_path):
    model = load_towers(str(trained))
    assert model.data_preprocessor.std.tolist() == COLOURS['std']  # as in training
    image = cv2.imread(str(IMAGES[0]))[:, :24].copy()
    maps = text_maps(model, image, ['a dog', 'a ship'], size=24)
    assert maps.shape == (2, 4, 3) and maps.abs().max() <= 1
    alone = text_maps(model, image, ['a ship'], size=24)
    torch.testing.assert_close(maps[1:], alone)
    assert prompt_sheet(image, maps, ['a dog', 'a ship'], height=40).shape[0] > 40
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth has no text tower'):
        load_towers(str(tmp_path / 'other.pth'))
