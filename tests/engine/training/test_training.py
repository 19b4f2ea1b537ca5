"""One process: the teacher, resuming, skipped steps, wrong wiring.

mmpretrain's own DINO project cannot train, for reasons that each have a test against them: a teacher that never moves,
starts as another network, or follows with the momentum reversed
(`test_the_teacher_starts_equal_moves_by_the_schedule_and_follows_the_step_that_was_just_made`,
`test_init_weights_leaves_student_and_teacher_as_they_were_built`); teacher parameters with gradients after weight norm,
which stop a distributed run (`test_distributed.py`, `core/test_distillation.py`); one process that fails (all tests
here); one blur strength for the whole run, blur on every view, resizing without antialiasing
(`data_pipeline/test_photometric.py`, `test_multi_crop.py`); a teacher temperature that exists only if a hook is added
(`core/test_losses.py`); a head without its initialisation and options (`core/test_heads.py`); optimiser settings of
another method (`test_configs.py`); a package that cannot be installed (`test_packaging.py`).
"""

import copy
import math
import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from small_training import build_runner, hook, small_config

from dino_plugin.core import statistics
from dino_plugin.core.schedules import Cosine
from dino_plugin.weights.safe_loading import load_checkpoint


class Recorder(Hook):
    """Copies of student, teacher and losses around each iteration; can interrupt the run."""

    priority = 'VERY_LOW'

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.students, self.teachers, self.losses, self.views = [], [], [], []

    def before_train(self, runner):
        self._copy(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._copy(runner)
        self.losses.append({name: value.item() for name, value in outputs.items()})
        self.views.append(data_batch.global_views.clone())
        if runner.iter + 1 == self.stop_at:
            raise KeyboardInterrupt

    def _copy(self, runner):
        distillation = runner.model.distillation
        self.students.append({n: p.detach().clone() for n, p in distillation.student.named_parameters()})
        self.teachers.append({n: p.detach().clone() for n, p in distillation.teacher.named_parameters()})


def train(config, stop_at=None):
    runner, recorder = build_runner(config), Recorder(stop_at)
    runner.register_hook(recorder)
    if stop_at is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    iterator = runner.train_dataloader._iterator  # of persistent workers
    if iterator is not None:  # where the garbage collector finds it, PyTorch waits five seconds for each worker
        iterator._shutdown_workers()
    return runner, recorder


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_teacher_starts_equal_moves_by_the_schedule_and_follows_the_step_that_was_just_made(tmp_path):
    """mmpretrain's project: a random teacher that never moves, or moves with the momentum the wrong way round."""
    runner, recorder = train(small_config(tmp_path))
    assert runner.iter == runner.max_iters == 12
    assert equal(recorder.students[0], recorder.teachers[0])
    for i in range(12):
        momentum = Cosine(0.9, 1.0)(i / 12)
        assert not equal(recorder.students[i], recorder.students[i + 1])
        for name, after in recorder.teachers[i + 1].items():
            before, student = recorder.teachers[i][name], recorder.students[i + 1][name]
            torch.testing.assert_close(after, momentum * before + (1 - momentum) * student, rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad or p.grad is not None for p in runner.model.distillation.teacher.parameters())


def test_init_weights_leaves_student_and_teacher_as_they_were_built(tmp_path):
    runner = build_runner(small_config(tmp_path))
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.model.init_weights()
    assert equal(before, runner.model.state_dict())


def test_accumulated_batches_make_one_step_and_move_the_teacher_once(tmp_path):
    config = small_config(tmp_path, optim_wrapper__accumulative_counts=3)
    _, recorder = train(config)
    moved = [not equal(a, b) for a, b in zip(recorder.teachers, recorder.teachers[1:], strict=False)]
    stepped = [not equal(a, b) for a, b in zip(recorder.students, recorder.students[1:], strict=False)]
    assert moved == stepped == [False, False, True] * 4


class Poison(Hook):
    """Makes one loss NaN at given iterations, by its weight."""

    def __init__(self, iterations):
        self.iterations = iterations

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        weight = float('nan') if runner.iter in self.iterations else 1.0
        runner.model.distillation.losses['dino'].weight = lambda progress: weight


def test_a_step_that_is_not_finite_is_skipped_with_its_teacher_and_named_in_the_log(tmp_path):
    config = small_config(tmp_path, train_cfg__max_epochs=1)
    runner, recorder = build_runner(config), Recorder()
    messages = []
    runner.logger.warning = messages.append
    runner.register_hook(Poison({1, 2, 4}))
    runner.register_hook(recorder)
    runner.train()
    moved = [not equal(a, b) for a, b in zip(recorder.teachers, recorder.teachers[1:], strict=False)]
    assert moved == [True, False, False, True, False, True]
    assert equal(recorder.students[1], recorder.students[3])
    skipped = [message for message in messages if message.startswith('Skipped')]
    assert len(skipped) == 3
    assert 'not finite: loss_dino' in skipped[0]
    assert '(3 in all)' in skipped[-1]
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())


