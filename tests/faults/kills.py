"""Kills inside a save and at any step, broken pointers and files, signals, a full disk, another batch on the way back.

Every training here is real and takes a second; what it ends with is compared bit for bit with a run that nothing
disturbed: weights of student and teacher, buffers, the optimiser's state.
"""

import builtins
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from small_training import small_config

from dino_plugin.commands.runner import Runner
from dino_plugin.engine.training import whole_files
from dino_plugin.engine.training.hooks.stop import TrainingStopped
from dino_plugin.weights.safe_loading import load_checkpoint

ITERATIONS = 12
SAVED = 'iter_12.pth'
_numbers = iter(range(10**6))
_unbroken: dict[str, dict] = {}


def runner_of(work_dir: Path, **changes) -> Runner:
    """Two epochs of six iterations of 4 images, a checkpoint every fourth iteration, of which one is kept."""
    config = small_config(work_dir, train_dataloader__batch_size=4, train_dataloader__dataset__dataset__indices=24)
    config.default_hooks.checkpoint.update(max_keep_ckpts=1)
    config.merge_from_dict({path.replace('__', '.'): value for path, value in changes.items()})
    config.log_level = 'ERROR'
    config.experiment_name = f'kills_{os.getpid()}_{next(_numbers)}'  # mmengine keeps runners by name
    return Runner.from_cfg(config)


def resume(work_dir: Path, **changes) -> None:
    """Go on, and see that the end is the one that nothing disturbed."""
    key = repr(sorted(changes.items()))
    if key not in _unbroken:
        whole = work_dir.with_name('unbroken')
        runner_of(whole, **changes).train()
        _unbroken[key] = load_checkpoint(whole / SAVED)
    runner_of(work_dir, resume=True, **changes).train()
    ends = load_checkpoint(work_dir / SAVED)
    for part in ('state_dict', 'optimizer'):
        assert_equal(ends[part], _unbroken[key][part], part)
    left = sorted(path.name for path in work_dir.glob('*.pth*'))
    assert left == [SAVED], f'{left} are left'


def assert_equal(first: Any, second: Any, name: str) -> None:
    """Bit for bit, in any nesting."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), name
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key in first:
            assert_equal(first[key], second[key], f'{name}.{key}')
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), name
        for index, pair in enumerate(zip(first, second)):
            assert_equal(*pair, f'{name}.{index}')
    else:
        assert first == second, name


def in_a_process(function: Callable[[], None]) -> int:
    """Its exit status; a signal that killed it is negative."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            function()
            status = 0
        except SystemExit as stop:
            status = stop.code
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class At(Hook):
    """Does something before an iteration."""

    def __init__(self, iteration: int, action: Callable[[], None]) -> None:
        self.iteration, self.action = iteration, action

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            self.action()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(work_dir: Path, *hooks: Hook, **changes) -> None:
    runner = runner_of(work_dir, **changes)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()


# --- kills ------------------------------------------------------------------------------------------------------------


def killed_in_a_save(folder: Path, operation: str, count: int, after: bool) -> str:
    """At the ``count``-th call of an operation in the save after eight iterations."""
    work_dir = folder / 'run'

    def training() -> None:
        train(work_dir, At(7, lambda: die_in(operation, count, after)))

    assert in_a_process(training) == -signal.SIGKILL
    resume(work_dir)
    return 'survived'


def die_in(operation: str, count: int, after: bool) -> None:
    """From now on the process dies in this call of an operation."""
    left = [count]
    if operation == 'write':
        whole_files.open = partial(_HalfWritten, left)
        return
    original = getattr(os, operation)

    def deadly(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and not after:
            die()
        result = original(*arguments, **options)
        if left[0] == 0:
            die()
        return result

    setattr(os, operation, deadly)


class _HalfWritten:
    """A file that half of the content reaches, and then the process dies."""

    def __init__(self, left: list[int], *arguments: Any) -> None:
        left[0] -= 1
        self.deadly, self.file = left[0] == 0, builtins.open(*arguments)  # noqa: SIM115 - closed in __exit__

    def __enter__(self) -> '_HalfWritten':
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2] if self.deadly else content)
        if self.deadly:
            self.file.flush()
            die()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def killed_at_a_step(folder: Path, iteration: int, **changes) -> str:
    """Before an iteration; with no checkpoint yet it starts again."""
    work_dir = folder / 'run'
    assert in_a_process(lambda: train(work_dir, At(iteration, die), **changes)) == -signal.SIGKILL
    resume(work_dir, **changes)
    return 'survived'


def killed_many_times(folder: Path, seed: int) -> str:
    """At random steps, one life after the other, until it comes to its end."""
    random_step, work_dir, lives = random.Random(seed), folder / 'run', 0
    while not (work_dir / SAVED).exists():
        step = random_step.randrange(ITERATIONS)
        in_a_process(lambda step=step: train(work_dir, At(step, die), resume=True))
        lives += 1
        assert lives < 30
    resume(work_dir)
    return 'survived'


def told_to_stop(folder: Path, number: int, iteration: int, **changes) -> str:
    """By a signal: status 75, a checkpoint of that step, and the file of the stop goes when it is no longer needed."""
    work_dir = folder / 'run'
    action = partial(lambda: os.kill(os.getpid(), number))
    assert in_a_process(lambda: train(work_dir, At(iteration, action), **changes)) == 75
    saved = [int(path.stem.rpartition('_')[2]) for path in work_dir.glob('*iter_*.pth')]  # a regular one may be left
    assert max(saved) > iteration
    resume(work_dir, **changes)
    return 'survived'


