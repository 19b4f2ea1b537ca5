"""mmengine's runner with a short first log on the console."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook as MmengineCheckpointHook
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import LogProcessor
from torch import nn
from torch.utils.data import DataLoader

from dino_plugin.commands.console import SILENCED_WARNINGS, import_quietly, prepare_console
from dino_plugin.commands.first_log import FirstLogHook
from dino_plugin.commands.progress_hook import ProgressHook
from dino_plugin.data.workers.dataloaders import prepare_workers, without_unused_options
from dino_plugin.engine.distributed.mean_log import MeanLogProcessor
from dino_plugin.engine.distributed.sharded_runner import ShardedRunner
from dino_plugin.engine.training.hooks.bounded_history import BoundedHistoryHook
from dino_plugin.engine.training.hooks.checkpoint import CheckpointHook
from dino_plugin.engine.training.hooks.stop import StopHook, StopSignals
from dino_plugin.engine.training.latest_checkpoint import checkpoints_in, latest_checkpoint


class Runner(ShardedRunner):
    """mmengine's runner; the console begins with what is trained or tested, the log file is complete."""

    _resume: bool  # mmengine's, as the next one
    _load_from: str | None

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """mmengine's logger, with short lines on the console."""
        logger = super().build_logger(*args, **kwargs)
        self.console_filter, self.console_formatter = prepare_console(logger)
        return logger

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args, **kwargs) -> DataLoader:
        """mmengine's dataloader, which also works with ``num_workers=0`` and little shared memory."""
        loader = ShardedRunner.build_dataloader(without_unused_options(dataloader), *args, **kwargs)
        prepare_workers(loader)
        return loader

    def setup_env(self, env_cfg: dict) -> None:
        """mmengine's, without warnings that nobody can act on; a runner calls it first."""
        for message in SILENCED_WARNINGS:
            warnings.filterwarnings('ignore', re.escape(message))
        import_quietly(self.cfg.get('default_scope'))
        super().setup_env(env_cfg)

    def register_hook(self, hook: Hook | dict, priority: str | int | None = None) -> None:
        """mmengine's; its plain `CheckpointHook` becomes ours, which a kill cannot leave without a whole file."""
        if isinstance(hook, dict) and hook.get('type') in ('CheckpointHook', MmengineCheckpointHook):
            hook = dict(hook, type=CheckpointHook)
        super().register_hook(hook, priority)

    def build_log_processor(self, log_processor: LogProcessor | dict) -> LogProcessor:
        """mmengine's; its plain `LogProcessor` becomes ours, which averages over the processes."""
        plain = ('LogProcessor', 'mmengine.LogProcessor', LogProcessor)
        if isinstance(log_processor, dict) and log_processor.get('type', 'LogProcessor') in plain:
            log_processor = dict(log_processor, type=MeanLogProcessor)
        return super().build_log_processor(log_processor)

    def dump_config(self) -> None:
        """mmengine's; a config that lies in the working directory itself stays as its author wrote it.

        The whole config is in `vis_data/config.py` of the log's folder, too.
        """
        file = self.cfg.filename
        if file is None or Path(file).resolve() != Path(self.work_dir, Path(file).name).resolve():
            super().dump_config()

    def train(self) -> nn.Module:
        """Train, after logging a description; a signal to stop saves a checkpoint first."""
        self.register_hook(FirstLogHook(), 'VERY_HIGH')
        self._warn_of_checkpoints()
        self.register_hook(BoundedHistoryHook())
        with StopSignals() as signals, self._progress():
            self.register_hook(StopHook(signals), 'LOWEST')
            return super().train()

    def load_or_resume(self) -> None:
        """mmengine's; without a path it resumes from the newest whole checkpoint of this run's own folder.

        All processes resume if one of them does.
        """
        # A machine that takes the place of a lost one does not know that the others have been started again.
        wishes = all_gather_object((self._resume, self._load_from))
        self._resume, self._load_from = next((wish for wish in wishes if wish[0]), wishes[0])
        folder, template = self.checkpoint_place()
        local = isinstance(get_file_backend(folder), LocalBackend)  # other storage is mmengine's
        if self._resume and self._load_from is None and not self._has_loaded and local:
            self._load_from = self._latest(folder, template)
            self._resume = self._load_from is not None
        super().load_or_resume()

    def _latest(self, folder: str, template: str) -> str | None:
        """The choice of the first process, or its error, in all processes."""
        found: list[Any] = [None, None, '']
        if is_main_process():
            try:
                found[:2] = latest_checkpoint(self.work_dir, folder, template)
            except ValueError as error:
                found[2] = str(error)
        broadcast_object_list(found)
        path, reason, refusal = found
        if refusal:
            raise ValueError(refusal)
        unusual = path is not None and reason != 'last_checkpoint names it'
        log = self.logger.warning if unusual else self.logger.info
        log(f'--resume: {f"goes on from {path}" if path else "starts at iteration 0"}, because {reason}.')
        return None if path is None else str(path)

    def checkpoint_place(self) -> tuple[str, str]:
        """The folder of the checkpoints and the template of their names; before training, hooks do not know it yet."""
        hook = next((hook for hook in self.hooks if isinstance(hook, MmengineCheckpointHook)), None)
        if hook is None or hook.out_dir in (None, self.work_dir):
            return self.work_dir, getattr(hook, 'filename_tmpl', 'iter_{}.pth')
        return f'{hook.out_dir}/{Path(self.work_dir).name}', hook.filename_tmpl

    def _warn_of_checkpoints(self) -> None:
        folder, template = self.checkpoint_place()
        if not self._resume and (there := [path.name for path in checkpoints_in(folder, template)]):
            self.logger.warning(
                f'{folder} holds checkpoints of an earlier training ({", ".join(there[-3:])}). This one starts at '
                'iteration 0 and will overwrite files of the same names. To go on instead: --resume. To keep both: '
                '--work-dir DIR.'
            )

    def test(self) -> dict:
        """Test, after logging a description."""
        self.register_hook(FirstLogHook(), 'VERY_HIGH')
        with self._progress():
            return super().test()

    @contextmanager
    def _progress(self) -> Iterator[None]:
        hook = ProgressHook()
        self.register_hook(hook)
        self.console_formatter.short_line = lambda: hook.line(self)
        try:
            yield
        finally:
            hook.end()
            self.console_formatter.short_line = None
