"""Linear classifiers that learn together: equality with plain SGD, resuming, the choice, and the configs."""

import importlib
import json
import logging
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bundled import CIFAR
from mmengine.config import Config
from mmengine.runner.checkpoint import _load_checkpoint
from processes import run_in_processes
from torch import nn

from dino_plugin.commands.runner import Runner
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.mmcv_transforms import RandomResizedCrop
from dino_plugin.engine.evaluating.linear_grid import HeadSetting, LinearGrid
from dino_plugin.evaluation.bank_metric import Labelled
from dino_plugin.evaluation.classification import grid_metric
from dino_plugin.evaluation.classification.grid_metric import LinearGridMetric, accuracies_of_heads
from dino_plugin.evaluation.classification.held_out_split import held_out_split
from dino_plugin.openmmlab.config_files import config_path

NETWORK = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32,
    depth=2, num_heads=2, drop_path_rate=0.2,
)  # fmt: skip
GRID = dict(num_classes=10, learning_rates=(0.05, 0.5), last_blocks=(1, 2))
RANDOM = torch.Generator().manual_seed(0)


def batches(count: int, size: int = 12) -> list[dict]:
    images, labels = torch.randn(count, size, 3, 32, 32, generator=RANDOM), torch.randint(0, 10, (count, size))
    return [dict(images=image, labels=label) for image, label in zip(images, labels)]


def vector(backbone, images, number, average):
    """What a classifier sees, from the last blocks, one after the other."""
    with torch.no_grad():
        blocks = backbone.eval().last_blocks(images, number)
    parts = [block.class_token for block in blocks]
    return torch.cat([*parts, blocks[-1].patches.mean(dim=(1, 2))] if average else parts, dim=1)


