"""A training by mmengine's runner on a device of choice, and what each of its steps did."""

import time
from contextlib import suppress
from typing import NamedTuple
from unittest.mock import patch

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from torch import Tensor

from benchmark.ways import relative_gap
from dino_plugin.commands.runner import Runner

# Of fp16's gradients at first. PyTorch begins with 65,536 and finds what fits by skipping steps: those could not be
# compared with steps that the CPU took in fp32.
SCALE = 256.0


class Step(NamedTuple):
    """One step.

    Args:
        losses: By name, before the step.
        grad_norm: Of all gradients.
        stepped: Whether the parameters moved; a step that overflowed in fp16 is skipped.
        teacher_error: How far the teacher is from where momentum and student should have brought it, relative.
        waited: Seconds for the batch.
        seconds: Of the step itself, to its end on the device.
    """

    losses: dict[str, float]
    grad_norm: float
    stepped: bool
    teacher_error: float
    waited: float
    seconds: float


class Training(NamedTuple):
    """A whole training, or its first steps."""

    runner: Runner
    steps: list[Step]
    student_moved: float  # from its start, relative
    teacher_moved: float


class _Enough(Exception):
    """The steps that were asked for are done."""


class Recorder(Hook):
    """Notes each step.

    Args:
        watch_teacher: Whether to copy the teacher before each step, to see where it goes.
        most: Steps, after which it ends the training.
    """

    priority = 'LOWEST'  # after the teacher has moved

    def __init__(self, watch_teacher: bool, most: int | None) -> None:
        self.watch_teacher = watch_teacher
        self.most = most
        self.steps: list[Step] = []
        self.starts: list[list[Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Keep where student and teacher start, and let fp16 start at a scale at which no step is skipped."""
        if scaler := runner.optim_wrapper.scaler:
            scaler.load_state_dict(scaler.state_dict() | dict(scale=SCALE))
        self.starts = [_copies(network) for network in _networks(runner)]
        self._time = time.perf_counter()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """The batch is there."""
        self._waited = time.perf_counter() - self._time
        self._before = _copies(_networks(runner)[1]) if self.watch_teacher else []
        self._began = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """The step is done: reading its loss waits for the device."""
        wrapper = runner.optim_wrapper
        losses = {name: value.item() for name, value in outputs.items()}
        grad_norm, stepped = float(wrapper.grad_norm), bool(wrapper.stepped)
        seconds = time.perf_counter() - self._began
        error = self._teacher_error(runner, stepped) if self.watch_teacher else 0.0
        self.steps.append(Step(losses, grad_norm, stepped, error, self._waited, seconds))
        if len(self.steps) == self.most:
            raise _Enough
        self._time = time.perf_counter()

    def _teacher_error(self, runner: Runner, stepped: bool) -> float:
        """teacher = momentum * teacher before + (1 - momentum) * student after, or as before where nothing stepped."""
        student, teacher = _networks(runner)
        distillation = runner.model.distillation
        share = 1 - distillation.momentum(runner.model.progress) if stepped else 0.0
        with torch.no_grad():
            expected = torch._foreach_lerp(self._before, list(student.parameters()), share)
        return relative_gap(list(teacher.parameters()), expected)


def train(config: Config, device: str, watch_teacher: bool = True, most: int | None = None) -> Training:
    """Train by this config on 'cpu' or 'cuda', whatever mmengine would choose.

    Args:
        config: As a user would give it to ``tools/train.py``.
        device: Where the model is.
        watch_teacher: As in `Recorder`.
        most: End after so many steps, with schedules as for the whole.
    """
    with patch('mmengine.runner.runner.get_device', lambda: device):
        runner = Runner.from_cfg(config)
        recorder = Recorder(watch_teacher, most)
        runner.register_hook(recorder)
        with suppress(_Enough):
            runner.train()
    moved = [
        relative_gap(list(network.parameters()), start) for network, start in zip(_networks(runner), recorder.starts)
    ]
    return Training(runner, recorder.steps, *moved)


def _networks(runner: Runner) -> tuple[torch.nn.Module, torch.nn.Module]:
    return runner.model.distillation.student, runner.model.distillation.teacher


def _copies(network: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]
