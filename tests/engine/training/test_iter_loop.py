"""Training counted in iterations, on 25 images: six iterations of 4 a pass, or seven with the smaller last batch."""

import pytest
import torch
from mmengine.hooks import Hook
from small_training import build_runner, small_config
from test_training import equal, everything, train

from dino_plugin.core.schedules import Cosine, Warmup
from dino_plugin.engine.training.auto_scale_lr import as_linear_rule
from dino_plugin.weights.safe_loading import load_checkpoint


def epochs(work_dir, **changes):
    small = dict(train_dataloader__batch_size=4, train_dataloader__dataset__dataset__indices=25)
    return small_config(work_dir, **(small | changes))


def iterations(work_dir, max_iters, **changes):
    config = epochs(work_dir, **changes)
    config.train_cfg = dict(type='dino_plugin.ResumableIterLoop', max_iters=max_iters)
    return config


class Counter(Hook):
    """What hooks are told, and what they could conclude from it."""

    def __init__(self):
        self.epochs, self.last_epochs, self.last_iterations, self.batches, self.sizes, self.rates = (
            [],
            [],
            [],
            [],
            [],
            [],
        )

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append([group['lr'] for group in runner.optim_wrapper.optimizer.param_groups])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.batches.append((runner.epoch, batch_idx))
        self.sizes.append(data_batch.global_views.shape[1])
        if self.is_last_train_iter(runner):
            self.last_iterations.append(runner.iter)

    def after_train_epoch(self, runner):
        self.epochs.append(runner.iter)
        if self.is_last_train_epoch(runner):
            self.last_epochs.append(runner.epoch)


def count(config):
    runner, counter = build_runner(config), Counter()
    runner.register_hook(counter)
    runner.train()
    return runner, counter


@pytest.mark.parametrize(('max_iters', 'ends'), [(4, [4]), (6, [6]), (14, [6, 12, 14])])
def test_training_makes_exactly_this_many_steps_in_as_many_passes_as_it_takes(tmp_path, max_iters, ends):
    runner, counter = count(iterations(tmp_path, max_iters))
    assert runner.iter == runner.max_iters == max_iters
    assert runner.epoch == runner.max_epochs == len(ends)
    assert counter.batches == [(i // 6, i % 6) for i in range(max_iters)]
    assert counter.epochs == ends
    assert counter.last_epochs == [len(ends) - 1]
    assert counter.last_iterations == [max_iters - 1]


def test_the_smaller_last_batch_of_a_pass_counts_as_an_iteration_where_it_is_kept(tmp_path):
    runner, counter = count(iterations(tmp_path, 9, train_dataloader__drop_last=False))
    assert runner.iter == 9
    assert counter.sizes == [4] * 6 + [1] + [4] * 2


def test_the_first_pass_is_that_of_the_epoch_loop(tmp_path):
    _, by_iteration = train(iterations(tmp_path / 'a', 8))
    _, by_epoch = train(epochs(tmp_path / 'b'))
    assert len(by_iteration.views) == 8
    assert all(torch.equal(a, b) for a, b in zip(by_iteration.views, by_epoch.views[:8], strict=True))


def test_the_schedules_end_with_the_last_step(tmp_path):
    runner, counter = count(iterations(tmp_path, 8))
    schedule = Warmup(0.1, 0.2, Cosine(1, 0.01))
    assert [rates[0] for rates in counter.rates] == pytest.approx([1e-3 * schedule(i / 8) for i in range(8)])
    assert {scheduler.end for scheduler in runner.param_schedulers} == {8}
    assert runner.model.progress == 7 / 8
    assert runner.optim_wrapper.progress == 7 / 8


def test_schedules_and_checkpoints_may_count_passes(tmp_path):
    config = iterations(tmp_path, 8)
    config.param_scheduler = [dict(config.param_scheduler[0], by_epoch=True)]
    config.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=1)
    _, counter = count(config)
    schedule = Warmup(0.1, 0.2, Cosine(1, 0.01))
    assert [rates[0] for rates in counter.rates] == pytest.approx(
        [1e-3 * schedule(0)] * 6 + [1e-3 * schedule(1 / 2)] * 2
    )
    assert load_checkpoint(tmp_path / 'epoch_1.pth')['meta']['iter'] == 6
    assert load_checkpoint(tmp_path / 'epoch_2.pth')['meta']['iter'] == 8


def test_the_last_checkpoint_is_saved(tmp_path):
    config = iterations(tmp_path, 7)
    config.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=5, save_last=True)
    count(config)
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_5.pth', 'iter_7.pth']
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_7.pth')


