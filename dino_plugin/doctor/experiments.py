"""Does a copy learn? One batch again and again, and rising learning rates."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.views import ViewBatch
from dino_plugin.doctor.findings import Finding

LEAST_FALL = 0.02  # of the loss on one batch, as a share of its first value
Watch = Callable[[Iterable, str], Iterator]


def overfit(distillation: SelfDistillation, views: ViewBatch, rate: float, steps: int, watch: Watch) -> list[float]:
    """Total losses of a copy that trains on one batch with a teacher and targets that stand still.

    Args:
        distillation: Left as it is.
        views: Normalised, on its device.
        rate: Learning rate of AdamW.
        steps: Of training.
        watch: Shows progress.
    """
    own = _standing_copy(distillation)
    optimiser = torch.optim.AdamW([part for part in own.student.parameters() if part.requires_grad], lr=rate)
    return [_step(own, views, optimiser) for _ in watch(range(steps), 'one batch')]


def rising_rates(
    distillation: SelfDistillation, batches: Sequence[ViewBatch], least: float, most: float, steps: int, watch: Watch
) -> tuple[list[float], list[float]]:
    """Learning rates from `least` to `most`, each a constant factor above the last, and the loss before each step."""
    own = _standing_copy(distillation)
    optimiser = torch.optim.AdamW([part for part in own.student.parameters() if part.requires_grad], lr=least)
    rates, losses = [], []
    for number in watch(range(steps), 'learning rates'):
        rate = least * (most / least) ** (number / (steps - 1))
        optimiser.param_groups[0]['lr'] = rate
        rates.append(rate)
        losses.append(_step(own, batches[number % len(batches)], optimiser))
        if not math.isfinite(losses[-1]):
            break
    return rates, losses


def _standing_copy(distillation: SelfDistillation) -> SelfDistillation:
    own = copy.deepcopy(distillation).train()
    for loss in own.losses.values():
        if isinstance(getattr(loss, 'target', None), nn.Module):
            loss.target.eval()  # a centre that moves would change the targets
    return own


def _step(own: SelfDistillation, views: ViewBatch, optimiser: torch.optim.Optimizer) -> float:
    total = torch.stack(list(own(views, 0.0).values())).sum()
    optimiser.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(own.student.parameters(), 3.0)
    optimiser.step()
    own.update_teacher(0.0, stepped=False)  # it stays, and statistics with it
    return float(total.detach())


def judge_overfit(losses: Sequence[float]) -> list[Finding]:
    """The loss of one batch should fall, whatever the images are."""
    first, last = losses[0], min(losses[-5:])
    if not all(map(math.isfinite, losses)):
        return [Finding('fault', 'one batch', 'the loss is not finite', 'a lower learning rate, precision fp32')]
    fall = (first - last) / max(abs(first), 1e-12)
    found = f'with targets that stand still the loss went from {first:.3f} to {last:.3f} in {len(losses)} steps'
    if last > first:
        return [Finding('fault', 'one batch', found, 'it rises: a lower optim_wrapper.optimizer.lr')]
    if fall < LEAST_FALL:
        remedy = 'a higher learning rate, batch norm in the head on few images, or parts that are frozen by mistake'
        return [Finding('fault', 'one batch', found, f'the student cannot learn even this: {remedy}')]
    return [Finding('ok', 'one batch', found)]


class Range(NamedTuple):
    """Of learning rates.

    Attributes:
        best: Where the smoothed loss is lowest.
        breaks: From where on half of what was gained is lost again; infinite if it never is.
    """

    best: float
    breaks: float


def range_of(rates: Sequence[float], losses: Sequence[float], memory: float = 0.7) -> Range:
    """The range by a running mean of the losses, of which the old value keeps the share `memory`."""
    smooth, mean = [], losses[0]
    for loss in losses:
        mean = memory * mean + (1 - memory) * (loss if math.isfinite(loss) else math.inf)
        smooth.append(mean)
    lowest = min(range(len(smooth)), key=lambda place: smooth[place])
    limit = (smooth[0] + smooth[lowest]) / 2
    after = zip(rates[lowest + 1 :], smooth[lowest + 1 :])
    return Range(rates[lowest], next((rate for rate, loss in after if loss > limit), math.inf))


def judge_range(found: Range, rate: float) -> list[Finding]:
    """The highest learning rate of the config against the range."""
    said = f'the loss is lowest at {found.best:.1e} and rises from {found.breaks:.1e} on; the config has {rate:.1e}'
    if rate > found.breaks:
        level = 'fault' if rate > 10 * found.breaks else 'warning'
        return [Finding(level, 'learning rate', said, f'optim_wrapper.optimizer.lr={found.best / 3:.0e}')]
    if rate < found.best / 1000:
        return [Finding('notice', 'learning rate', said, 'it may be slow; try a higher one')]
    return [Finding('ok', 'learning rate', said)]
