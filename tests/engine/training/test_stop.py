"""SIGTERM, SIGUSR1 and Ctrl-C: a checkpoint after the next step, a status of its own, and a resumed run is the same."""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from mmengine.hooks import CheckpointHook as MmengineCheckpointHook
from mmengine.hooks import Hook
from processes import run_in_processes
from test_checkpoints import config, train
from test_training import equal, everything

from dino_plugin.commands.runner import Runner
from dino_plugin.engine.training.hooks.stop import STOPPED, StopHook, StopSignals, TrainingStopped
from dino_plugin.registry import HOOKS
from dino_plugin.weights.safe_loading import load_checkpoint

BY_EPOCH = dict(default_hooks__checkpoint__by_epoch=True, default_hooks__checkpoint__interval=1)
SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]


class Sender(Hook):
    """Sends a signal to this process, in the middle of an iteration."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


def stopped(made, number, iteration):
    """Train until the signal stops it."""
    made.experiment_name = f'stopped_{time.monotonic_ns()}'
    runner = Runner.from_cfg(made)
    runner.register_hook(Sender(number, iteration))
    with pytest.raises(TrainingStopped) as stop:
        runner.train()
    return stop.value


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_stops_after_the_step_and_the_resumed_run_equals_an_unbroken_one(tmp_path, number, capfd):
    """In the middle of an epoch, with a hook that counts epochs."""
    changes = BY_EPOCH
    before = [signal.getsignal(each) for each in SIGNALS]
    stop = stopped(config(tmp_path / 'run', **changes), number, 4)
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert stop.code == STOPPED == 75
    path = tmp_path / 'run' / 'stopped_iter_4.pth'
    assert stop.reason == f'{number.name} stopped training after iteration 4, saved in {path}'
    assert f'{number.name}: saving after the next step' in capfd.readouterr().err
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == str(path)
    assert load_checkpoint(path)['meta']['iter'] == 4

    resumed = train(config(tmp_path / 'run', resume=True, **changes))
    unbroken = train(config(tmp_path / 'unbroken', **changes))
    assert equal(everything(resumed), everything(unbroken))
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']


@pytest.mark.parametrize(('workers', 'loop'), [(2, 'Epoch'), (0, 'Iter')])
def test_a_stop_at_the_very_end_of_a_pass_and_of_the_training_is_resumed(tmp_path, workers, loop):

    def two_passes(folder, **changes):
        made = config(tmp_path / folder, **BY_EPOCH, **changes)
        made.train_cfg = dict(type=f'dino_plugin.Resumable{loop}Loop') | (
            dict(max_epochs=2) if loop == 'Epoch' else dict(max_iters=12)
        )
        made.train_dataloader.update(num_workers=workers, persistent_workers=workers > 0)
        return made

    for iteration in (6, 12):
        stopped(two_passes('run', resume=iteration > 6), signal.SIGTERM, iteration)
    resumed = train(two_passes('run', resume=True))
    unbroken = train(two_passes('unbroken'))
    assert equal(everything(resumed), everything(unbroken))
    assert (tmp_path / 'run' / 'epoch_2.pth').is_file()


def test_a_stop_waits_for_the_end_of_an_accumulated_step(tmp_path):
    changes = dict(optim_wrapper__accumulative_counts=4, train_cfg__max_epochs=2)
    stop = stopped(config(tmp_path / 'run', **changes), signal.SIGTERM, 5)
    assert 'after iteration 8' in stop.reason
    resumed = train(config(tmp_path / 'run', resume=True, **changes))
    unbroken = train(config(tmp_path / 'unbroken', **changes))
    assert equal(everything(resumed), everything(unbroken))


def test_what_was_just_saved_is_not_saved_twice(tmp_path):
    stop = stopped(config(tmp_path), signal.SIGTERM, 4)
    assert stop.reason.endswith(f'saved in {tmp_path}/iter_4.pth')
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_4.pth']


def test_the_next_stop_and_the_next_checkpoint_delete_the_file_of_a_stop(tmp_path):
    names = []
    for resume, iteration in ((False, 1), (True, 3), (True, 5)):
        stopped(config(tmp_path, resume=resume), signal.SIGTERM, iteration)
        names.append(sorted(path.name for path in tmp_path.glob('*.pth')))
    assert names == [['stopped_iter_1.pth'], ['iter_2.pth', 'stopped_iter_3.pth'], ['iter_4.pth', 'stopped_iter_5.pth']]
    train(config(tmp_path, resume=True))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_6.pth']


def test_two_stops_before_a_checkpoint_leave_one_file(tmp_path):
    changes = dict(default_hooks__checkpoint__interval=6)
    stopped(config(tmp_path, **changes), signal.SIGTERM, 1)
    stopped(config(tmp_path, resume=True, **changes), signal.SIGTERM, 2)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['stopped_iter_2.pth']


def test_a_hook_of_the_users_own_class_does_not_keep_the_stop_from_saving(tmp_path):
    class Own(MmengineCheckpointHook):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HOOKS._module_dict, 'OwnCheckpointHook', Own)
        own = dict(type='dino_plugin.OwnCheckpointHook', by_epoch=False, interval=100)
        stop = stopped(config(tmp_path, default_hooks__checkpoint=own), signal.SIGTERM, 3)
    assert stop.reason.endswith('stopped_iter_3.pth')
    assert load_checkpoint(tmp_path / 'stopped_iter_3.pth')['meta']['iter'] == 3


def test_a_second_ctrl_c_stops_at_once_and_one_that_torchrun_repeats_does_not():
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.number == signal.SIGINT
        signals._came -= 1  # a second later
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_in_another_thread_nothing_changes():
    def run():
        with StopSignals() as signals:
            found.append((signals.number, [signal.getsignal(number) for number in SIGNALS]))

    found = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(0, [signal.getsignal(number) for number in SIGNALS])]


def test_a_worker_ends_by_its_parent_and_not_by_the_launcher_that_tells_everybody_to_stop():
    """torchrun and Slurm send SIGTERM to the processes that load images, too; the next steps need them."""
    fork = multiprocessing.get_context('fork')
    with StopSignals():
        workers = [fork.Process(target=time.sleep, args=(60,), daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
    outside = fork.Process(target=time.sleep, args=(60,), daemon=True)
    outside.start()
    for process in (*workers, outside):
        subprocess.run(['kill', '-TERM', str(process.pid)], check=True)
    outside.join(30)
    assert outside.exitcode == -signal.SIGTERM
    assert all(worker.is_alive() for worker in workers)
    for worker in workers:
        worker.terminate()
        worker.join(30)
        assert worker.exitcode == 0


class Slow(Hook):
    """Iterations as long as those of a real training: processes ask each other once a second."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.3)