def test_classifiers_that_learn_together_equal_sgd_of_each_alone():
    torch.manual_seed(0)
    grid, steps = LinearGrid(NETWORK, **GRID).train(), batches(5)
    started = [weight.detach().clone() for weight in grid.weights]
    optimiser = torch.optim.SGD([p for p in grid.parameters() if p.requires_grad], lr=1, momentum=0.9)
    for number, batch in enumerate(steps):
        optimiser.param_groups[0]['lr'] = 12 / 256 * (1 + math.cos(math.pi * number / 5)) / 2
        optimiser.zero_grad()
        grid(**batch, mode='loss')['loss'].backward()
        optimiser.step()

    settings = iter(grid.settings)
    for place, weights in enumerate(grid.weights):
        for rate_place, rate in enumerate(GRID['learning_rates']):
            setting = next(settings)
            assert setting.learning_rate == rate
            layer = nn.Linear(weights.shape[1], 10)
            with torch.no_grad():
                layer.weight.copy_(started[place][rate_place].T)
                layer.bias.zero_()
            alone = torch.optim.SGD(layer.parameters(), lr=1, momentum=0.9)
            for number, batch in enumerate(steps):
                alone.param_groups[0]['lr'] = rate * 12 / 256 * (1 + math.cos(math.pi * number / 5)) / 2
                alone.zero_grad()
                seen = vector(grid.backbone, batch['images'], setting.last_blocks, setting.average_pool)
                nn.functional.cross_entropy(layer(seen), batch['labels']).backward()
                alone.step()
            torch.testing.assert_close(weights[rate_place], layer.weight.T.detach(), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(grid.biases[place][rate_place, 0], layer.bias.detach(), rtol=1e-4, atol=1e-6)
            assert (weights[rate_place] - started[place][rate_place]).abs().max() > 1e-4


def test_the_grid_of_dinov2_has_52_classifiers_and_each_begins_alike_for_all_rates():
    grid = LinearGrid(dict(NETWORK, depth=4), num_classes=10)
    assert len(grid.settings) == len(set(grid.settings)) == 52
    assert [weight.shape[:2] for weight in grid.weights] == [(13, 32), (13, 64), (13, 128), (13, 160)]
    for weight, bias in zip(grid.weights, grid.biases):
        assert (weight == weight[:1]).all() and not bias.any()
        assert float(weight[0].detach().std()) == pytest.approx(0.01, rel=0.15)


def test_nothing_of_the_backbone_learns_or_changes_and_drop_path_is_off():
    torch.manual_seed(0)
    grid = LinearGrid(NETWORK, **GRID).train()
    before = {name: value.clone() for name, value in grid.backbone.state_dict().items()}
    (batch,) = batches(1)
    losses = [grid(**batch, mode='loss')['loss'] for _ in range(2)]
    assert losses[0] == losses[1]
    losses[0].backward()
    assert all(parameter.grad is None for parameter in grid.backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in grid.backbone.state_dict().items())


def test_predictions_are_the_best_classes_of_each_classifier_and_answers_restrict_them():
    torch.manual_seed(0)
    (batch,) = batches(1)
    grid = LinearGrid(NETWORK, **GRID).eval()
    logits = grid(**batch)
    (found,) = grid(**batch, mode='predict')
    assert torch.equal(found['features'], logits.argsort(dim=-1, descending=True)[..., :5].transpose(0, 1))
    grid.answers = [7, 2, 4]
    (restricted,) = grid(**batch, mode='predict')
    expected = torch.tensor([7, 2, 4])[logits[..., [7, 2, 4]].argsort(dim=-1, descending=True)].transpose(0, 1)
    assert torch.equal(restricted['features'], expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(precision='int8'), 'precision must be one of'),
        (dict(learning_rates=()), 'need an entry each'),
        (dict(learning_rates=(0.0,)), 'above 0'),
        (dict(average_pool=()), 'need an entry each'),
        (dict(last_blocks=(1, 3)), 'last_blocks=3 must be 1 to 2'),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LinearGrid(NETWORK, **{**GRID, **options})


def test_a_label_outside_of_the_classes_names_the_number():
    (batch,) = batches(1)
    for label in (-1, 10):
        batch['labels'][3] = label
        with pytest.raises(ValueError, match=r'model\.num_classes=10'):
            LinearGrid(NETWORK, **GRID)(**batch, mode='loss')


def test_precision_and_preprocessor_reach_the_network():
    torch.manual_seed(0)
    (batch,) = batches(1)
    exact = LinearGrid(NETWORK, **GRID)
    rounded = LinearGrid(NETWORK, **GRID, precision='bf16')
    rounded.load_state_dict(exact.state_dict())
    assert 0 < (exact(**batch) - rounded(**batch)).abs().max() < 0.05
    other = LinearGrid(NETWORK, **GRID, data_preprocessor=dict(type='dino_plugin.ViewPreprocessor', mean=[1.0] * 3))
    assert other.data_preprocessor.mean.tolist() == [1.0] * 3


def test_a_classifier_that_diverged_is_never_right_and_features_that_are_not_finite_are_refused():
    (batch,) = batches(1)
    grid = LinearGrid(NETWORK, **GRID).eval()
    expected = grid(**batch, mode='predict')[0]['features']
    grid.weights[0].data[1, 3, 4] = torch.inf
    found = grid(**batch, mode='predict')[0]['features']
    assert (found[:, 1] == -1).all() and torch.equal(found[:, [0, *range(2, 8)]], expected[:, [0, *range(2, 8)]])
    grid.backbone.model.norm.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match='features hold NaN or infinity'):
        grid(**batch, mode='predict')


def test_a_convolutional_network_has_one_block():
    convolutional = dict(type='dino_plugin.TimmBackbone', model_name='resnet18')
    assert LinearGrid(convolutional, 10, (0.1,), (1,), (False,)).weights[0].shape == (1, 512, 10)
    with pytest.raises(ValueError, match='last_blocks=4 must be 1 to 1'):
        LinearGrid(convolutional)


