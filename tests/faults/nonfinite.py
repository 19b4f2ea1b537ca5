"""Numbers that are not finite, at each point of a training where they can arise: the step leaves no trace."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.hooks import Hook
from small_training import build_runner, hook, small_config

VALUES = {'NaN': float('nan'), 'infinity': float('inf'), 'minus infinity': float('-inf')}
_numbers = itertools.count()


class Poison(Hook):
    """Puts a value into one place of the networks in the iterations of these numbers, from 1 on."""

    priority = 'VERY_HIGH'

    def __init__(self, place: str, value: float, iterations: set[int]) -> None:
        self.place, self.value, self.iterations = place, value, iterations
        self.before: dict[str, torch.Tensor] = {}
        self.after: dict[str, torch.Tensor] = {}

    def before_train(self, runner) -> None:
        """Register the poison."""
        self.runner = runner
        distillation = runner.model.distillation
        for name in ('student', 'teacher'):
            if self.place in ('images', f'{name} output'):
                network = getattr(distillation, name)
                backbone = network.backbone
                if self.place == 'images':
                    network.register_forward_pre_hook(self._poisoned_images)
                else:
                    backbone.model.norm.register_forward_hook(self._poisoned_output)
        if self.place == 'gradient':
            next(distillation.student.backbone.parameters()).register_hook(self._poisoned_gradient)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Remember weights and buffers before and after the first broken step."""
        state = {name: value.clone() for name, value in runner.model.state_dict().items()}
        if runner.iter + 1 == min(self.iterations):
            self.before = state
        if runner.iter == max(self.iterations):
            self.after = state

    def _now(self) -> bool:
        return self.runner.iter + 1 in self.iterations

    def _poisoned_images(self, network, inputs):
        views, *rest = inputs
        if self._now():
            pixels = views.global_views.clone()
            pixels[0, 0, 0, 3, 3] = self.value
            views = views._replace(global_views=pixels)
        return (views, *rest)

    def _poisoned_output(self, module, inputs, output):
        return output * self.value if self._now() else None

    def _poisoned_gradient(self, gradient):
        return gradient * self.value if self._now() else gradient


def _trained(place: str, value: float, iterations: set[int], changes: dict, batch_norm: bool, folder: Path) -> str:
    """A short training with the poison: its steps change nothing, and the rest learns."""
    config = small_config(folder, train_cfg__max_epochs=1, **changes)
    config.experiment_name = f'nonfinite_{next(_numbers)}'
    config.log_level = 'ERROR'
    config.model.heads.cls.batch_norm = batch_norm
    hook(config, 'CollapseMonitorHook').interval = 1
    runner, poison = build_runner(config), Poison(place, value, iterations)
    runner.register_hook(poison)
    runner.train()
    assert poison.before.keys() == poison.after.keys() and poison.before
    for name, before in poison.before.items():
        assert torch.equal(before, poison.after[name]), f'{name} changed in a step that must not count'
    end = runner.model.state_dict()
    assert all(value.isfinite().all() for value in end.values())
    assert any(not torch.equal(value, end[name]) for name, value in poison.after.items()), 'nothing was learnt later'
    assert runner.iter == runner.max_iters
    return 'survived'


def cases() -> dict[str, Callable[[Path], str]]:
    """Each place with each value, with and without batch norms in the heads, and within an accumulated step."""
    found = {}
    for (word, value), norm in itertools.product(VALUES.items(), (False, True)):
        norms = ', batch norms in the heads' if norm else ''
        for place in ('images', 'student output', 'teacher output', 'gradient'):
            found[f'{word} in {place}{norms}'] = partial(_trained, place, value, {3}, {}, norm)
        accumulated = dict(optim_wrapper__accumulative_counts=3)
        found[f'{word} in the images of an accumulated step{norms}'] = partial(
            _trained, 'images', value, {1, 2, 3}, accumulated, norm
        )
    return found