def test_too_many_skipped_steps_in_a_row_stop_training_with_a_cure(tmp_path):
    runner = build_runner(small_config(tmp_path))
    runner.register_hook(Poison({1, 3, 4, 5}))
    with pytest.raises(RuntimeError, match=r'3 steps in a row .*loss_dino.*iteration 5.*lower learning rate'):
        runner.train()


def everything(runner):
    state = {f'model.{name}': value for name, value in runner.model.state_dict().items()}
    optimizer = runner.optim_wrapper.optimizer.state_dict()
    for index, entry in optimizer['state'].items():
        state |= {f'optimizer.{index}.{name}': value for name, value in entry.items()}
    for index, group in enumerate(optimizer['param_groups']):
        state[f'group.{index}'] = torch.tensor([group['lr'], group['weight_decay']], dtype=torch.float64)
    return state


@pytest.mark.parametrize(('stop_at', 'workers'), [(4, 0), (8, 2)])
def test_a_run_resumed_in_the_middle_of_an_epoch_equals_an_unbroken_one_bit_for_bit(tmp_path, stop_at, workers):
    """Weights, optimiser, centre, schedules, data, random numbers; drop path is on, epochs have six iterations."""
    changes = {'train_dataloader__num_workers': workers, 'train_dataloader__persistent_workers': workers > 0}
    unbroken, whole = train(small_config(tmp_path / 'unbroken', **changes))
    train(small_config(tmp_path / 'broken', **changes), stop_at)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    resumed, rest = train(small_config(tmp_path / 'broken', **changes, resume=True))
    assert len(rest.views) == 12 - stop_at
    for ours, theirs in zip(rest.views, whole.views[stop_at:], strict=True):
        assert torch.equal(ours, theirs)
    assert rest.losses == whole.losses[stop_at:]
    assert equal(everything(resumed), everything(unbroken))


def test_a_run_without_a_seed_resumes_with_its_own(tmp_path):
    config = small_config(tmp_path, train_cfg__max_epochs=1)
    config.randomness = {'seed': None}
    _, whole = train(copy.deepcopy(config), stop_at=5)
    config.resume = True
    _, rest = train(config)
    assert torch.equal(rest.views[0], whole.views[4])


def test_the_data_order_does_not_depend_on_the_number_of_workers(tmp_path):
    _, alone = train(small_config(tmp_path / 'a', train_cfg__max_epochs=1))
    _, workers = train(small_config(tmp_path / 'b', train_cfg__max_epochs=1, train_dataloader__num_workers=2))
    assert all(torch.equal(a, b) for a, b in zip(alone.views, workers.views, strict=True))


def test_the_centre_and_the_backbones_description_are_in_the_checkpoint(tmp_path):
    runner, _ = train(small_config(tmp_path))
    checkpoint = load_checkpoint(tmp_path / 'iter_12.pth')
    center = checkpoint['state_dict']['distillation.losses.dino.target.center']
    assert torch.equal(center, runner.model.distillation.losses['dino'].target.center)
    assert center.norm() > 0
    assert checkpoint['meta']['losses'] == ['DINOLoss']
    assert checkpoint['meta']['backbone']['model_name'] == 'vit_tiny_patch16_224'
    assert checkpoint['meta']['backbone']['timm_arguments']['embed_dim'] == 32


def test_the_log_tells_images_per_second_and_the_norm_of_the_gradients(tmp_path):
    config = small_config(tmp_path, train_cfg__max_epochs=1)
    config.custom_hooks.append({'type': 'dino_plugin.ThroughputHook', 'window': 1})
    runner, _ = train(config)
    scalars = {name: runner.message_hub.get_scalar(f'train/{name}').data[0] for name in ('time', 'images_per_second')}
    assert len(scalars['time']) == 6
    np.testing.assert_allclose(scalars['images_per_second'], 16 / scalars['time'])
    assert all(norm > 0 for norm in runner.message_hub.get_scalar('train/grad_norm').data[0])