# --- the choice -------------------------------------------------------------------------------------------------------


def ranked(*hits_of_heads) -> Labelled:
    """Images of class 0; each classifier says 0 where the hits are 1, else class 1."""
    hits = torch.tensor(hits_of_heads).T[..., None]
    return Labelled(1 - hits, torch.zeros(len(hits), dtype=torch.long))


HELD_OUT, TEST = ranked([1, 1, 0, 0], [1, 1, 1, 0]), ranked([1, 1, 1, 1], [1, 0, 0, 0])


def scored(metric, **parts):
    metric.settings = [HeadSetting(0.1, 1, False), HeadSetting(0.2, 4, True)]
    for mark, part in parts.items():
        metric.process(None, [dict(features=part.features, labels=part.labels, in_bank=mark == 'held_out')])
    return metric.evaluate(4)


def test_the_held_out_images_choose_and_the_test_images_are_asked_once():
    chosen = {'learning_rate': 0.2, 'last_blocks': 4.0, 'average_pool': 1.0}
    expected = {'top1': 25.0, 'held_out_top1': 75.0, **chosen}
    assert scored(LinearGridMetric(), held_out=HELD_OUT, test=TEST) == pytest.approx(
        {f'linear/{name}': value for name, value in expected.items()}
    )


def test_the_authors_way_chooses_on_the_test_images_and_the_log_warns(monkeypatch):
    told = []
    monkeypatch.setattr(grid_metric, 'print_log', lambda *words: told.append(words))
    for parts in (dict(held_out=HELD_OUT, test=TEST), dict(test=TEST)):
        told.clear()
        found = scored(LinearGridMetric(choose_on='test'), **parts)
        assert found['linear/top1'] == 100 and found['linear/learning_rate'] == 0.1
        assert 'optimistic' in told[0][0] and told[0][2] == logging.WARNING


def test_several_classifiers_without_held_out_images_are_refused_and_one_needs_none():
    with pytest.raises(ValueError, match='There are 2 classifiers and no held-out images'):
        scored(LinearGridMetric(), test=TEST)
    one = Labelled(TEST.features[:, :1], TEST.labels)
    assert scored(LinearGridMetric(), test=one)['linear/top1'] == 100
    with pytest.raises(ValueError, match='choose_on must be one of'):
        LinearGridMetric(choose_on='val')


def test_accuracies_of_each_classifier_by_hand():
    features = torch.tensor([[[0, 1, 2, 3, 4], [5, 0, 1, 2, 3]], [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]])
    top1, top5 = accuracies_of_heads(Labelled(features, torch.tensor([0, 4])))
    assert top1.tolist() == [50.0, 0.0] and top5.tolist() == [100.0, 50.0]
    with pytest.raises(ValueError, match='no images'):
        accuracies_of_heads(Labelled(features[:0], torch.zeros(0)))


# --- the data ---------------------------------------------------------------------------------------------------------


def test_the_two_parts_have_each_image_once_and_a_tenth_of_each_class():
    config = dict(type='dino_plugin.ImageDataset', data_root=str(CIFAR), with_labels=True)
    apart, rest = (held_out_split(config, part) for part in (True, False))
    paths = [{one.get_data_info(index)['img_path'] for index in range(len(one))} for one in (apart, rest)]
    assert not paths[0] & paths[1] and len(paths[0] | paths[1]) == 1000
    labels = [apart.get_data_info(index)['gt_label'] for index in range(len(apart))]
    assert [labels.count(label) for label in range(10)] == [10] * 10
    assert apart.metainfo['classes'] == rest.metainfo['classes']
    other = held_out_split(ImageDataset(str(CIFAR), with_labels=True), True, share=0.2, seed=1)
    assert len(other) == 200 and not paths[0] <= {other.get_data_info(i)['img_path'] for i in range(200)}
    with pytest.raises(ValueError, match='has no labels'):
        held_out_split(dict(config, with_labels=False), True)


