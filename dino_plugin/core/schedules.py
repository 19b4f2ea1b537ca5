"""Values that change over training: functions of progress in [0, 1] -> float.

Progress is the share of optimiser steps already taken, so a recipe keeps its shape whatever its length: there is no
number of epochs to adjust, and no run too short for its own warm-up.
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
    """A straight line from ``start`` for the first ``share`` of training, then another schedule.

    value(progress) = start + (then(0) - start) * progress / share        for progress < share
                      then((progress - share) / (1 - share))              from there on

    The schedule that follows sees its own progress from 0 to 1. DINO's code reaches the top of the ramp on the last
    warm-up step and this on the first step after it; beyond the ramp both agree exactly.

    Args:
        start: Value at the first step.
        share: Length of the ramp as a share of training, in [0, 1).
        then: What follows: a schedule, or a number that stays.

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
    """One value until a point of training, then another schedule, which sees its own progress from 0 to 1.

    value(progress) = before                                    for progress < share
                      then((progress - share) / (1 - share))    from there on

    Args:
        before: Value until then.
        share: The point, as a share of training in [0, 1).
        then: What follows: a schedule, or a number that stays.

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
    """A number becomes a constant schedule; a schedule stays itself.

    Raises:
        TypeError: If ``value`` is neither.
    """
    if callable(value):
        return value
    if isinstance(value, int | float):
        return Constant(float(value))
    raise TypeError(f'A schedule is a number or a function of progress, not {value!r}.')


def schedule_between(value: object, name: str, least: float, most: float = math.inf) -> Schedule:
    """`as_schedule`, looked at in 101 points of training: a wrong value is refused before it begins.

    Args:
        value: A number or a schedule.
        name: What the message calls it.
        least: Smallest value that is allowed.
        most: Largest value that is allowed.

    Raises:
        TypeError: As in `as_schedule`.
        ValueError: If a value lies outside, or is not a number.
    """
    schedule = as_schedule(value)
    for percent in range(101):
        found = schedule(percent / 100)
        if not least <= found <= most:
            expected = f'in [{least:g}, {most:g}]' if most < math.inf else f'{least:g} or more'
            raise ValueError(f'{name} must be {expected}; it is {found:g} after {percent} % of training.')
    return schedule