@pytest.mark.parametrize('by_epoch', [True, False])
def test_knn_is_measured_by_pass_or_by_iteration_and_after_the_last(tmp_path, by_epoch, monkeypatch):
    from dino_plugin.engine.training.hooks.knn import KNNHook

    seen = []
    monkeypatch.setattr(KNNHook, 'before_train', lambda self, runner: None)
    monkeypatch.setattr(KNNHook, '_look', lambda self, runner, step: seen.append(step))
    config = iterations(tmp_path, 8)
    config.custom_hooks.append(
        dict(type='dino_plugin.KNNHook', bank={}, queries={}, interval=1 if by_epoch else 5, by_epoch=by_epoch)
    )
    count(config)
    assert seen == ([6, 8] if by_epoch else [5, 8])


@pytest.mark.parametrize('by_epoch', [True, False])
def test_the_log_counts_in_either_way(tmp_path, by_epoch):
    config = iterations(tmp_path, 8)
    config.log_processor = dict(type='LogProcessor', by_epoch=by_epoch, window_size=2)
    config.default_hooks.logger.interval = 2
    runner = build_runner(config)
    lines = []
    runner.logger.info = lines.append
    runner.train()
    heads = [line.split(']  ')[0] + ']' for line in lines if str(line).startswith(('Epoch(train)', 'Iter(train)'))]
    assert len(heads) == 4
    expected = ('Epoch(train)', '[2][2/6]') if by_epoch else ('Iter(train)', '[8/8]')
    assert tuple(heads[-1].split()) == expected


@pytest.mark.parametrize(('stop_at', 'workers', 'drop_last'), [(4, 0, True), (8, 1, True), (6, 0, True), (7, 0, False)])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path, stop_at, workers, drop_last):
    """In the middle of the first pass and of a later one, and at the very end of one."""
    changes = dict(
        train_dataloader__num_workers=workers,
        train_dataloader__persistent_workers=workers > 0,
        train_dataloader__drop_last=drop_last,
        default_hooks__checkpoint__interval=stop_at,
    )
    unbroken, whole = train(iterations(tmp_path / 'unbroken', 9, **changes))
    train(iterations(tmp_path / 'broken', 9, **changes), stop_at)
    torch.manual_seed(1)
    resumed, rest = train(iterations(tmp_path / 'broken', 9, **changes, resume=True))
    assert len(rest.views) == 9 - stop_at
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(rest.views, whole.views[stop_at:], strict=True))
    assert rest.losses == whole.losses[stop_at:]
    assert equal(everything(resumed), everything(unbroken))


def test_a_longer_training_goes_on_within_the_pass_that_was_cut_short(tmp_path):
    """The checkpoint after the last pass counts it as a whole one."""
    config = iterations(tmp_path, 8)
    config.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=1)
    train(config)
    _, whole = train(iterations(tmp_path / 'whole', 10))
    longer = iterations(tmp_path / 'longer', 10, resume=True, load_from=str(tmp_path / 'epoch_2.pth'))
    runner, rest = train(longer)
    assert runner.iter == 10
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(rest.views, whole.views[8:], strict=True))


