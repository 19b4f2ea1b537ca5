"""Hooks for trainings that ``tools/train.py`` runs; a config finds them by ``custom_imports``."""

import json
import os
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from gpu_checks.recipes import leave_configs_unformatted

leave_configs_unformatted()  # a config that names these hooks has been read, but not yet written into the log


@HOOKS.register_module()
class KillItself(Hook):
    """Ends its own process as ``kill -9`` does, between two steps: nothing can be saved or tidied up.

    Args:
        after: Steps.
    """

    priority = 'LOWEST'

    def __init__(self, after: int) -> None:
        self.after = after

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Kill."""
        if runner.iter + 1 == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class WriteLosses(Hook):
    """Writes the loss of each step to ``losses_RANK.json`` in the folder of the training."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """All losses so far."""
        self.losses.append(outputs['loss'].item())
        Path(runner.work_dir, f'losses_{get_rank()}.json').write_text(json.dumps(self.losses))
