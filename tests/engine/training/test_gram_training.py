"""Gram anchoring in mmengine's runner: the anchor's points, a resumed run, a run that begins with other weights."""

import pytest
import torch
from mmengine.hooks import Hook
from small_training import build_runner, small_config

REFRESH = (0.3, 0.6)  # of twelve steps: those that begin at 4/12 and 8/12


def gram_config(work_dir, weight=2.0, **changes):
    config = small_config(work_dir, **changes)
    config.model.losses.gram = {'type': 'dino_plugin.GramLoss', 'weight': weight, 'refresh': REFRESH}
    next(step for step in config.train_dataloader.dataset.dataset.pipeline if 'global_size' in step).anchor_size = 64
    return config


def copy_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Recorder(Hook):
    """Losses and copies of teacher and anchor, when training begins and after each step."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.teachers, self.anchors, self.losses = [], [], []

    def before_train(self, runner):
        distillation = runner.model.distillation
        self.teachers.append(copy_of(distillation.teacher.backbone))
        self.anchors.append(copy_of(distillation.losses['gram'].anchor))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.before_train(runner)
        self.losses.append({name: value.item() for name, value in outputs.items()})


def train(config):
    runner, recorder = build_runner(config), Recorder()
    runner.register_hook(recorder)
    runner.train()
    return runner, recorder


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """Folder with a checkpoint of every step, last weights and record of a run of twelve steps."""
    folder = tmp_path_factory.mktemp('unbroken')
    runner, recorder = train(gram_config(folder, default_hooks__checkpoint__interval=1))
    return folder, copy_of(runner.model), recorder


def assert_refreshed_on_time(recorder):
    assert len(recorder.anchors) == 13
    for step, anchor in enumerate(recorder.anchors):
        copied_after = 0 if step < 5 else 5 if step < 9 else 9
        assert equal(anchor, recorder.teachers[copied_after]), step
    assert not equal(recorder.teachers[5], recorder.teachers[9])
    assert all(losses['loss_gram'] > 0 for losses in recorder.losses)


def test_the_anchor_is_the_teacher_after_the_step_that_begins_at_each_point(unbroken):
    _, weights, recorder = unbroken
    assert_refreshed_on_time(recorder)
    assert weights['distillation.losses.gram.refreshes'] == 2


def test_an_anchor_with_rotary_positions_sees_larger_views_and_is_refreshed(tmp_path):
    _, recorder = train(gram_config(tmp_path, model__backbone__model_name='vit_small_patch16_dinov3'))
    assert_refreshed_on_time(recorder)


@pytest.mark.parametrize('done', [4, 5, 6])
def test_a_run_resumed_before_at_or_after_a_point_equals_an_unbroken_one_bit_for_bit(unbroken, tmp_path, done):
    folder, weights, whole = unbroken
    config = gram_config(tmp_path, resume=True, load_from=str(folder / f'iter_{done}.pth'))
    resumed, rest = train(config)
    assert len(rest.losses) == 12 - done
    assert rest.losses == whole.losses[done:]
    assert all(equal(a, b) for a, b in zip(rest.anchors, whole.anchors[done:], strict=True))
    assert equal(copy_of(resumed.model), weights)


def test_a_second_stage_takes_its_anchor_from_the_weights_it_loads(tmp_path):
    """The first stage had no anchor: until the teacher has moved once, there is nothing to compare with."""
    build_runner(small_config(tmp_path / 'first', train_cfg__max_epochs=1)).train()
    loaded = str(tmp_path / 'first' / 'iter_6.pth')
    _, recorder = train(gram_config(tmp_path / 'second', load_from=loaded, train_cfg__max_epochs=1))
    assert [losses['loss_gram'] > 0 for losses in recorder.losses] == [False] + [True] * 5
    for step, copied_after in enumerate([1, 1, 3, 3, 5, 5], start=1):
        assert equal(recorder.anchors[step], recorder.teachers[copied_after])
