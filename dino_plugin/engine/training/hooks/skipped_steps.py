"""Count, log and limit the steps that are skipped because gradients are not finite."""

from collections.abc import Mapping

import torch
from mmengine.hooks import Hook

from dino_plugin.core.reduce import gather_over_ranks, num_ranks

_TOTAL = 'dino_plugin/skipped_steps'  # of mmengine's message hub, which is saved with each checkpoint
_SHOWN = 5


class SkippedStepsHook(Hook):
    """Log skipped steps with the losses that caused them, and stop after too many in a row.

    The log names the iterations (each accumulated batch is one) and the processes in which a loss was not finite.
    Counts stay on the device and are read every ``interval`` iterations, so that the host does not wait in between; on
    a CPU they are read at each step. The number of skipped steps is kept when a run is resumed.

    Args:
        max_in_a_row: Training stops after this many skipped steps in a row.
        interval: Iterations between two readings of the counts.

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
        self._in_a_row: torch.Tensor | None = None
        self._longest: torch.Tensor | None = None
        self._since_look: torch.Tensor | None = None
        self._finite: dict[int, dict[str, torch.Tensor]] = {}  # by iteration and loss

    def before_train(self, runner) -> None:
        """Read the count of a resumed run; refuse an optimiser wrapper that does not report skipped steps."""
        self.total = runner.message_hub.get_info(_TOTAL) or 0
        if not hasattr(runner.optim_wrapper, 'stepped'):
            raise TypeError(
                f'SkippedStepsHook needs to know which steps were skipped, which {type(runner.optim_wrapper).__name__} '
                "does not say; use optim_wrapper=dict(type='dino_plugin.SelfDistillationOptimWrapper', ...)."
            )

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Count on the device; read the counts now and then."""
        losses = {name: value for name, value in (outputs or {}).items() if name.startswith('loss_')}
        self._finite[runner.iter + 1] = {name: value.isfinite().all() for name, value in losses.items()}
        stepped = runner.optim_wrapper.stepped
        if stepped is False:  # batches are being accumulated
            return
        skipped = (~stepped).int()
        if self._in_a_row is None:
            self._in_a_row = self._longest = self._since_look = torch.zeros_like(skipped)
        self._in_a_row = (self._in_a_row + 1) * skipped
        self._longest = torch.maximum(self._longest, self._in_a_row)
        self._since_look = self._since_look + skipped
        if stepped.device.type == 'cpu' or self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def _look(self, runner) -> None:
        runner.message_hub.update_scalar('train/grad_norm', runner.optim_wrapper.grad_norm.item())
        skipped, longest, finite = int(self._since_look), int(self._longest), self._finite
        self._since_look, self._longest = torch.zeros_like(self._since_look), self._in_a_row
        self._finite = {}
        if not skipped:  # the same in all processes, since their gradients are equal
            return
        self.total += skipped
        cause = _cause(finite)
        runner.logger.warning(f'Skipped {skipped} step(s) ({self.total} in all), teacher included; {cause}.')
        runner.message_hub.update_scalar('train/skipped_steps', self.total)
        runner.message_hub.update_info(_TOTAL, self.total)
        if longest >= self.max_in_a_row:
            raise RuntimeError(
                f'{longest} steps in a row had gradients that are not finite ({cause}), at iteration {runner.iter}. '
                'Resume from the last checkpoint with a lower learning rate, a smaller max_norm, or '
                "precision='bf16' / 'fp32' instead of 'fp16'."
            )


def _cause(finite: Mapping[int, Mapping[str, torch.Tensor]]) -> str:
    """What was not finite in any process: 'not finite: loss_dino (iteration 12 of process 1)'."""
    iterations, names = list(finite), list(next(iter(finite.values())))
    if not names:
        return 'gradients were not finite'
    table = torch.stack([torch.stack([finite[number][name] for name in names]) for number in iterations]).int()
    where: dict[str, list[str]] = {}
    for process, losses in enumerate(gather_over_ranks(table.T[None]).tolist()):
        of_process = f' of process {process}' if num_ranks() > 1 else ''
        for name, flags in zip(names, losses):
            places = [f'iteration {number}{of_process}' for number, flag in zip(iterations, flags) if not flag]
            where[name] = where.get(name, []) + places
    told = [f'{name} ({", ".join(places[:_SHOWN])})' for name, places in where.items() if places]
    return f'not finite: {"; ".join(told)}' if told else 'the losses were finite, their gradients were not'
