"""What the first steps of healthy trainings showed, and how others are judged by it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from dino_plugin.doctor.findings import Finding

LAST = 0.2  # share of the steps, the last ones, whose median is judged
LEAST_INFORMATION = 0.02  # of a target about its image, as a share of the most that there can be
MUCH_CLIPPED = 10  # times `max_norm`; in the first steps of sound trainings all gradients may be above it
LEAST_RANK = 0.25  # of the effective rank of the first step


class Band(NamedTuple):
    """Of healthy trainings, over recipes, images and seeds; beyond the limits a training is unlike them.

    Attributes:
        low: Smallest measured.
        high: Largest.
        least: Half of the smallest, or less, where sound trainings may lie lower.
        most: Twice the largest, less where that is no share any more; infinite where it says nothing.
    """

    low: float
    high: float
    least: float
    most: float


HEALTHY = {
    # 50 steps of 52 trainings of small networks: 13 recipes, transformers and a ResNet, batches of 16, 32 and 64, the
    # learning rate of the recipe, half and double; docs/doctor.md says which, and how often others lie outside.
    'sharpness': Band(0.28, 0.53, 0.14, 0.92),
    'information': Band(0.40, 0.81, 0.20, math.inf),
    'divergence': Band(0.27, 0.35, 0.0, 0.7),
    # In proportion to the highest learning rate: the lowest published rule has a 24th of that of these trainings.
    'pace': Band(0.018, 0.072, 0.018 / 24 / 2, 0.144),
    'grad_norm': Band(0.47, 13.3, 0.24, 26.6),
}


def judge_first_steps(numbers: Mapping[str, Sequence[float]], clip: float | None, steps: int) -> list[Finding]:
    """What the first steps of the real training showed.

    Args:
        numbers: As from `FirstSteps`.
        clip: Largest norm of the gradient; None: it is not clipped.
        steps: How many there were.
    """
    said = [*_of_losses(numbers.get('loss', ()), steps), *_of_collapse(numbers)]
    told = {finding.subject for finding in said}
    said += _of_bands({name: values for name, values in numbers.items() if name not in told})
    norms = numbers.get('grad_norm', ())
    long = sum(norm > MUCH_CLIPPED * clip for norm in norms) if clip else 0
    if long > 0.9 * len(norms) and norms:
        found = f'{long} of {len(norms)} gradients are scaled down to less than a tenth, to {clip:g}'
        said.append(Finding('notice', 'clipping', found, 'a lower learning rate, a longer warm-up'))
    waiting, whole = sum(numbers.get('data_time', ())), sum(numbers.get('time', ()))
    if whole and waiting / whole > 0.3:
        said.append(Finding('notice', 'waiting for images', f'{waiting / whole:.0%} of the time', '--num-workers N'))
    return said


def last_value(values: Sequence[float]) -> float:
    """The median of the last steps."""
    return median(values[-max(1, int(LAST * len(values))) :])


def _of_losses(losses: Sequence[float], steps: int) -> Iterator[Finding]:
    if not all(map(math.isfinite, losses)):
        yield Finding('fault', 'first steps', 'the loss is not finite', 'dino-plugin replay shows where it began')
    elif losses:
        yield Finding('ok', 'first steps', f'loss {losses[0]:.3f} to {losses[-1]:.3f} in {steps} steps')


def _of_collapse(numbers: Mapping[str, Sequence[float]]) -> Iterator[Finding]:
    remedy = "target=dict(type='dino_plugin.SinkhornKnopp'), batch_norm=True in the head, a lower teacher temperature"
    for name, values in numbers.items():
        if name.startswith('information') and last_value(values) < LEAST_INFORMATION:
            found = f'{last_value(values):.1%} of what they could tell: every image gets the same target'
            yield Finding('warning', name, found, remedy)
    rank = numbers.get('effective_rank', ())
    if len(rank) > 1 and rank[-1] < max(1.5, LEAST_RANK * rank[0]) and rank[-1] < rank[0]:
        found = f'effective rank fell from {rank[0]:.1f} to {rank[-1]:.1f}: they collapse'
        yield Finding('warning', 'features', found, 'a lower learning rate, KoLeo, Sinkhorn-Knopp')
    distance = numbers.get('distance', ())
    if len(distance) > 2 and not distance[-1]:
        found = 'student and teacher are the same network'
        yield Finding('warning', 'distance', found, 'a learning rate above 0, and model.momentum.start=0.99')


def _of_bands(numbers: Mapping[str, Sequence[float]]) -> Iterator[Finding]:
    for name, values in numbers.items():
        band, value = HEALTHY.get(name.partition(' of ')[0]), last_value(values)
        if band is None or not math.isfinite(value):
            continue
        found = f'{value:.3g}, healthy trainings had {band.low:.2g} to {band.high:.2g}'
        if band.least <= value <= band.most:
            yield Finding('ok', name, found)
        else:
            remedy = REMEDIES[name.partition(' of ')[0]][value > band.most]
            yield Finding('notice', name, f'{found}: unlike them', remedy)


REMEDIES = {  # where it is too low, where it is too high
    'sharpness': ('a lower teacher_temperature', 'a higher teacher_temperature, Sinkhorn-Knopp'),
    'information': ('Sinkhorn-Knopp, batch_norm=True in the head', ''),
    'divergence': ('', 'a lower learning rate'),
    'pace': ('a higher learning rate', 'a lower learning rate, or a lower model.momentum.start'),
    'grad_norm': ('parts that are frozen by mistake?', 'a lower learning rate, a longer warm-up'),
}
