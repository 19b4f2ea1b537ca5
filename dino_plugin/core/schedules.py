"""Values that change over training: functions of progress in [0, 1] -> float.

Progress is the share of optimiser steps already taken. So a schedule keeps its shape when a recipe is made longer or
shorter, and a warm-up is never longer than the run.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Constant:
    """value(progress) = value"""

    value: float

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class Linear:
    """value(progress) = start + (end - start) * progress"""

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``start`` to ``end``.

    value(progress) = end + (start - end) * (1 + cos(pi * progress)) / 2

    References:
        Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5, without restarts.
    """

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Warmup:
    """A linear ramp from ``start`` during the first ``share`` of training, then another schedule.

    value(progress) = start + (then(0) - start) * progress / share        for progress < share
                      then((progress - share) / (1 - share))              from there on

    The second schedule sees its own progress from 0 to 1. DINO's code reaches the end of the ramp on the last warm-up
    step, this on the next step; after that both are equal.

    Args:
        start: Value at the first step.
        share: Length of the ramp as a share of training, in [0, 1).
        then: The schedule after the ramp, or a constant number.

    Raises:
        ValueError: If ``share`` lies outside [0, 1).
    """

    start: float
    share: float
    then: Schedule | float

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f'Warmup: share={self.share} is not in [0, 1); give the ramp as a share of training.')

    def __call__(self, progress: float) -> float:
        then = as_schedule(self.then)
        if progress < self.share:
            return self.start + (then(0.0) - self.start) * progress / self.share
        return then((progress - self.share) / (1 - self.share))


@dataclass(frozen=True)
class Switch:
    """One value until a point of training, then a schedule, which sees its own progress from 0 to 1.

    value(progress) = before                                    for progress < share
                      then((progress - share) / (1 - share))    from there on

    Args:
        before: Value before the point.
        share: The point, as a share of training in [0, 1).
        then: The schedule after the point, or a constant number.

    Raises:
        ValueError: If ``share`` lies outside [0, 1).
    """

    before: float
    share: float
    then: Schedule | float

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f'Switch: share={self.share} is not in [0, 1); give the point as a share of training.')

    def __call__(self, progress: float) -> float:
        if progress < self.share:
            return self.before
        return as_schedule(self.then)((progress - self.share) / (1 - self.share))


def as_schedule(value: object) -> Schedule:
    """A schedule: a number becomes a constant one, a schedule is returned unchanged.

    Raises:
        TypeError: If ``value`` is neither.
    """
    if callable(value):
        return value
    if isinstance(value, int | float):
        return Constant(float(value))
    raise TypeError(f'A schedule is a number or a function of progress, not {value!r}.')


def schedule_between(value: object, name: str, least: float, most: float = math.inf) -> Schedule:
    """`as_schedule`, checked at 101 points of progress, so that training does not start with a wrong value.

    Args:
        value: A number or a schedule.
        name: Its name in the error message.
        least: Smallest allowed value.
        most: Largest allowed value.

    Raises:
        TypeError: As in `as_schedule`.
        ValueError: If a value lies outside [least, most], or is NaN.
    """
    schedule = as_schedule(value)
    for percent in range(101):
        found = schedule(percent / 100)
        if not least <= found <= most:
            expected = f'in [{least:g}, {most:g}]' if most < math.inf else f'{least:g} or more'
            raise ValueError(f'{name} must be {expected}; it is {found:g} after {percent} % of training.')
    return schedule
