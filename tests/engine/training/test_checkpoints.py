"""Checkpoints: a kill at any moment of a save leaves a whole one, from which training equals an unbroken one."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import CheckpointHook as MmengineCheckpointHook
from mmengine.hooks import Hook
from mmengine.runner import Runner as MmengineRunner
from small_training import small_config
from test_training import equal, everything

from dino_plugin.commands.runner import Runner
from dino_plugin.engine.training import whole_files
from dino_plugin.engine.training.hooks.checkpoint import CheckpointHook
from dino_plugin.engine.training.hooks.periodic_evaluation import PeriodicHook
from dino_plugin.engine.training.whole_files import write_whole
from dino_plugin.weights.safe_loading import load_checkpoint

NUMBER = iter(range(10**6))


def config(work_dir, **changes):
    """Six iterations of 4 images, a checkpoint every second one, of which one is kept."""
    small = dict(
        train_dataloader__batch_size=4,
        train_dataloader__dataset__dataset__indices=24,
        train_cfg__max_epochs=1,
        default_hooks__checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1),
    )
    return small_config(work_dir, **(small | changes))


def train(made, runner_class=Runner):
    made.experiment_name = f'checkpoints_{next(NUMBER)}'  # mmengine keeps runners by name
    runner = runner_class.from_cfg(made)
    runner.train()
    return runner


@pytest.fixture
def moments(monkeypatch, tmp_path):
    """Copies of a folder as a kill would leave it, before and after each thing that a save does to the disk."""
    copies: list[Path] = []

    def watch(folder):
        def with_copies(name):
            original = getattr(os, name)

            def wrapped(*arguments, **options):
                result = None
                for do in (None, original, None):
                    if do is not None:
                        result = do(*arguments, **options)
                    else:
                        copies.append(tmp_path / 'moments' / f'{len(copies)}_{name}')
                        shutil.copytree(folder, copies[-1])
                return result

            return wrapped

        folder.mkdir()
        for name in ('fsync', 'replace', 'remove'):
            monkeypatch.setattr(os, name, with_copies(name))
        return copies

    return watch


def states(copies):
    """The copies that differ in files or sizes."""
    found = {}
    for copy in copies:
        key = tuple(sorted((path.name, path.stat().st_size) for path in copy.glob('*') if path.is_file()))
        found.setdefault(key, copy)
    return list(found.values())


@pytest.mark.parametrize('runner_class', [Runner, MmengineRunner])
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint_that_training_goes_on_from(
    tmp_path, moments, runner_class
):
    """With max_keep_ckpts=1, by the hook that our configs name, in mmengine's runner, too."""
    hook = dict(
        default_hooks__checkpoint__type='CheckpointHook' if runner_class is Runner else 'dino_plugin.CheckpointHook'
    )
    copies = moments(tmp_path / 'whole')
    unbroken = train(config(tmp_path / 'whole', **hook), runner_class)
    after_the_first = [copy for copy in copies if list(copy.glob('iter_*.pth'))]
    assert len(after_the_first) > 20
    seen = set()
    for copy in states(after_the_first):
        files = list(copy.glob('iter_*.pth'))
        assert 1 <= len(files) <= 2
        for file in files:
            assert load_checkpoint(file)['meta']['iter'] == int(file.stem.removeprefix('iter_'))
        resumed = train(config(copy, resume=True, **hook))
        assert equal(everything(resumed), everything(unbroken))
        assert [path.name for path in copy.glob('*.pth')] == ['iter_6.pth'], 'what a killed run left is deleted'
        seen.add(tuple(sorted(file.name for file in files)))
    assert {('iter_2.pth',), ('iter_2.pth', 'iter_4.pth'), ('iter_4.pth', 'iter_6.pth')} <= seen


def test_the_pointer_never_names_a_file_that_is_not_there(tmp_path, moments):
    copies = moments(tmp_path / 'whole')
    train(config(tmp_path / 'whole'))
    pointers = [copy / 'last_checkpoint' for copy in copies if (copy / 'last_checkpoint').exists()]
    assert len(pointers) > 20
    for pointer in pointers:
        assert (pointer.parent / Path(pointer.read_text()).name).is_file()


