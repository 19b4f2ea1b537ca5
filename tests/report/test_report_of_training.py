"""What the page tells of real trainings: one that ends, and one that a signal stops."""

import os
import signal
import time

import pytest
from mmengine.hooks import Hook
from small_training import small_config

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.commands.runner import Runner as TrainingRunner
from dino_plugin.engine.training.hooks.stop import TrainingStopped
from dino_plugin.report.content import content
from dino_plugin.report.folders import find_runs
from dino_plugin.report.page import Embedded
from dino_plugin.report.runs import Run


class SignalHook(Hook):
    """Sends this process a signal in iteration 5."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def trained(work_dir, *hooks, **changes) -> Run:
    """The run of a small training, read an hour later."""
    config = small_config(work_dir, log_level='INFO', experiment_name=f'page_{work_dir.name}', **changes)
    config.default_hooks.checkpoint.type = 'dino_plugin.CheckpointHook'
    config.custom_hooks += [dict(type='dino_plugin.ThroughputHook'), dict(type='dino_plugin.PicturesHook', interval=1)]
    runner = TrainingRunner.from_cfg(config)
    for hook in hooks:
        runner.register_hook(hook)
    try:
        runner.train()
    except TrainingStopped:
        assert hooks
    (found,) = find_runs([work_dir]).values()
    run = Run('run', found)
    run.update(now=time.time() + 3600)
    return run


@pytest.fixture(scope='module')
def ended(tmp_path_factory) -> Run:
    return trained(tmp_path_factory.mktemp('ended'))


def test_a_training_that_ends_is_told_with_its_length_images_and_checkpoint(ended):
    shown = content([ended], Embedded())
    (run,) = shown['runs']
    assert run['sentence'] == 'Ended: epoch 2 of 2, 12 iterations.'
    assert run['facts']['images'].startswith('100 in batches of 16')
    assert run['facts']['losses'] == 'dino (DINOLoss)'
    assert run['facts']['checkpoint'] == 'iter_12.pth'
    assert 'PyTorch' in run['environment']
    assert "type='dino_plugin.DINOLoss'" in run['config']
    assert run['notes'] == []


def test_all_scalars_and_pictures_of_a_training_are_shown(ended):
    shown = content([ended], Embedded())
    names = {panel['name'] for panel in shown['panels']}
    assert names >= {'loss', 'loss_dino', 'lr', 'target_information', 'target_entropy', 'center_norm', 'feature_std',
                     'effective_rank', 'grad_norm', 'images_per_second'}  # fmt: skip
    assert not any(panel['section'] == 'Other numbers' for panel in shown['panels']), 'all have a sentence'
    pictures = {one['name']: [frame['step'] for frame in one['parts'][0]['frames']] for one in shown['pictures']}
    assert pictures['pictures_pca'] == pictures['pictures_attention'] == [0, 6, 12]
    assert 'pictures_views' in pictures
    assert all(one['about'] for one in shown['pictures'])


def test_a_training_that_a_signal_stops_is_told_so(tmp_path):
    run = trained(tmp_path, SignalHook())
    assert run.state == 'stopped'
    assert run.sentence.startswith('Stopped by a signal: ')
    assert run.checkpoint == 'stopped_iter_5.pth'