def test_without_the_teacher_hook_training_refuses_to_run(tmp_path):
    config = small_config(tmp_path)
    config.custom_hooks = [entry for entry in config.custom_hooks if not entry.type.endswith('EMATeacherHook')]
    with pytest.raises(RuntimeError, match='Nothing moves the teacher'):
        build_runner(config).train()


def test_mmengines_own_amp_wrapper_is_refused_since_it_hides_skipped_steps(tmp_path, monkeypatch):
    from mmengine.optim import AmpOptimWrapper

    runner = build_runner(small_config(tmp_path))
    runner.train_loop.run = lambda: runner.call_hook('before_train')
    monkeypatch.setattr(AmpOptimWrapper, '__init__', lambda self: None)
    runner.build_optim_wrapper = lambda cfg: AmpOptimWrapper()
    hooks = [entry for entry in runner.hooks if type(entry).__name__ == 'EMATeacherHook']
    runner.optim_wrapper = AmpOptimWrapper()
    with pytest.raises(TypeError, match="precision='fp16'"):
        hooks[0].before_train(runner)


def test_counting_skipped_steps_needs_a_wrapper_that_tells_them(tmp_path):
    config = small_config(tmp_path)
    config.optim_wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.1}}
    with pytest.raises(TypeError, match='SelfDistillationOptimWrapper'):
        build_runner(config).train()


def test_a_plain_optim_wrapper_of_mmengine_moves_the_teacher_too(tmp_path):
    config = small_config(tmp_path, train_cfg__max_epochs=1)
    config.optim_wrapper = {'type': 'OptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.1}, 'accumulative_counts': 2}
    config.custom_hooks = [hook(config, 'EMATeacherHook')]
    config.param_scheduler = []
    _, recorder = train(config)
    moved = [not equal(a, b) for a, b in zip(recorder.teachers, recorder.teachers[1:], strict=False)]
    assert moved == [False, True] * 3


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_half_precision_trains_on_cpu(tmp_path, precision):
    config = small_config(tmp_path, train_cfg__max_epochs=1, optim_wrapper__precision=precision)
    hook(config, 'SkippedStepsHook').max_in_a_row = 20  # the scaler looks for its scale first
    runner, recorder = train(config)
    assert all(math.isfinite(entry['loss']) for entry in recorder.losses)
    assert {p.dtype for p in runner.model.parameters()} == {torch.float32}


def test_the_collapse_monitor_tells_both_collapses_apart(tmp_path):
    for temperature, prototypes_alike, words in ((100.0, False, 'flat target'), (0.04, True, 'sharp target')):
        config = small_config(tmp_path / words[:4], train_cfg__max_epochs=2)
        config.model.losses.dino.teacher_temperature = temperature
        hook(config, 'CollapseMonitorHook').update(interval=2, patience=3)
        runner = build_runner(config)
        if prototypes_alike:  # the centre names one prototype, far from all others
            runner.model.distillation.losses['dino'].target.center[1:] = 50.0
            runner.model.distillation.losses['dino'].target.momentum = 0.9999
        messages = []
        runner.logger.warning = messages.append
        runner.train()
        warnings = [message for message in messages if 'every image gets the same' in message]
        assert len(warnings) == 2, messages
        assert all(words in message for message in warnings)


def test_a_healthy_run_is_not_warned_about(tmp_path):
    config = small_config(tmp_path)
    config.model.losses.dino.target = {'type': 'dino_plugin.SinkhornKnopp'}
    hook(config, 'CollapseMonitorHook').update(interval=2, patience=2)
    runner = build_runner(config)
    messages = []
    runner.logger.warning = messages.append
    runner.train()
    assert [message for message in messages if 'dino:' in message] == []


def test_each_measurement_is_of_its_own_iteration_and_of_global_views(tmp_path):
    config = small_config(tmp_path)
    hook(config, 'CollapseMonitorHook').interval = 4
    runner = build_runner(config)
    distillation = runner.model.distillation
    entropies, deviations = [], []
    distillation.losses['dino'].target.register_forward_hook(
        lambda module, inputs, output: entropies.append(statistics.entropy(output).mean().item())
    )
    distillation.teacher.backbone.register_forward_hook(
        lambda module, inputs, tokens: deviations.append(
            statistics.feature_std(tokens.class_token.flatten(0, 1)).item()
        )
    )
    runner.train()
    measured = {
        name: runner.message_hub.get_scalar(f'train/{name}').data[0] for name in ('target_entropy', 'feature_std')
    }
    assert measured['target_entropy'] == pytest.approx(entropies[3::4])
    assert measured['feature_std'] == pytest.approx(deviations[3::4])
    assert len(set(entropies[3::4])) == 3
