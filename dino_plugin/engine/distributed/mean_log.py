"""Logged numbers of training as means over the processes."""

from collections.abc import Mapping

import numpy as np
from mmengine.dist import all_gather_object, get_world_size
from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor


class MeanLogProcessor(LogProcessor):
    """mmengine's, whose numbers of training are means over the processes instead of those of the first one.

    Each process has a part of every batch, and its own losses of it. They stay with it until they are logged, and are
    exchanged then, all at once: no step waits for it.
    """

    _logged = 0  # iterations

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """mmengine's; all processes call it at the same iterations."""
        if mode == 'train' and get_world_size() > 1:
            average(runner.message_hub.log_scalars, runner.iter + 1 - self._logged)
            self._logged = runner.iter + 1
        return super().get_log_after_iter(runner, batch_idx, mode)


def average(histories: Mapping[str, HistoryBuffer], number: int) -> None:
    """Put means over the processes in place of the last values of training, in each process.

    What is equal in all processes stays as it is, and so do whole numbers.

    Args:
        histories: Of logged numbers, changed in place.
        number: Of values.
    """
    own = {
        name: history.data[0][-number:]
        for name, history in histories.items()
        if name.startswith('train/') and history.data[0].dtype.kind == 'f'
    }
    everywhere = all_gather_object(own)
    for name, values in own.items():
        parts = [others.get(name, values[:0]) for others in everywhere]
        if all(len(part) == len(values) for part in parts):
            same = np.all([part == values for part in parts], axis=0)
            values[:] = np.where(same, values, np.mean(parts, axis=0))