# --- what became of the files -----------------------------------------------------------------------------------------


def stopped(folder: Path) -> Path:
    """A training that was interrupted after nine iterations, with checkpoints after four and eight."""
    work_dir = folder / 'run'
    try:
        train(
            work_dir, At(9, partial(signal.raise_signal, signal.SIGTERM)), default_hooks__checkpoint__max_keep_ckpts=2
        )
    except TrainingStopped:
        next(work_dir.glob('stopped_*')).unlink()
        (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_8.pth'))
    return work_dir


def with_pointer(folder: Path, change: Callable[[Path], Any]) -> str:
    work_dir = stopped(folder)
    change(work_dir / 'last_checkpoint')
    resume(work_dir)
    return 'survived'


def with_damaged_files(folder: Path, damage: Callable[[Path], Any], *names: str) -> str:
    work_dir = stopped(folder)
    for name in names:
        damage(work_dir / name)
    try:
        resume(work_dir)
    except ValueError as error:
        assert len(names) == 2 and 'no whole checkpoint' in str(error) and '--resume PATH' in str(error), error
        return 'refused'
    return 'survived'


def copied(folder: Path) -> str:
    """A copy goes on from its own files and leaves the first folder as it is."""
    work_dir = stopped(folder)
    shutil.copytree(work_dir, folder / 'copy')
    for path in work_dir.glob('*.pth'):
        path.write_bytes(b'not to be read')
    resume(folder / 'copy')
    assert all(path.read_bytes() == b'not to be read' for path in work_dir.glob('*.pth'))
    return 'survived'


def on_a_full_disk(folder: Path) -> str:
    """The save after eight iterations fails; the one before is whole."""
    work_dir = folder / 'run'

    def training() -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, 'No space left on device')

        train(work_dir, At(7, lambda: setattr(os, 'fsync', full)))

    assert in_a_process(training) == 1
    assert sorted(path.name for path in work_dir.glob('*.pth*')) == ['iter_4.pth']
    resume(work_dir)
    return 'survived'


def with_other_epochs(folder: Path, **changes) -> str:
    work_dir = stopped(folder)
    try:
        runner_of(work_dir, resume=True, **changes).train()
    except ValueError as error:
        assert 'same product of batch_size and processes, 4' in str(error), error
        return 'refused'
    raise AssertionError('images come twice in an epoch, or never')


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


POINTERS = {
    'empty': lambda path: path.write_text(''),
    'zeros': lambda path: path.write_bytes(bytes(50)),
    'garbage': lambda path: path.write_bytes(bytes(range(256))),
    'a folder': _folder_in_its_place,
    'missing': lambda path: path.unlink(),
    'of a file that is gone': lambda path: path.write_text(str(path.with_name('iter_100.pth'))),
    'of another folder': lambda path: path.write_text('/elsewhere/iter_8.pth'),
    'an address': lambda path: path.write_text('http://127.0.0.1:9/iter_8.pth'),
}
DAMAGES = {'truncated': _truncate, 'empty': lambda path: path.write_bytes(b''), 'with one wrong byte': _flip}
# In the order of a save: the file, its folder, the pointer, its folder, the file before.
MOMENTS = [('write', 1), ('fsync', 1), ('replace', 1), ('fsync', 2), ('write', 2), ('fsync', 3), ('replace', 2),
           ('fsync', 4), ('remove', 1)]  # fmt: skip


def _named() -> Iterator[tuple[str, Callable[[Path], str]]]:
    for operation, count in MOMENTS:
        for after in (False, True) if operation != 'write' else (False,):
            when = 'half way through' if operation == 'write' else ('after' if after else 'before')
            yield (
                f'killed {when} {operation} {count} of a save',
                partial(killed_in_a_save, operation=operation, count=count, after=after),
            )
    for iteration in (1, 4, 6, 11):
        yield f'killed at step {iteration}', partial(killed_at_a_step, iteration=iteration)
    accumulating = dict(optim_wrapper__accumulative_counts=3)
    for iteration in (5, 10):
        yield (
            f'killed at step {iteration} of accumulated steps',
            partial(killed_at_a_step, iteration=iteration, **accumulating),
        )
    for seed in range(2):
        yield f'killed at random steps again and again, seed {seed}', partial(killed_many_times, seed=seed)
    for number, iteration in ((signal.SIGTERM, 0), (signal.SIGUSR1, 5), (signal.SIGINT, 8)):
        yield f'{number.name} at step {iteration}', partial(told_to_stop, number=number, iteration=iteration)
    yield (
        'SIGTERM inside an accumulated step',
        partial(told_to_stop, number=signal.SIGTERM, iteration=6, **accumulating),
    )
    for name, change in POINTERS.items():
        yield f'last_checkpoint is {name}', partial(with_pointer, change=change)
    for name, damage in DAMAGES.items():
        yield f'newest file {name}', lambda folder, damage=damage: with_damaged_files(folder, damage, 'iter_8.pth')
    yield 'every file truncated', lambda folder: with_damaged_files(folder, _truncate, 'iter_4.pth', 'iter_8.pth')
    yield 'a copied folder', copied
    yield 'a full disk', on_a_full_disk
    yield 'another batch size', partial(with_other_epochs, train_dataloader__batch_size=8)
    yield 'other images within an epoch', partial(with_other_epochs, train_dataloader__dataset__dataset__indices=26)


def cases() -> dict[str, Callable[[Path], str]]:
    """Each fault by name."""
    torch.set_num_threads(1)
    return dict(_named())
