"""Candidates, timed in turn in one process."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

CLOCKS = ('cpu', 'wall')


def nothing() -> None:
    """What a candidate needs before a call, by default."""


class Candidate(NamedTuple):
    """One way to do a piece of work.

    Args:
        name: In the JSON.
        run: One call, timed; it is given the number of the round, so that rounds may have different inputs.
        note: For the table: what this is.
        units: How many of what the comparison counts (images, frames…) one call makes.
        prepare: Called before each ``run``, and not timed.
    """

    name: str
    run: Callable[[int], object]
    note: str = ''
    units: float = 1
    prepare: Callable[[], object] = nothing


class Timing(NamedTuple):
    """Seconds of one call: by the clock on the wall, and of this process's own threads."""

    wall: float
    cpu: float


@dataclass
class Comparison:
    """Candidates for the same work, and what was measured of them.

    A machine that others use as well is slow at one moment and fast at the next. So all candidates are called in every
    round, one after the other, and a ratio is the median of the ratios within rounds.

    Args:
        title: For the table.
        unit: What a figure is for: 'image', 'step'…
        clock: ``'cpu'`` counts the seconds that this process computed, whatever else the machine did; ``'wall'`` is
            for work of other processes or of a device.
        baseline: Name of the candidate that the others are compared with; None: nothing to compare with.
        section: Key of the JSON under which the ratios stand.
        candidates: In the order of the table.
        timings: Of each candidate, round by round.
    """

    title: str
    unit: str
    clock: str = 'cpu'
    baseline: str | None = None
    section: str = 'ratios'
    candidates: Sequence[Candidate] = ()
    timings: dict[str, list[Timing]] = field(default_factory=dict)

    def seconds(self, name: str, clock: str | None = None) -> list[float]:
        """Seconds for one unit, round by round."""
        units = next(candidate.units for candidate in self.candidates if candidate.name == name)
        return [getattr(timing, clock or self.clock) / units for timing in self.timings.get(name, [])]

    def ratios(self, name: str, clock: str | None = None) -> list[float]:
        """How many times as fast as the baseline, round by round; empty without one, and for the baseline itself."""
        if self.baseline in (None, name):
            return []
        return [slow / fast for slow, fast in zip(self.seconds(self.baseline, clock), self.seconds(name, clock))]


def measure(comparison: Comparison, rounds: int, warm_up: int, device: torch.device) -> Iterator[None]:
    """Call each candidate once a round, yielding after each call; fills ``comparison.timings`` on the way.

    The order turns by one from round to round: no candidate always runs behind the same other one. Warm-up rounds are
    not counted.
    """
    for number in range(-warm_up, rounds):
        start = number % len(comparison.candidates)
        for candidate in [*comparison.candidates[start:], *comparison.candidates[:start]]:
            candidate.prepare()
            timing = time_call(candidate.run, max(number, 0), device)
            if number >= 0:
                comparison.timings.setdefault(candidate.name, []).append(timing)
            yield


def time_call(run: Callable[[int], object], number: int, device: torch.device) -> Timing:
    """Of one call, to the end of what it started on a GPU."""
    finish = torch.cuda.synchronize if device.type == 'cuda' else nothing
    finish()
    wall, cpu = time.perf_counter(), time.process_time()
    run(number)
    finish()
    return Timing(time.perf_counter() - wall, time.process_time() - cpu)


def median(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return statistics.median(values) if values else float('nan')