def test_groups_are_held_out_whole():
    config = dict(type='dino_plugin.ImageDataset', data_root=str(CIFAR), with_labels=True)
    apart, rest = (held_out_split(config, part, share=0.3, group=r'\d\.jpg$') for part in (True, False))
    digits = [{one.get_data_info(index)['img_path'][-5] for index in range(len(one))} for one in (apart, rest)]
    assert len(digits[0]) == 3 and len(digits[1]) == 7 and not digits[0] & digits[1]
    assert len(apart) + len(rest) == 1000
    assert held_out_split(config, True, group=r'\d\.jpg$', share=0.01)  # one group at least
    with pytest.raises(ValueError, match=r'finds nothing in .*jpg'):
        held_out_split(config, True, group='_g[0-9]+_')
    with pytest.raises(ValueError, match=r"finds \['\.jpg'\] in all 1000 files"):
        held_out_split(config, True, group=r'\.jpg')


def test_a_random_view_is_a_mirrored_part_of_the_image_of_the_asked_size():
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = np.arange(60)[None] * 4  # red grows to the right
    image[..., 1] = np.arange(40)[:, None] * 6
    mirrored, shares = [], []
    for seed in range(60):
        random.seed(seed)
        view = RandomResizedCrop((20, 30), (0.2, 0.5)).transform(dict(img=image, channel_order='rgb'))['img']
        assert view.shape == (20, 30, 3) and not view[..., 2].any()
        red, green = (view[..., channel].astype(float) for channel in (0, 1))
        slope = (red[:, -1] - red[:, 0]).mean()
        mirrored.append(slope < 0)
        shares.append(abs(slope) / 4 / 60 * (green[-1] - green[0]).mean() / 6 / 40)
    assert 15 < sum(mirrored) < 45 and 0.12 < min(shares) < max(shares) < 0.52
    for probability in (0, 1):
        view = RandomResizedCrop(16, flip_probability=probability).transform(dict(img=image, channel_order='rgb'))[
            'img'
        ]
        assert (int(view[8, -1, 0]) < int(view[8, 0, 0])) == bool(probability)
    with pytest.raises(ValueError, match='flip_probability'):
        RandomResizedCrop(flip_probability=2)
    with pytest.raises(ValueError, match='scale is a range'):
        RandomResizedCrop(scale=(0.0, 1.0))


# --- the configs ------------------------------------------------------------------------------------------------------

CONFIGS = ['linear-grid_vit-small-p16_1xb128-10e_custom', 'linear-grid_vit-small-p16_8xb128-10e_in1k',
           'linear_vit-small-p16_8xb128-100e_in1k']  # fmt: skip


def load(name: str, folder: Path, epochs: int = 2, **options) -> Config:
    """A config on bundled images, with a small network and few of them."""
    cfg = Config.fromfile(config_path(f'probes/{name}.py'))
    depth = max(cfg.model.last_blocks)
    cfg.model.update(num_classes=10, backbone=dict(NETWORK, depth=depth))
    loaders = [cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader, cfg.test_cfg.held_out_dataloader]
    for loader in filter(None, loaders):
        loader.update(num_workers=0, batch_size=16)
        loader.pop('persistent_workers', None)
        dataset = loader.dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        tenths = 10 if loader is cfg.test_dataloader else 7
        dataset.update(data_root=str(CIFAR), indices=list(range(0, 1000, tenths)))
        for step in dataset.pipeline:
            step.update({'size': 32} if 'size' in step else {'resize': 36, 'crop': 32} if 'crop' in step else {})
    cfg.test_cfg.cache_gigabytes = 0
    cfg.train_cfg.max_epochs = epochs
    cfg.work_dir, cfg.experiment_name = str(folder), f'{folder.parent.name}_{folder.name}'
    cfg.default_hooks.checkpoint.update(max_keep_ckpts=-1)
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_trains_and_the_test_reports_one_classifier(name, tmp_path, monkeypatch):
    Runner.from_cfg(load(name, tmp_path / 'out')).train()
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / 'tools'))
    monkeypatch.delitem(sys.modules, 'test', raising=False)
    program = importlib.import_module('test')
    cfg = load(name, tmp_path / 'again')
    cfg.model.backbone = dict(type='dino_plugin.TimmBackbone')  # the checkpoint says which
    runner = program.build_runner(cfg, str(tmp_path / 'out/epoch_2.pth'))
    scores = runner.test()
    assert 8 < scores['linear/top1'] < 60 and scores['linear/top1'] <= scores['linear/top5'] <= 100
    assert (scores['linear/learning_rate'], scores['linear/last_blocks']) in {
        (rate, float(number)) for rate in cfg.model.learning_rates for number in cfg.model.last_blocks
    }
    saved = _load_checkpoint(str(tmp_path / 'out/epoch_2.pth'), map_location='cpu')['state_dict']
    assert all(torch.equal(value, saved[key]) for key, value in runner.model.state_dict().items() if key in saved)
    assert ('linear/held_out_top1' in scores) == name.startswith('linear-grid')


