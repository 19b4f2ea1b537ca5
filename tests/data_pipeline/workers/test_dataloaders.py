"""num_workers=0 is all that it takes to load in the main process, whatever else a config says of workers."""

from types import SimpleNamespace

import pytest
import torch
from bundled import CIFAR
from mmengine.runner import Runner
from small_training import build_runner, small_config
from torch.utils.data import DataLoader

from dino_plugin.data.workers.dataloaders import without_unused_options
from dino_plugin.data.workers.shared_memory import PipeFallbackCollate
from dino_plugin.engine.evaluating.bank_loop import BankTestLoop
from dino_plugin.engine.evaluating.clip_loop import ClipTestLoop
from dino_plugin.engine.training.hooks.knn import KNNHook

FOR_WORKERS = dict(persistent_workers=True, prefetch_factor=4, timeout=60)


def loader(num_workers):
    pipeline = [dict(type='dino_plugin.LoadImage'), dict(type='dino_plugin.PackImage')]
    return dict(
        batch_size=4,
        num_workers=num_workers,
        sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
        collate_fn=dict(type='dino_plugin.image_collate'),
        dataset=dict(type='dino_plugin.ImageDataset', data_root=str(CIFAR), with_labels=True, pipeline=pipeline),
        **FOR_WORKERS,
    )


def loaders_of(kind, config):
    """As loops and hook build them."""
    runner = SimpleNamespace(build_dataloader=Runner.build_dataloader, seed=0, iter=1, work_dir='')
    runner._randomness_cfg, runner.visualizer = {}, SimpleNamespace()
    evaluator = SimpleNamespace(metrics=[], dataset_meta=None)
    if kind == 'bank':
        loop = BankTestLoop(runner, config, evaluator, bank_dataloader=config)
        return [loop.dataloader, loop.bank_dataloader]
    if kind == 'clips':
        return [ClipTestLoop(runner, config, evaluator).dataloader]
    hook = KNNHook(config, config)
    hook.before_train(runner)
    return [hook.bank, hook.queries]


@pytest.mark.parametrize('kind', ['bank', 'clips', 'knn'])
def test_evaluators_load_without_workers_and_use_pipes_if_memory_is_short_with_them(kind):
    for built in loaders_of(kind, loader(0)):
        assert (built.num_workers, built.persistent_workers, built.timeout) == (0, False, 0)
        assert len(next(iter(built))) == 3
    for built in loaders_of(kind, loader(2)):
        assert (built.num_workers, built.persistent_workers, built.prefetch_factor, built.timeout) == (2, True, 4, 60)
        assert isinstance(built.collate_fn, PipeFallbackCollate) == (kind != 'clips')  # those are lists of file names


def test_a_training_does_without_workers_if_it_is_warned_so(tmp_path):
    changes = {f'train_dataloader__{name}': value for name, value in FOR_WORKERS.items()}
    config = small_config(tmp_path, train_cfg__max_epochs=1, **changes)
    assert config.train_dataloader.num_workers == 0
    runner = build_runner(config)
    runner.train()
    assert runner.iter == 6


def test_a_config_is_not_changed_in_place_and_a_loader_stays():
    config = loader(0)
    assert without_unused_options(config) == {name: value for name, value in config.items() if name not in FOR_WORKERS}
    assert set(FOR_WORKERS) <= set(config)
    built = DataLoader([1, 2])
    assert without_unused_options(built) is built


@pytest.mark.parametrize('available', [True, False])
def test_memory_is_pinned_for_a_gpu_alone(available, monkeypatch):
    monkeypatch.setattr(torch.accelerator, 'is_available', lambda: available)
    assert ('pin_memory' in without_unused_options(dict(num_workers=2, pin_memory=True))) == available
