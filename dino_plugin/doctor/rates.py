"""Learning rates of the optimiser's groups, and the highest one against the rules for the batch."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.optim import Adam, AdamW, Optimizer

from dino_plugin.doctor.findings import Finding

FAR = 10  # times above or below the rules


class Rule(NamedTuple):
    """A published learning rate of AdamW for a batch; it grows with the batch to the power of `power`."""

    rate: float
    batch: int
    power: float

    def __call__(self, batch: int) -> float:
        """The rate for another batch."""
        return self.rate * (batch / self.batch) ** self.power


# DINO (arXiv:2104.14294); the long and the short schedule of DINOv2 (arXiv:2304.07193).
RULES = (Rule(5e-4, 256, 1.0), Rule(2e-4, 1024, 0.5), Rule(4e-3, 1024, 0.5))


def judge_size(optimizer: Optimizer, batch: int, released: bool) -> list[Finding]:
    """The highest rate of AdamW against the lowest and the highest rule; other optimisers have rates of their own.

    Args:
        optimizer: Of the training, after the config's rule for the batch.
        batch: Images of a step, of all processes.
        released: Whether the network starts from trained weights, which often change little.
    """
    rate = highest_rate(optimizer)
    if not isinstance(optimizer, (Adam, AdamW)) or not rate:
        return []
    usual = sorted(rule(batch) for rule in RULES)
    found = f'{rate:.1e} with {batch} images a step; published rules give {usual[0]:.1e} to {usual[-1]:.1e}'
    if usual[0] / FAR <= rate <= usual[-1] * FAR:
        return [Finding('ok', 'size of the learning rate', found)]
    level = 'notice' if released and rate < usual[0] else 'warning'
    between = f'optim_wrapper.optimizer.lr so that it is {math.sqrt(usual[0] * usual[-1]):.0e} after auto_scale_lr'
    return [Finding(level, 'size of the learning rate', found, between)]


def highest_rate(optimizer: Optimizer) -> float:
    """Of all groups, after the warm-up."""
    return max(_rate(group) for group in optimizer.param_groups)


def judge_rates(groups: Sequence[dict[str, Any]]) -> list[Finding]:
    """The highest learning rates of the optimiser's groups, by the part of the model that they train."""
    rates: dict[str, list[float]] = {}
    for group in groups:
        part = 'last layer' if group.get('last_layer') else str(group.get('module') or 'all')
        rates.setdefault(part, []).append(_rate(group))
    ranges = {part: (min(values), max(values)) for part, values in rates.items()}
    parts = [f'{part} {low:.2g}' + (f' to {high:.2g}' if high > low else '') for part, (low, high) in ranges.items()]
    return [Finding('ok', 'learning rates', ', '.join(parts))]


def _rate(group: dict[str, Any]) -> float:
    return max(group['lr'], group.get('initial_lr', 0.0))