def in_two(work_dir, **changes):
    made = config(work_dir, train_dataloader__batch_size=2, **changes)
    made.launcher = 'pytorch'
    made.model_wrapper_cfg = {'device_ids': None, 'broadcast_buffers': False}
    return made


def stop_two(rank, folder):
    """A signal to the second process only; then both resume and equal an unbroken run."""
    runner = Runner.from_cfg(
        in_two(
            f'{folder}/run', train_cfg__max_epochs=2, default_hooks__checkpoint__interval=100, experiment_name='stopped'
        )
    )
    runner.register_hook(Slow())
    if rank == 1:
        runner.register_hook(Sender(signal.SIGUSR1, 3))
    try:
        runner.train()
        raise AssertionError('it was not stopped')
    except TrainingStopped as stop:
        Path(folder, f'rank{rank}.json').write_text(json.dumps([stop.code, runner.iter + 1, stop.reason]))
    resumed = train(in_two(f'{folder}/run', train_cfg__max_epochs=2, resume=True))
    unbroken = train(in_two(f'{folder}/unbroken', train_cfg__max_epochs=2))
    assert equal(everything(resumed), everything(unbroken))


def test_two_processes_stop_after_the_same_step_if_one_of_them_is_told_to(tmp_path):
    run_in_processes(stop_two, str(tmp_path))
    first, second = (json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in (0, 1))
    assert first == second
    code, iterations, reason = first
    assert code == 75
    assert 3 <= iterations < 12
    path = tmp_path / f'run/stopped_iter_{iterations}.pth'
    assert reason == f'SIGUSR1 stopped training after iteration {iterations}, saved in {path}'


def test_the_processes_ask_each_other_about_once_a_second(monkeypatch):
    """Whatever an iteration takes; the answers give the same next question everywhere."""
    from types import SimpleNamespace

    from dino_plugin.engine.training.hooks import stop

    clock, asked = [0.0], []

    def slowest(own):
        asked.append(clock[0])
        return own

    monkeypatch.setattr(stop, 'num_ranks', lambda: 2)
    monkeypatch.setattr(stop, 'max_over_ranks', slowest)
    monkeypatch.setattr(stop, 'between_steps', lambda runner: True)
    monkeypatch.setattr(stop, '_device', lambda runner: 'cpu')
    monkeypatch.setattr(stop.time, 'monotonic', lambda: clock[0])
    runner = SimpleNamespace(iter=0)
    for seconds, expected in ((0.01, 10), (0.3, 20), (5.0, 100)):
        hook = StopHook(StopSignals(), seconds=1.0)
        hook.before_train(runner)
        asked.clear()
        begun = clock[0]
        while clock[0] < begun + 20 * max(1, seconds) - 1e-6:
            clock[0] += seconds
            hook.after_train_iter(runner, 0)
            runner.iter += 1
        gaps = [b - a for a, b in itertools.pairwise(asked)]
        assert max(gaps) <= max(1.0, seconds) + 1e-6
        assert len(asked) <= expected + 12