def test_a_resumed_training_ends_with_the_same_weights_bit_for_bit(tmp_path):
    name = CONFIGS[0]
    every = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 5}
    whole = Runner.from_cfg(load(name, tmp_path / 'whole', **every))
    whole.train()
    path = tmp_path / 'whole/iter_5.pth'  # in the middle of the first epoch of 8 iterations
    rest = Runner.from_cfg(load(name, tmp_path / 'rest', **every, resume=True, load_from=str(path)))
    rest.train()
    assert whole.iter == rest.iter == 16
    for (key, value), other in zip(whole.model.state_dict().items(), rest.model.state_dict().values()):
        assert torch.equal(value, other), key
    begun = _load_checkpoint(str(path), map_location='cpu')['state_dict']
    assert not torch.equal(begun['weights.0'], whole.model.state_dict()['weights.0'])


def test_training_on_real_images_beats_chance_and_the_log_has_the_best_accuracy(tmp_path):
    runner = Runner.from_cfg(load(CONFIGS[0], tmp_path / 'out', epochs=4))
    runner.train()
    lines = [json.loads(line) for line in next((tmp_path / 'out').glob('*/vis_data/scalars.json')).open()]
    best = [line['linear/best_top1'] for line in lines if 'linear/best_top1' in line]
    assert len(best) == 4 and max(best) > 14
    assert all(line['images_per_second'] > 0 for line in lines if 'lr' in line)


def _train_and_save(rank: int, folder: Path, processes: int) -> None:
    cfg = load(CONFIGS[0], folder / f'{processes}_{rank}', launcher='pytorch', model_wrapper_cfg=dict(device_ids=None))
    cfg.train_dataloader.batch_size = 16 // processes
    runner = Runner.from_cfg(cfg)
    runner.train()
    scores = {
        name: float(scalar.current()) for name, scalar in runner.message_hub.log_scalars.items() if 'best_top1' in name
    }
    torch.save(dict(state=runner.model.module.state_dict(), **scores), folder / f'{processes}_{rank}.pth')


def test_two_processes_train_what_one_trains_with_the_joint_batch(tmp_path):
    run_in_processes(_train_and_save, tmp_path, 2)
    run_in_processes(_train_and_save, tmp_path, 1, processes=1)
    first, second, alone = (torch.load(tmp_path / f'{name}.pth', weights_only=True) for name in ('2_0', '2_1', '1_0'))
    for key, value in first['state'].items():
        assert torch.equal(value, second['state'][key]), key
        torch.testing.assert_close(value, alone['state'][key], rtol=1e-4, atol=1e-6)
    assert first['val/linear/best_top1'] == second['val/linear/best_top1'] == alone['val/linear/best_top1'] > 0
