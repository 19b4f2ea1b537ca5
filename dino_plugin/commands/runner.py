"""mmengine's runner with a short first log on the console."""

import logging
import re
import warnings
from collections.abc import Sized
from pathlib import Path
from typing import Any

import torch
from mmengine import runner as mmengine_runner
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook as MmengineCheckpointHook
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from torch import nn
from torch.utils.data import DataLoader

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.workers.dataloaders import prepare_workers, without_unused_options
from dino_plugin.engine.training.hooks.bounded_history import BoundedHistoryHook
from dino_plugin.engine.training.hooks.checkpoint import CheckpointHook
from dino_plugin.engine.training.hooks.stop import StopHook, StopSignals
from dino_plugin.engine.training.latest_checkpoint import checkpoints_in, latest_checkpoint
from dino_plugin.engine.training.model import SelfDistillationModel, unwrapped

# mmengine's messages at each start that no user can act on, or that `describe_training` says.
SILENCED = (
    '"FileClient" will be deprecated in future',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    'Distributed training is not used, all SyncBatchNorm',
    'Checkpoints will be saved to',
    'paramwise_options -- ',
    'The prefix is not set in metric class',
)
# The same for Python's warnings.
SILENCED_WARNINGS = (
    'Setting MKL_NUM_THREADS environment variable',
    '`broadcast_buffers` is deprecated',
    'Fail to import ``MultiScaleDeformableAttention``',
    '``build_loss`` would be deprecated soon',
    'The draw is False, it means that the hook for visualization will not take effect',
)


class ConsoleFilter(logging.Filter):
    """Hides long messages at the start from the console: environment, whole config, hooks. The log file has them.

    Attributes:
        starting: While True, messages of several lines are hidden, unless they are warnings.
    """

    starting = True

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the console shows it."""
        text = record.getMessage()
        fills_screens = self.starting and '\n' in text.strip() and record.levelno < logging.WARNING
        return not fills_screens and not text.startswith(SILENCED)


class Runner(mmengine_runner.Runner):
    """mmengine's runner; the console begins with what is trained or tested, the log file is complete."""

    _resume: bool  # mmengine's, as the next one
    _load_from: str | None

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """mmengine's logger, with a filter for the console."""
        logger = super().build_logger(*args, **kwargs)
        self.console_filter = ConsoleFilter()
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(self.console_filter)
        return logger

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict, *args, **kwargs) -> DataLoader:
        """mmengine's dataloader, which also works with ``num_workers=0`` and little shared memory."""
        loader = mmengine_runner.Runner.build_dataloader(without_unused_options(dataloader), *args, **kwargs)
        prepare_workers(loader)
        return loader

    def setup_env(self, env_cfg: dict) -> None:
        """mmengine's, without warnings that nobody can act on; a runner calls it first."""
        for message in SILENCED_WARNINGS:
            warnings.filterwarnings('ignore', re.escape(message))
        super().setup_env(env_cfg)

    def register_hook(self, hook: Hook | dict, priority: str | int | None = None) -> None:
        """mmengine's; its plain `CheckpointHook` becomes ours, which a kill cannot leave without a whole file."""
        if isinstance(hook, dict) and hook.get('type') in ('CheckpointHook', MmengineCheckpointHook):
            hook = dict(hook, type=CheckpointHook)
        super().register_hook(hook, priority)

    def train(self) -> nn.Module:
        """Train, after logging a description; a signal to stop saves a checkpoint first."""
        self.register_hook(FirstLogHook(), 'LOWEST')
        self._warn_of_checkpoints()
        self.register_hook(BoundedHistoryHook())
        with StopSignals() as signals:
            self.register_hook(StopHook(signals), 'LOWEST')
            return super().train()

    def load_or_resume(self) -> None:
        """mmengine's; without a path it resumes from the newest whole checkpoint of this run's own folder."""
        folder, template = self._checkpoint_place()
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

    def _checkpoint_place(self) -> tuple[str, str]:
        """The folder of the checkpoints and the template of their names; before training, hooks do not know it yet."""
        hook = next((hook for hook in self.hooks if isinstance(hook, MmengineCheckpointHook)), None)
        if hook is None or hook.out_dir in (None, self.work_dir):
            return self.work_dir, getattr(hook, 'filename_tmpl', 'iter_{}.pth')
        return f'{hook.out_dir}/{Path(self.work_dir).name}', hook.filename_tmpl

    def _warn_of_checkpoints(self) -> None:
        folder, template = self._checkpoint_place()
        if not self._resume and (there := [path.name for path in checkpoints_in(folder, template)]):
            self.logger.warning(
                f'{folder} holds checkpoints of an earlier training ({", ".join(there[-3:])}). This one starts at '
                'iteration 0 and will overwrite files of the same names. To go on instead: --resume. To keep both: '
                '--work-dir DIR.'
            )

    def test(self) -> dict:
        """Test, after logging a description."""
        self.register_hook(FirstLogHook(), 'LOWEST')
        return super().test()