def test_a_finished_run_does_nothing_when_it_is_resumed(tmp_path):
    train(iterations(tmp_path, 8))
    runner, recorder = train(iterations(tmp_path, 8, resume=True))
    assert runner.iter == 8
    assert recorder.losses == []


@pytest.mark.parametrize('max_iters', [0, -5, 2.5])
def test_a_number_of_iterations_that_makes_no_sense_is_refused(tmp_path, max_iters):
    with pytest.raises(ValueError, match=f'max_iters={max_iters} must be a whole number'):
        build_runner(iterations(tmp_path, max_iters)).train()


def test_the_number_may_be_written_with_an_exponent(tmp_path):
    runner = build_runner(iterations(tmp_path, 1e1))
    assert runner.max_iters == 10
    assert isinstance(runner.max_iters, int)


@pytest.mark.parametrize('make', [epochs, lambda work_dir, **changes: iterations(work_dir, 5, **changes)])
def test_images_that_fill_no_batch_are_refused(tmp_path, make):
    with pytest.raises(ValueError, match='25 images of a process fill no batch of 128'):
        build_runner(make(tmp_path, train_dataloader__batch_size=128)).train()


@pytest.mark.parametrize(('rule', 'factor'), [('linear', 1 / 16), ('sqrt', 1 / 4), (None, 1 / 16)])
def test_each_group_learns_at_the_rate_of_the_rule(tmp_path, rule, factor):
    make = epochs if rule == 'linear' else lambda *arguments, **changes: iterations(*arguments, 2, **changes)
    config = make(tmp_path, train_cfg__max_epochs=1, optim_wrapper__paramwise_cfg=dict(layer_decay=0.5))
    config.auto_scale_lr = dict(enable=True, base_batch_size=64, **(dict(rule=rule) if rule else {}))
    plain = build_runner(config)
    groups = plain.build_optim_wrapper(plain.optim_wrapper).optimizer.param_groups
    _, counter = count(config)
    assert len({group['lr'] for group in groups}) > 2
    assert counter.rates[0] == pytest.approx([group['lr'] * factor * 0.1 for group in groups])  # warm-up begins at 0.1


def test_the_rule_counts_the_images_of_all_processes(monkeypatch):
    monkeypatch.setattr('dino_plugin.engine.training.auto_scale_lr.get_world_size', lambda: 32)
    translated = as_linear_rule(dict(enable=True, base_batch_size=1024, rule='sqrt'), 64)
    assert 32 * 64 / translated['base_batch_size'] == pytest.approx(2**0.5)
    assert as_linear_rule(translated, 64) == translated  # mmengine's rule stays itself
    assert as_linear_rule(None, 64) is None
    off = dict(enable=False, base_batch_size=1024)
    assert as_linear_rule(dict(off, rule='sqrt'), 64) == off


def test_an_unknown_rule_is_refused_before_training(tmp_path):
    config = epochs(tmp_path)
    config.auto_scale_lr = dict(enable=False, base_batch_size=256, rule='square')
    with pytest.raises(ValueError, match="rule='square' is unknown; use 'linear' or 'sqrt'"):
        build_runner(config).train()


def test_the_command_line_keeps_the_rule(tmp_path, monkeypatch):
    import argparse

    from dino_plugin.commands import launch
    from dino_plugin.commands.command_line import add_launch_arguments, new_parser
    from dino_plugin.commands.training import apply_training_arguments

    config = tmp_path / 'config.py'
    config.write_text("auto_scale_lr = dict(enable=False, base_batch_size=1024, rule='sqrt')\n")
    monkeypatch.setenv('LOCAL_RANK', '0')  # load_config would leave it set
    parser = new_parser('')
    add_launch_arguments(parser)
    cfg = launch.load_config(parser.parse_args([str(config)]))
    arguments = argparse.Namespace(resume=None, amp=False, no_validate=False, auto_scale_lr=True)
    apply_training_arguments(cfg, arguments)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=1024, rule='sqrt')
