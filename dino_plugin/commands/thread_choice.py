"""How many threads PyTorch computes with fastest on this machine: small networks gain little from many cores."""

import time
from collections.abc import Callable

import torch

from dino_plugin.data.views.split_of_work import num_cores

_RUNS = 3
_GAIN = 0.9  # twice as many threads stay if they need no more than this share of the time


def choose_threads(work: Callable[[], object], most: int | None = None) -> int:
    """Let PyTorch compute with 1, 2, 4 … threads, as long as each doubling takes a tenth off the time of ``work``.

    Sums in several threads are rounded in another order, so results differ with the number of threads in their last
    digits, and trainings by what grows out of that.

    Args:
        work: What is timed, such as one training step; the best of three runs counts, after one to warm up.
        most: Threads at most; None: the cores that this process may use.

    Returns:
        The number, which PyTorch uses from now on.
    """
    most = num_cores() if most is None else most
    threads, seconds = 1, _seconds(work, 1)
    while threads < most:
        more = min(2 * threads, most)
        needed = _seconds(work, more)
        if needed > _GAIN * seconds:
            break
        threads, seconds = more, needed
    torch.set_num_threads(threads)
    return threads


def _seconds(work: Callable[[], object], threads: int) -> float:
    torch.set_num_threads(threads)
    found = []
    for _ in range(1 + _RUNS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found[1:])