@pytest.mark.parametrize('metrics', [['accuracy'], ['accuracy', 'iou']])
def test_the_best_file_is_written_before_the_previous_best_one_is_deleted(tmp_path, moments, metrics):
    work_dir = tmp_path / 'whole'
    copies = moments(work_dir)
    runner = Runner.from_cfg(
        config(
            work_dir,
            experiment_name=f'best_{len(metrics)}',
            default_hooks__checkpoint__save_best=metrics,
            default_hooks__checkpoint__rule='greater',
        )
    )

    def evaluate(self, runner, batch_idx, data_batch=None, outputs=None):
        after_train_iter(self, runner, batch_idx, data_batch, outputs)
        if runner.iter in (1, 3, 4):
            self.after_val_epoch(runner, {name: float(runner.iter) for name in metrics})

    after_train_iter = CheckpointHook.after_train_iter
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointHook, 'after_train_iter', evaluate)
        runner.train()
    for name in metrics:
        best = [sorted(path.name for path in copy.glob(f'best_{name}*.pth')) for copy in copies]
        first = next(index for index, files in enumerate(best) if files)
        assert all(1 <= len(files) <= 2 for files in best[first:])
        assert [path.name for path in work_dir.glob(f'best_{name}*.pth')] == [f'best_{name}_iter_4.pth']
        assert load_checkpoint(work_dir / f'best_{name}_iter_4.pth')['meta']['iter'] == 4


def test_a_copied_folder_leaves_the_best_file_of_the_old_one_alone(tmp_path):
    old, new = tmp_path / 'old', tmp_path / 'new'
    save_best = dict(default_hooks__checkpoint__save_best='accuracy', default_hooks__checkpoint__rule='greater')

    def score(value):
        def after_val(self, runner, batch_idx, data_batch=None, outputs=None):
            after_train_iter(self, runner, batch_idx, data_batch, outputs)
            if runner.iter == value:
                self.after_val_epoch(runner, dict(accuracy=float(value)))

        return after_val

    after_train_iter = CheckpointHook.after_train_iter
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointHook, 'after_train_iter', score(3))
        train(config(old, **save_best))
        shutil.copytree(old, new)
        for path in new.glob('iter_6.pth'):
            path.rename(new / 'iter_4.pth')
        patch.setattr(CheckpointHook, 'after_train_iter', score(7))
        train(config(new, resume=True, train_cfg__max_epochs=2, **save_best))
    assert [path.name for path in old.glob('best*')] == ['best_accuracy_iter_3.pth']
    assert [path.name for path in new.glob('best*')] == ['best_accuracy_iter_7.pth']


def test_mmengines_own_hook_of_any_config_becomes_ours_and_others_stay(tmp_path):
    class Own(MmengineCheckpointHook):
        pass

    for number, (given, expected) in enumerate(
        {'CheckpointHook': CheckpointHook, MmengineCheckpointHook: CheckpointHook, Own: Own}.items()
    ):
        made = config(tmp_path, experiment_name=f'own_{number}', default_hooks__checkpoint=dict(type=given, interval=3))
        hooks = [hook for hook in Runner.from_cfg(made).hooks if isinstance(hook, MmengineCheckpointHook)]
        assert [type(hook) for hook in hooks] == [expected]
        assert hooks[0].interval == 3


def test_a_full_disk_stops_with_the_old_file_whole_and_nothing_half_written(tmp_path, monkeypatch):
    write_whole(tmp_path / 'file', b'old')

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(whole_files.os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_whole(tmp_path / 'file', b'new content')
    assert [path.name for path in tmp_path.iterdir()] == ['file']
    assert (tmp_path / 'file').read_bytes() == b'old'


def test_checkpoints_in_another_folder_are_whole_as_well_and_found_again(tmp_path, moments):
    out = dict(default_hooks__checkpoint__out_dir=str(tmp_path / 'out'))
    (tmp_path / 'out').mkdir()
    train(config(tmp_path / 'run', **out))
    assert [path.name for path in (tmp_path / 'out' / 'run').iterdir()] == ['iter_6.pth']
    (tmp_path / 'run' / 'last_checkpoint').unlink()
    resumed = train(config(tmp_path / 'run', resume=True, train_cfg__max_epochs=2, **out))
    assert resumed.iter == 12
    assert resumed.message_hub.get_info('last_ckpt') == str(tmp_path / 'out' / 'run' / 'iter_12.pth')
    assert [path.name for path in (tmp_path / 'out' / 'run').iterdir()] == ['iter_12.pth']


def test_a_folder_in_the_place_of_the_pointer_is_moved_and_not_deleted(tmp_path):
    (tmp_path / 'last_checkpoint').mkdir()
    (tmp_path / 'last_checkpoint' / 'notes.txt').touch()
    train(config(tmp_path))
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_6.pth')
    assert (tmp_path / 'last_checkpoint.folder' / 'notes.txt').exists()


THREE_BATCHES_A_STEP = dict(
    train_dataloader__dataset__dataset__indices=28, train_cfg__max_epochs=2, optim_wrapper__accumulative_counts=3
)
ACCUMULATING = [
    dict(type='CheckpointHook', by_epoch=False, interval=5),  # inside a step: at 5; 6 and 12 are between steps
    dict(type='CheckpointHook', by_epoch=True, interval=1),  # an epoch of 7 ends inside a step
]


@pytest.mark.parametrize(
    ('hook', 'name', 'done'), [(ACCUMULATING[0], 'iter_6.pth', 6), (ACCUMULATING[1], 'epoch_1.pth', 9)]
)
def test_with_accumulated_gradients_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path, hook, name, done):
    """Gradients of a part of a step are not saved, so checkpoints wait for its end."""
    changes = dict(THREE_BATCHES_A_STEP, default_hooks__checkpoint=hook)
    unbroken = train(config(tmp_path / 'unbroken', **changes))
    saved = tmp_path / 'unbroken' / name
    assert load_checkpoint(saved)['meta']['iter'] == done
    resumed = train(config(tmp_path / 'resumed', resume=True, load_from=str(saved), **changes))
    assert resumed.iter == unbroken.iter == 14
    assert equal(everything(resumed), everything(unbroken))