class FirstLogHook(Hook):
    """Logs what will be trained or tested, and ends the console's filter for long messages."""

    def before_train(self, runner: Runner) -> None:
        """Log what is trained."""
        self._log(runner, describe_training(runner))

    def before_test(self, runner: Runner) -> None:
        """Log what is tested."""
        self._log(runner, describe_test(runner))

    def _log(self, runner: Runner, text: str) -> None:
        runner.console_filter.starting = False
        runner.logger.info(text)


def describe_training(runner: mmengine_runner.Runner) -> str:
    """Method, network, images, precision, length and folder of a training, in eight lines."""
    model, loop, loader = unwrapped(runner.model), runner.train_loop, runner.train_dataloader
    begun = f', of which {runner.iter:,} are done' if runner.iter else ''
    epochs = f'{loop.max_epochs:,} epochs, ' if loop.max_epochs > 1 else ''
    lines = {
        **_method(model),
        'network': _network(model),
        'trained': f'{_count(parameter for parameter in model.parameters() if parameter.requires_grad)} parameters',
        'images': f'{_size(loader.dataset)} in batches of {_batch(runner, loader)}{_warning(model, loader.dataset)}',
        'computes': f'in {_precision(runner)} on {_device(model)}',
        'length': f'{epochs}{loop.max_iters:,} iterations{begun}',
        'writes to': f'{runner.work_dir} (checkpoints), {runner.log_dir} (whole log, config, curves)',
        'continue': 'after a stop: the same command with --resume',
    }
    return '\n'.join(['Training begins.', *(f'    {name:<10} {text}' for name, text in lines.items())])


def describe_test(runner: mmengine_runner.Runner) -> str:
    """Network, images, metrics and folder of a test, in two lines."""
    model, loop = unwrapped(runner.model), runner.test_loop
    evaluator = getattr(loop, 'evaluator', loop)  # other loops may have no evaluator, other evaluators no metrics
    metrics = ', '.join(type(metric).__name__ for metric in getattr(evaluator, 'metrics', [evaluator]))
    return (
        f'{metrics}: {_size(loop.dataloader.dataset)} samples; {_network(model)}, on {_device(model)}.\n'
        f'    Results go to {runner.work_dir}, the whole log to {runner.log_dir}'
    )


def _method(model: nn.Module) -> dict[str, str]:
    if not isinstance(model, SelfDistillationModel):
        return {'model': type(model).__name__}
    losses = model.distillation.losses.items()
    return {'losses': ', '.join(f'{name} ({type(loss).__name__})' for name, loss in losses)}


def _network(model: nn.Module) -> str:
    """The first `TimmBackbone`, which is the student's, or else the model's backbone."""
    network = next((module for module in model.modules() if isinstance(module, TimmBackbone)), None)
    if network is not None:
        return f'{network.description["model_name"]}, {_count(network.parameters())} parameters'
    network = getattr(model, 'backbone', model)
    return f'{type(network).__name__}, {_count(network.parameters())} parameters'


def _count(parameters: Any) -> str:
    number = sum(parameter.numel() for parameter in parameters)
    return f'{number / 1e6:,.1f} million' if number >= 1e5 else f'{number:,}'


def _size(dataset: Any) -> str:
    return f'{len(dataset):,}' if isinstance(dataset, Sized) else 'a stream'


def _warning(model: nn.Module, dataset: Any) -> str:
    """A warning if a recipe that depends on the number of images was built for another number."""
    told = getattr(model, 'num_images', None)
    if told is None or abs(told - len(dataset)) <= 0.1 * len(dataset):
        return ''
    return f'; the recipe is for {told:,}: --cfg-options model.num_images={len(dataset)}'


def _batch(runner: mmengine_runner.Runner, loader: Any) -> str:
    accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    factors = {'processes': get_world_size(), 'batches before a step': accumulated}
    return ' × '.join([str(loader.batch_size), *(f'{number} {name}' for name, number in factors.items() if number > 1)])


def _precision(runner: mmengine_runner.Runner) -> str:
    """The precision, or the class of an optimiser wrapper of mmengine, which does not tell it."""
    wrapper = runner.optim_wrapper
    name = getattr(wrapper, 'precision', None)
    return name or ('fp32' if type(wrapper).__name__ == 'OptimWrapper' else type(wrapper).__name__)


def _device(model: nn.Module) -> str:
    device = next(model.parameters()).device
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type
