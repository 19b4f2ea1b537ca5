"""Several ways to one outcome: the same values and gradients, sooner, in less memory."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from benchmark.report import Candidate, Report

Result = TypeVar('Result')


class Outcome(NamedTuple):
    """What one way computed."""

    values: Sequence[Tensor]
    gradients: Sequence[Tensor] = ()


class Ways(NamedTuple):
    """Two or more, the first of which is what the others are compared with.

    Args:
        named: By name, what is called and a note. What returns no `Outcome` is a limit, and not compared.
        rounding: How far outcomes may be apart, relative to their norm.
        same_chance: Under it all draw the same, where they draw anything.
    """

    named: dict[str, tuple[Callable[[], object], str]]
    rounding: float = 1e-4
    same_chance: Callable[[], AbstractContextManager] = nullcontext


def time_ways(report: Report, name: str, ways: Ways) -> None:
    """Check that all computed the same as the first, then time them."""
    expected, candidates = None, []
    for key, (run, note) in ways.named.items():
        with torch.backends.cudnn.flags(allow_tf32=False), ways.same_chance():
            found, memory = with_memory(run, report.device)
        candidates.append(Candidate(key, lambda _, run=run: run(), note, memory=memory))
        if expected is None:
            expected = found
        elif isinstance(found, Outcome):
            gaps = [relative_gap(*pair) for pair in zip(found, expected)]
            same = all(gap < ways.rounding for gap in gaps)  # a NaN is not
            report.check(name, same, f'{key}: values {gaps[0]:.1e}, gradients {gaps[1]:.1e} away, relative')
    report.compare(name, name.replace('_', ' ').capitalize(), 'call', candidates)


def relative_gap(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference of all tensors over that of all tensors; infinite for others in number or shape."""
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return float('inf')
    if not found:
        return 0.0
    with torch.no_grad():
        difference = torch.stack([(a.double() - b).norm() for a, b in zip(found, expected)]).norm()
        return float(difference / torch.stack([tensor.double().norm() for tensor in expected]).norm())


def with_memory(run: Callable[[], Result], device: str) -> tuple[Result, int]:
    """Its result, and the bytes that it needs beyond what is there, such as weights.

    On a GPU that is the peak, on a CPU what autograd keeps for the backward pass, each memory once.
    """
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        torch.cuda.synchronize()
        return result, torch.cuda.max_memory_allocated() - before
    sizes = {}

    def keep(tensor: Tensor) -> Tensor:
        whole = tensor if tensor._base is None else tensor._base
        if not (whole.is_leaf and whole.requires_grad):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    return result, sum(sizes.values())
