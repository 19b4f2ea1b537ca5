"""Count, name and limit the steps that were skipped for gradients that were not finite."""

import torch
from mmengine.hooks import Hook


class SkippedStepsHook(Hook):
    """Log each skipped step with the loss that caused it, and stop after too many in a row.

    The counts stay on the device and are read every ``interval`` iterations (at each one on CPU, where reading is
    free), so the host does not wait for the device in between.

    Args:
        max_in_a_row: Training stops after this many skipped steps without one that succeeded.
        interval: Iterations between two looks at the counts.

    Raises:
        ValueError: If ``max_in_a_row`` is less than 1.
        TypeError: Before training, with an optimiser wrapper that does not say which steps it skipped.
        RuntimeError: In training, after too many skipped steps in a row.
    """

    def __init__(self, max_in_a_row: int = 10, interval: int = 50) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'SkippedStepsHook: max_in_a_row={max_in_a_row} must be at least 1.')
        self.max_in_a_row = max_in_a_row
        self.interval = interval
        self.total = 0
        self._in_a_row = self._longest = self._since_look = None
        self._not_finite: dict[str, torch.Tensor] = {}

    def before_train(self, runner) -> None:
        """Refuse an optimiser wrapper that does not say what it skipped."""
        if not hasattr(runner.optim_wrapper, 'stepped'):
            raise TypeError(
                f'SkippedStepsHook needs to know which steps were skipped, which {type(runner.optim_wrapper).__name__} '
                "does not say; use optim_wrapper=dict(type='dino_plugin.SelfDistillationOptimWrapper', ...)."
            )

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count on the device; look now and then."""
        stepped = runner.optim_wrapper.stepped
        if stepped is False:  # batches are being accumulated
            return
        skipped = (~stepped).int()
        if self._in_a_row is None:
            self._in_a_row = self._longest = self._since_look = torch.zeros_like(skipped)
        self._in_a_row = (self._in_a_row + 1) * skipped
        self._longest = torch.maximum(self._longest, self._in_a_row)
        self._since_look = self._since_look + skipped
        for name, value in (outputs or {}).items():
            if name.startswith('loss_'):
                self._not_finite[name] = self._not_finite.get(name, 0) + (~value.isfinite()).int()
        if stepped.device.type == 'cpu' or self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def _look(self, runner) -> None:
        runner.message_hub.update_scalar('train/grad_norm', runner.optim_wrapper.grad_norm.item())
        skipped = int(self._since_look)
        if not skipped:
            return
        self.total += skipped
        guilty = [name for name, count in self._not_finite.items() if int(count)]
        cause = f'not finite: {", ".join(guilty)}' if guilty else 'the losses were finite, their gradients were not'
        longest = int(self._longest)
        self._since_look, self._longest, self._not_finite = torch.zeros_like(self._since_look), self._in_a_row, {}
        runner.logger.warning(f'Skipped {skipped} step(s) ({self.total} in all), teacher included; {cause}.')
        runner.message_hub.update_scalar('train/skipped_steps', self.total)
        if longest >= self.max_in_a_row:
            raise RuntimeError(
                f'{longest} steps in a row had gradients that are not finite ({cause}), at iteration {runner.iter}. '
                'Resume from the last checkpoint with a lower learning rate, a smaller max_norm, or '
                "precision='bf16' / 'fp32' instead of 'fp16'."
            )
