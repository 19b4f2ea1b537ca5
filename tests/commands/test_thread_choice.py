"""The number of threads follows the time of the work, not the number of cores."""

import time

import pytest
import torch

from dino_plugin.commands import thread_choice
from dino_plugin.commands.thread_choice import choose_threads


class Machine:
    """Work that takes a known time with each number of threads; its clock stands still otherwise."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.threads, self.now, self.tried = seconds, 0, 0.0, []

    def work(self) -> None:
        self.tried.append(self.threads)
        self.now += self.seconds[self.threads] + (5.0 if self.tried.count(self.threads) == 1 else 0.0)  # warming up

    def set_num_threads(self, number: int) -> None:
        self.threads = number


@pytest.fixture
def machine(monkeypatch):
    def build(seconds: dict[int, float]) -> Machine:
        built = Machine(seconds)
        monkeypatch.setattr(torch, 'set_num_threads', built.set_num_threads)
        monkeypatch.setattr(time, 'perf_counter', lambda: built.now)
        return built

    return build


@pytest.mark.parametrize(
    ('seconds', 'most', 'chosen'),
    [
        ({1: 1.0, 2: 0.6, 4: 0.4, 8: 0.5, 16: 0.1}, 16, 4),  # eight are slower, so sixteen are not tried
        ({1: 1.0, 2: 0.6, 4: 0.58}, 4, 2),  # four win less than a tenth
        ({1: 1.0, 2: 0.6, 3: 0.4}, 3, 3),  # as many as there are cores
        ({1: 1.0, 2: 1.7}, 2, 1),  # another program keeps the second core busy
        ({1: 1.0}, 1, 1),
    ],
)
def test_threads_are_doubled_while_that_pays(machine, seconds, most, chosen):
    built = machine(seconds)
    assert choose_threads(built.work, most) == chosen
    assert built.threads == chosen


def test_the_most_is_the_number_of_cores(machine, monkeypatch):
    built = machine({1: 1.0, 2: 0.5, 4: 0.25, 6: 0.2})
    monkeypatch.setattr(thread_choice, 'num_cores', lambda: 6)
    assert choose_threads(built.work) == 6


def test_one_slow_run_does_not_decide(machine):
    built = machine({1: 1.0, 2: 0.5})
    work = built.work

    def disturbed() -> None:
        work()
        if built.tried == [1, 1, 1, 1, 2, 2]:
            built.now += 10.0

    assert choose_threads(disturbed, 2) == 2
