"""One fast path beside the plain one that it replaces: the same values and gradients, sooner, in less memory."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dino_plugin.benchmark.harness import Candidate
from dino_plugin.benchmark.report import Report

FP32, BF16 = 1e-4, 5e-2  # gaps of values and of gradients that are rounding, relative to their norm


class Outcome(NamedTuple):
    """What one side computed."""

    values: list[Tensor]
    gradients: Sequence[Tensor] = ()


class Switch(NamedTuple):
    """Two ways to one outcome.

    Args:
        plain: Without the fast path.
        fast: As in training.
        plain_note: For the table.
        note: For the table.
        rounding: How far the outcomes may be apart.
        same_chance: Under it both sides draw the same, where they draw anything.
    """

    plain: Callable[[], Outcome]
    fast: Callable[[], Outcome]
    plain_note: str
    note: str
    rounding: float = FP32
    same_chance: Callable[[], AbstractContextManager] = nullcontext


def time_switch(report: Report, name: str, switch: Switch, shared: dict) -> None:
    """Check that both sides computed the same, then time them; ratios stand in a section of their own.

    Args:
        report: Takes the results.
        name: Of the fast side; the other is ``plain_`` and this.
        switch: Both sides.
        shared: Fields of the comparison.
    """
    with torch.backends.cudnn.flags(allow_tf32=False), switch.same_chance():
        expected, plain_bytes = saved_for_backward(switch.plain)
        found, fast_bytes = saved_for_backward(switch.fast)
    gap = relative_gap(found.values, expected.values)
    gradient_gap = relative_gap(found.gradients, expected.gradients)
    same = gap < switch.rounding and gradient_gap < switch.rounding  # a NaN is not
    report.check(name, same, f'values {gap:.1e}, gradients {gradient_gap:.1e} apart, relative')
    sides = (
        (f'plain_{name}', switch.plain, switch.plain_note, plain_bytes),
        (name, switch.fast, switch.note, fast_bytes),
    )
    candidates = []
    for side, run, note, kept in sides:
        report.extra.setdefault('saved_for_backward_mb', {})[side] = kept / 1e6
        note = f'{note}; {kept / 1e6:.3g} MB kept for the backward pass' if plain_bytes else note
        candidates.append(Candidate(side, lambda _, run=run: run(), note))
    title = name.replace('_', ' ').capitalize()
    report.compare(title, candidates, baseline=f'plain_{name}', section='switches', **{**shared, 'unit': 'call'})


def saved_for_backward(run: Callable[[], Any]) -> tuple[Any, int]:
    """What it gives, and the bytes that autograd kept meanwhile, but for weights, which are there anyhow."""
    sizes = {}

    def keep(tensor: Tensor) -> Tensor:
        whole = tensor if tensor._base is None else tensor._base
        if not (whole.is_leaf and whole.requires_grad):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outcome = run()
    return outcome, sum(sizes.values())


def relative_gap(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference of all tensors over that of all tensors; infinite for others in number or shape."""
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return float('inf')
    if not found:
        return 0.0
    difference = torch.stack([(a.double() - b).norm() for a, b in zip(found, expected)]).norm()
    return float(difference / torch.stack([tensor.double().norm() for tensor in expected]).norm())
