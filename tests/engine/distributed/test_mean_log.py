"""Two processes log the means of their numbers, and each has them afterwards."""

import math

import numpy as np
from mmengine.logging import HistoryBuffer
from processes import run_in_processes

from dino_plugin.engine.distributed.mean_log import average


def numbers_of_a_process(rank):
    histories = {
        'train/loss': HistoryBuffer([9.0, 1.0 + rank, math.nan if rank else 5.0], [1, 1, 1]),
        'train/lr': HistoryBuffer([0.1, 0.1, 0.3], [1, 1, 1]),
        'train/skipped_steps': HistoryBuffer([0, 0, rank], [1, 1, 1]),
        'knn/top1': HistoryBuffer([50.0 + rank], [1]),
        **({} if rank else {'train/seen_by_the_first': HistoryBuffer([7.0], [1])}),
    }
    for _ in range(2):  # what is averaged stays
        average(histories, 2)
    found = {name: history.data[0].tolist() for name, history in histories.items()}
    np.testing.assert_equal(found.pop('train/loss'), [9.0, 1.5, math.nan])
    others = {} if rank else {'train/seen_by_the_first': [7.0]}
    assert (
        found == {'train/lr': [0.1, 0.1, 0.3], 'train/skipped_steps': [0, 0, rank], 'knn/top1': [50.0 + rank]} | others
    )


def test_losses_are_means_over_the_processes_and_equal_or_whole_numbers_stay():
    run_in_processes(numbers_of_a_process)