@pytest.mark.parametrize(
    ('hook', 'stop', 'name'), [(ACCUMULATING[0], 5, 'iter_5.pth'), (ACCUMULATING[1], 7, 'epoch_1.pth')]
)
def test_a_training_that_ends_early_within_an_accumulated_step_saves_its_end_and_can_go_on(tmp_path, hook, stop, name):
    changes = dict(THREE_BATCHES_A_STEP, default_hooks__checkpoint=hook)

    class Stop(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = runner.iter + 1 == stop

    made = config(tmp_path, **changes)
    made.custom_hooks.append(dict(type=Stop))
    ended = train(made)
    assert ended.iter == stop
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / name)
    saved = load_checkpoint(tmp_path / name)
    assert saved['meta']['iter'] == stop
    assert all(torch.equal(value, saved['state_dict'][key]) for key, value in ended.model.state_dict().items())
    assert train(config(tmp_path, resume=True, **changes)).iter == 14


class Evaluation(PeriodicHook):
    """Notes when it looks; an error at one of them, as that of a full memory."""

    def __init__(self, fails_at=None, by_epoch=True):
        super().__init__(1 if by_epoch else 6, by_epoch, 'teacher', before_training=True)
        self.fails_at, self.looks = fails_at, []

    def prepare(self, runner):
        pass

    def look(self, runner, backbone, step):
        self.looks.append(step)
        if step == self.fails_at:
            raise RuntimeError('CUDA out of memory')


@pytest.mark.parametrize('by_epoch', [True, False])
def test_an_error_in_an_evaluation_loses_no_training(tmp_path, by_epoch):
    saves = dict(type='CheckpointHook', by_epoch=by_epoch, interval=1 if by_epoch else 6)
    changes = dict(train_cfg__max_epochs=2, default_hooks__checkpoint=saves)
    unbroken = train(config(tmp_path / 'unbroken', **changes))
    failing = config(tmp_path / 'failing', **changes)
    failing.custom_hooks.append(dict(type=Evaluation, fails_at=6, by_epoch=by_epoch))
    with pytest.raises(RuntimeError, match='CUDA out of memory'):
        train(failing)
    saved = tmp_path / 'failing' / 'stopped_iter_6.pth'
    assert (tmp_path / 'failing' / 'last_checkpoint').read_text() == str(saved)
    going_on = config(tmp_path / 'failing', resume=True, **changes)
    going_on.custom_hooks.append(dict(type=Evaluation, by_epoch=by_epoch))
    resumed = train(going_on)
    assert next(hook for hook in resumed.hooks if isinstance(hook, Evaluation)).looks == [12]
    assert equal(everything(resumed), everything(unbroken))
    assert not saved.exists()  # the next checkpoint took its place


def test_an_error_before_training_or_while_saving_stays_the_first_error(tmp_path, monkeypatch):
    made = config(tmp_path)
    made.custom_hooks.append(dict(type=Evaluation, fails_at=0))
    with pytest.raises(RuntimeError, match='CUDA out of memory'):
        train(made)
    assert not [*tmp_path.glob('*.pth')]
    monkeypatch.setattr(CheckpointHook, 'save_now', lambda *arguments: 1 / 0)
    made.custom_hooks[-1]['fails_at'] = 6
    with pytest.raises(RuntimeError, match='CUDA out of memory'):
        train(made)
