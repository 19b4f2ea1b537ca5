"""Checkpoints that are whole whenever the program is killed, and from which training goes on exactly."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook as MmengineCheckpointHook
from mmengine.optim import OptimWrapperDict

from dino_plugin.engine.training.latest_checkpoint import POINTER
from dino_plugin.engine.training.loops import ResumableEpochLoop
from dino_plugin.engine.training.whole_files import WHOLE_FILES, write_whole

STOPPED = 'stopped_iter_{}.pth'
_STOPPED = 'dino_plugin/stopped_checkpoints'  # of mmengine's message hub: files to delete after the next checkpoint


class CheckpointHook(MmengineCheckpointHook):
    """mmengine's hook with the same arguments; a kill at any point leaves a whole checkpoint and its name.

    The file is written under a temporary name and renamed, then ``last_checkpoint`` names it, and only then are old
    files deleted, the best one included. So for a moment there is one file more than ``max_keep_ckpts`` on the disk.
    What a killed run could not delete is deleted by the run that resumes it.

    With gradient accumulation a checkpoint waits for the next step of the optimiser, because the gradients of a part of
    a step are not saved. A checkpoint of an epoch then keeps its name and says how many iterations of the next epoch it
    has. Where training ends early, within such a step, what waits is saved as it is, without these gradients.

    Other storage than local files (``out_dir='s3://...'``) is written by its own backend.
    """

    backend_args: dict | None  # mmengine's, as the next three
    best_ckpt_path: str | None
    file_backend: Any
    keep_ckpt_ids: deque[int]
    _saved = 0  # iterations in the last checkpoint of this process
    _waiting_for: int | None = None  # the number of a checkpoint that waits for the next step

    def before_train(self, runner) -> None:
        """mmengine's, with our backend for local files; a work_dir that was moved keeps its own best files."""
        folder = self.out_dir or runner.work_dir
        plain = type(get_file_backend(folder, backend_args=self.backend_args)) is LocalBackend
        if plain and self.file_client_args is None:
            self.backend_args = dict(backend=WHOLE_FILES)
        super().before_train(runner)
        pointer = os.path.join(runner.work_dir, POINTER)
        if os.path.isdir(pointer) and is_main_process():  # no file can take its place
            runner.logger.warning(f'{pointer} is a folder; it is renamed to {pointer}.folder.')
            os.rename(pointer, f'{pointer}.folder')
        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._of_this_folder(self.best_ckpt_path)
        for metric, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[metric] = path and self._of_this_folder(path)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save if it is time, or if a checkpoint was waiting for this step."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._waiting_for is not None and between_steps(runner):
            step = self._waiting_for if self.by_epoch else runner.iter + 1
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_train(self, runner) -> None:
        """Save what still waits for a step that does not come, because a hook ended the training."""
        if self._waiting_for is not None:
            runner.logger.warning('Training ended within a step (accumulative_counts): its gradients are not saved.')
            step = self._waiting_for if self.by_epoch else runner.iter
            epoch = min(runner.epoch, runner.iter // len(runner.train_dataloader))  # the loop counts a part as a whole
            self._save_step(runner, step, dict(epoch=epoch, iter=runner.iter))
        super().after_train(runner)

    def save_now(self, runner, done: int) -> str:
        """Save in a file of its own, which the next checkpoint deletes.

        Args:
            runner: mmengine's.
            done: Iterations until now: ``runner.iter + 1`` after an iteration, ``runner.iter`` after an epoch.

        Returns:
            Its path, or that of the checkpoint which was saved after this very iteration.
        """
        if self._saved == done:
            return self.last_ckpt
        name, before = STOPPED.format(done), self._stopped(runner)
        runner.message_hub.update_info(_STOPPED, [*before, name])
        self._write(runner, name, dict(epoch=runner.epoch + (done == runner.iter), iter=done))
        _when_saved(runner, lambda: self._delete(before))
        return self.last_ckpt

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        exact_within_epochs = not self.by_epoch or isinstance(runner.train_loop, ResumableEpochLoop)
        if exact_within_epochs and not between_steps(runner):
            runner.logger.info('The checkpoint waits for the next step of the optimiser (accumulative_counts).')
            self._waiting_for = step
        else:
            self._save_step(runner, step, meta)

    def _save_step(self, runner, step: int, meta: dict) -> None:
        self._waiting_for = None
        kept = []
        if self.max_keep_ckpts > 0:
            kept = [*(number for number in self.keep_ckpt_ids if number != step), step]
            # With the outdated ones, which the resumed run deletes if this one is killed before it does.
            runner.message_hub.update_info('keep_ckpt_ids', kept)
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
        self._write(runner, self.filename_tmpl.format(step), meta)
        outdated = [self.filename_tmpl.format(number) for number in kept[: -self.max_keep_ckpts]]
        outdated += self._stopped(runner)
        _when_saved(runner, lambda: self._delete(outdated))
        runner.message_hub.update_info(_STOPPED, [])

    def _write(self, runner, name: str, meta: dict) -> None:
        """The checkpoint, then the pointer to it."""
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._saved = meta['iter']
        if is_main_process():
            pointer, path = os.path.join(runner.work_dir, POINTER), self.last_ckpt
            _when_saved(runner, lambda: write_whole(pointer, path.encode()))

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._deleting_afterwards():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _deleting_afterwards(self) -> Iterator[None]:
        """mmengine deletes the previous best file before it writes the new one."""
        backend = self.file_backend
        self.file_backend = waiting = _WaitingBackend(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        folder = str(self.out_dir).rstrip('/')  # what is elsewhere belongs to another run
        here = [path for path in waiting.deleted if path not in best and os.path.dirname(path) == folder]
        self._delete([os.path.basename(path) for path in here])

    def _delete(self, names: list[str]) -> None:
        """Delete files of this folder, or the folders that DeepSpeed writes, but not what was just written."""
        for name in names if is_main_process() else []:
            path = self.file_backend.join_path(self.out_dir, name)
            if path != self.last_ckpt:
                if self.file_backend.isfile(path):
                    self.file_backend.remove(path)
                elif self.file_backend.isdir(path):
                    self.file_backend.rmtree(path)

    def _stopped(self, runner) -> list[str]:
        return runner.message_hub.runtime_info.get(_STOPPED, [])

    def _of_this_folder(self, path: str) -> str:
        """The file of that name here, if there is one: a checkpoint in a copied folder names the old folder's."""
        here = self.file_backend.join_path(self.out_dir, os.path.basename(path))
        return here if self.file_backend.isfile(here) else path


class _WaitingBackend:
    """A backend that notes what it should delete."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.deleted: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return self.deleted.append if name in ('remove', 'rmtree') else getattr(self._backend, name)


def _when_saved(runner, action: Callable[[], None]) -> None:
    """Now, or when a runner that goes on meanwhile has written the checkpoint."""
    getattr(runner, 'when_saved', lambda act: act())(action)


def checkpoint_hook_of(runner) -> CheckpointHook:
    """The hook that saves now: the runner's, or one for it if it has a class of the user's."""
    ours = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    if not ours:
        ours = [CheckpointHook()]
        ours[0].before_train(runner)
    return ours[0]


def between_steps(runner) -> bool:
    """Whether the last batch ended with a step of the optimiser, so that no gradients wait for the next one."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return all(each.should_update() for each in wrappers)
