"""How far a training, validation or test is: what the console shows in place of mmengine's long lines."""

import time

from mmengine.hooks import Hook
from mmengine.runner import Runner

from dino_plugin.evaluation.progress import Task, in_words

_SETTLED, _MEASURED = 10, 50  # steps; the first ones are slower than the rest


class ProgressHook(Hook):
    """A bar on a terminal; elsewhere the words for a short line at each interval of mmengine's logs.

    After 50 steps it also logs how long training will take.
    """

    # After the hooks that measure, before LoggerHook, whose line it shortens.
    priority = 'NORMAL'

    def __init__(self) -> None:
        self._training: Task | None = None
        self._evaluation: Task | None = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Begin to show, after evaluations before training; name the epoch."""
        if self._training is None:
            self._first, self._began = runner.iter, time.monotonic()

            def details() -> str:
                return '  '.join(self._numbers(runner))

            self._training = Task('training', runner.max_iters, runner.iter, details, lines=False)
        if runner.max_epochs > 1:
            self._training.name = f'epoch {runner.epoch + 1}/{runner.max_epochs}'

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Show it; estimate how long the rest takes."""
        done = runner.iter + 1
        self._training.update(done)
        if done == self._first + _MEASURED and runner.max_iters - done >= _MEASURED:
            seconds = _mean(runner, 'train/time', _MEASURED - _SETTLED)
            if seconds:
                runner.logger.info(estimate(runner.max_iters - done, seconds))

    def after_train(self, runner: Runner) -> None:
        """No more to show; say what is there now."""
        if self._training is None:  # there was nothing left to train
            return
        self._training.end()
        steps, seconds = runner.iter - self._first, time.monotonic() - self._began
        last = runner.message_hub.runtime_info.get('last_ckpt')
        saved = f' The checkpoint: {last}' if last else ''
        runner.logger.info(f'Training ends after {steps:,} steps in {in_words(seconds)}.{saved}')

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Begin to show."""
        self._begin(runner.val_dataloader, 'validation', batch_idx)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Show it."""
        self._evaluation.update(batch_idx + 1)

    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        """No more to show."""
        self._end()

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Begin to show."""
        self._begin(runner.test_dataloader, 'test', batch_idx)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Show it."""
        self._evaluation.update(batch_idx + 1)

    def after_test_epoch(self, runner: Runner, metrics=None) -> None:
        """No more to show."""
        self._end()

    def end(self) -> None:
        """End all at once, such as after an error."""
        self._end()
        if self._training is not None:
            self._training.end()

    def line(self, runner: Runner) -> str:
        """How far training is, in words for one line."""
        task = self._training
        steps = f'step {task.done:,}/{task.total:,}'
        left = [] if task.seconds_left is None else [f'{in_words(task.seconds_left)} left']
        return ', '.join([*([task.name] if 'epoch' in task.name else []), steps, *left, *self._numbers(runner)])

    def _begin(self, loader, name: str, batch_idx: int) -> None:
        if batch_idx == 0:
            self._evaluation = Task(name, len(loader))

    def _end(self) -> None:
        if self._evaluation is not None:
            self._evaluation.end()

    def _numbers(self, runner: Runner) -> list[str]:
        loss = _mean(runner, 'train/loss', runner.log_processor.window_size)
        images = _mean(runner, 'train/images_per_second', 1)
        hub = runner.message_hub.log_scalars
        ours = [name for name in ('knn/top1_k20', *hub) if name in hub and name.startswith('knn/top1_')]
        return [
            *([] if loss is None else [f'loss {loss:.4g}']),
            *([] if images is None else [f'{images:.3g} images/s' if images < 100 else f'{images:,.0f} images/s']),
            *([f'k-NN {hub[ours[0]].current():.1f}'] if ours else []),
        ]


def _mean(runner: Runner, name: str, window: int) -> float | None:
    history = runner.message_hub.log_scalars.get(name)
    return None if history is None else float(history.mean(window))


def estimate(steps: int, seconds: float) -> str:
    """How long training takes, without evaluations and checkpoints in it.

    Args:
        steps: How many are left.
        seconds: Of one.
    """
    left = steps * seconds
    speed = f'{1 / seconds:.1f} steps a second' if seconds < 1 else f'{seconds:.1f} seconds a step'
    form = '%H:%M' if left < 12 * 3600 else '%A, %H:%M' if left < 6 * 86400 else '%d %B'
    end = time.strftime(form, time.localtime(time.time() + left))
    return f'about {in_words(left)}: {steps:,} steps at {speed}; ends at about {end}'
