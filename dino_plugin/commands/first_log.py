"""What is about to be trained or tested, in the first lines of the console."""

from collections.abc import Sized
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.engine.training.model import SelfDistillationModel, unwrapped


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


def describe_training(runner: Runner) -> str:
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


def describe_test(runner: Runner) -> str:
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
    """The student, or the first `TimmBackbone`, or else the model's backbone."""
    if isinstance(model, SelfDistillationModel):
        model = model.distillation.student
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


def _batch(runner: Runner, loader: Any) -> str:
    accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    factors = {'processes': get_world_size(), 'batches before a step': accumulated}
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 'several sizes')
    return ' × '.join([str(size), *(f'{number} {name}' for name, number in factors.items() if number > 1)])


def _precision(runner: Runner) -> str:
    """The precision, or the class of an optimiser wrapper of mmengine, which does not tell it."""
    wrapper = runner.optim_wrapper
    name = getattr(wrapper, 'precision', None)
    return name or ('fp32' if type(wrapper).__name__ == 'OptimWrapper' else type(wrapper).__name__)


def _device(model: nn.Module) -> str:
    device = next(model.parameters()).device
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type
