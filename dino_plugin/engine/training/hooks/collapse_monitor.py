"""Warn in words when training collapses, or does not start to learn."""

import math

from mmengine.hooks import Hook
from torch import Tensor

from dino_plugin.core import statistics
from dino_plugin.core.targets import Centering, SinkhornKnopp
from dino_plugin.engine.training.model import unwrapped


class CollapseMonitorHook(Hook):
    """Measure targets and teacher features regularly, and warn when they tell nothing about the images.

    The loss does not show a collapse: with the same target for every image it becomes as low as it can be. These
    numbers of the batch of this process are logged:

    - ``target_entropy``: mean entropy of a target, in nats; healthy values are between 0 and log K.
    - ``target_kl_to_uniform``: KL divergence of the mean target; 0 if all prototypes are used equally, log K if one is.
    - ``target_information``: mutual information of target and image; 0 means collapse, to one prototype or to all.
    - ``center_norm``: L2 norm of the centre, with ``Centering``.
    - ``feature_std``, ``effective_rank``: spread of the teacher's class tokens; of the student's if the teacher is not
      run.

    If several losses have targets, the name of the loss is a prefix.

    Args:
        interval: Iterations between two measurements.
        patience: Bad measurements in a row before a warning.

    Raises:
        ValueError: If ``interval`` or ``patience`` is less than 1.
    """

    def __init__(self, interval: int = 100, patience: int = 5) -> None:
        if interval < 1 or patience < 1:
            raise ValueError(f'CollapseMonitorHook: interval={interval} and patience={patience} must be at least 1.')
        self.interval = interval
        self.patience = patience
        self._bad: dict[str, int] = {}
        self._seen: dict[str, Tensor] = {}
        self._handles: list = []

    def before_train(self, runner) -> None:
        """Begin to record the outputs of targets and of a backbone."""
        distillation = unwrapped(runner.model).distillation
        self._targets = {
            name: loss.target
            for name, loss in distillation.losses.items()
            if isinstance(getattr(loss, 'target', None), Centering | SinkhornKnopp)
        }
        for name, target in self._targets.items():
            self._handles.append(target.register_forward_hook(self._listener(runner, name, lambda output: output)))
        runs_teacher = distillation.uses_teacher and distillation.frozen_teacher is None
        network = distillation.teacher if runs_teacher else distillation.student
        self._handles.append(
            network.register_forward_hook(self._listener(runner, '', lambda tokens: tokens[0].class_token))
        )

    def after_train(self, runner) -> None:
        """Stop recording."""
        for handle in self._handles:
            handle.remove()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Measure, log, and warn if the numbers are bad."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        if not all(output.isfinite().all() for output in self._seen.values()):
            self._seen.clear()  # the step is skipped, and SkippedStepsHook logs it
            return
        features = self._seen.pop('').float().flatten(end_dim=-2)
        numbers = {
            'feature_std': statistics.feature_std(features),
            'effective_rank': statistics.effective_rank(features),
        }
        seen, self._seen = self._seen, {}
        for name, probabilities in seen.items():
            prefix = f'{name}_' if len(seen) > 1 else ''
            probabilities = probabilities.flatten(end_dim=-2)
            numbers[f'{prefix}target_entropy'] = statistics.entropy(probabilities).mean()
            numbers[f'{prefix}target_kl_to_uniform'] = statistics.kl_to_uniform(probabilities.mean(dim=0))
            numbers[f'{prefix}target_information'] = statistics.mutual_information(probabilities)
            if isinstance(self._targets[name], Centering):
                numbers[f'{prefix}center_norm'] = self._targets[name].center.norm()
            loss = outputs[f'loss_{name}'].item() if outputs else math.nan
            self._warn_if_bad(runner, name, probabilities, loss)
        for name, value in numbers.items():
            runner.message_hub.update_scalar(f'train/{name}', float(value))

    def _listener(self, runner, name: str, pick):
        def listen(module, inputs, output) -> None:
            if self.every_n_train_iters(runner, self.interval):
                self._seen.setdefault(name, pick(output).detach())

        return listen

    def _warn_if_bad(self, runner, name: str, probabilities: Tensor, loss: float) -> None:
        samples, prototypes = probabilities.shape
        uniform = math.log(prototypes)
        information = float(statistics.mutual_information(probabilities)) / math.log(max(2, min(samples, prototypes)))
        entropy = float(statistics.entropy(probabilities).mean()) / uniform
        if information >= 0.02 and abs(loss - uniform) >= 0.002 * uniform:
            self._bad[name] = 0
            return
        self._bad[name] = self._bad.get(name, 0) + 1
        if self._bad[name] % self.patience:
            return
        if information < 0.02 and entropy < 0.5:
            verdict = (
                'every image gets the same sharp target: the teacher has collapsed onto few prototypes. Use '
                "target=dict(type='dino_plugin.SinkhornKnopp'), a lower learning rate, or a higher teacher temperature."
            )
        elif information < 0.02:
            verdict = (
                'every image gets the same flat target: the teacher gives no information. Lower the teacher '
                'temperature, warm the learning rate up longer, add batch_norm=True to the head, or add a KoLeoLoss.'
            )
        else:
            verdict = (
                f'the loss sits at ln K = {uniform:.2f}: the student has learnt nothing of its targets. Raise the '
                'learning rate, use fewer prototypes on little data, or unfreeze the last layer earlier.'
            )
        runner.logger.warning(
            f'{name}: for {self._bad[name]} measurements {verdict} '
            f'(target entropy {entropy:.0%} and information {information:.1%} of their maximum, loss {loss:.3f})'
        )
