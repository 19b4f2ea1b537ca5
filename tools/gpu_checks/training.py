"""Twenty steps of each method on the device, beside the CPU's first steps in fp32."""

import argparse
import gc
import math
import statistics
from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

import torch

from gpu_checks.findings import Findings
from gpu_checks.recipes import METHODS, SPLITS, leave_configs_unformatted, recipe, size_of
from gpu_checks.recorder import Step, Training, train

# How far the device may be from the CPU's fp32 in its first steps, relative: losses, and the norm of all gradients.
# fp32 differs in the order of its sums; bf16 keeps 8 bits of each factor of a product, fp16 11. Measured on a CPU, all
# methods: ViT-S/16 in bf16 2.0e-4 and 3.3e-3, in fp16 1.0e-5 and 1.2e-4; a small network, with fewer prototypes to
# average over, in bf16 4.4e-3 and 1.3e-2. Several times that is allowed: kernels of a GPU sum in yet another order.
TOLERANCES = dict(
    full=dict(fp32=(1e-4, 1e-2), bf16=(2e-3, 4e-2), fp16=(1e-3, 2e-2)),
    small=dict(fp32=(1e-4, 1e-2), bf16=(2e-2, 1e-1), fp16=(5e-3, 5e-2)),
)
TEACHER = 1e-5  # rounding of the moving average


class Run(NamedTuple):
    """One training of the many."""

    method: str
    precision: str
    split: str
    compiled: bool = False
    as_shipped: bool = False  # with random depth and positions: not compared

    def __str__(self) -> str:
        words = [self.method, self.precision, self.split]
        return ' '.join(words + ['compiled'] * self.compiled + ['as shipped'] * self.as_shipped)


def every_run(compiled: bool) -> list[Run]:
    """Method, precision and split in all combinations; each pair of them comes early."""
    pairs = [(method, precision) for precision in ('bf16', 'fp16') for method in METHODS]
    combined = [
        Run(*pair, SPLITS[(number + number // len(METHODS) + turn) % len(SPLITS)], compiled)
        for turn in range(len(SPLITS))
        for number, pair in enumerate(pairs)
    ]
    if compiled:
        return combined
    exact = [Run(method, 'fp32', 'worker') for method in METHODS]
    return exact + [Run(method, 'auto', 'auto', as_shipped=True) for method in METHODS] + combined


def run(options: argparse.Namespace, findings: Findings) -> None:
    """Eager."""
    check_all(every_run(compiled=False), options, findings)


def check_all(runs: Sequence[Run], options: argparse.Namespace, findings: Findings) -> None:
    """One training after the other, while there is time."""
    torch.backends.cudnn.allow_tf32 = False  # the patch embedding is a convolution, and is compared, too
    leave_configs_unformatted()
    on_cpu = cache(partial(first_steps_on_cpu, options))
    for one in runs:
        findings.attempt(str(one), partial(_check, one, options, findings, on_cpu))
        if one.compiled:
            torch.compiler.reset()  # after some networks in one process PyTorch would compile no more
        gc.collect()  # runner and hooks refer to each other
        if options.device == 'cuda':
            torch.cuda.empty_cache()


def first_steps_on_cpu(options: argparse.Namespace, method: str, split: str) -> list[Step]:
    """In fp32. Of another split masks are others, so that each needs its own."""
    config = recipe(method, options, 'fp32', split)
    return train(config, 'cpu', watch_teacher=False, most=size_of(options).compared).steps


def _check(one: Run, options: argparse.Namespace, findings: Findings, on_cpu) -> None:
    config = recipe(one.method, options, one.precision, one.split, one.as_shipped, one.compiled)
    expected = [] if one.as_shipped else on_cpu(one.method, one.split)
    found = train(config, options.device)
    tolerance = TOLERANCES[options.size].get(one.precision, (0.0, 0.0))
    findings.check(str(one), *verdict(found, expected, tolerance), **figures(found, expected))


def figures(found: Training, expected: Sequence[Step]) -> dict[str, object]:
    """What one training did, in numbers."""
    loss_gaps, gradient_gaps = gaps(found.steps, expected)
    return dict(
        losses=[step.losses['loss'] for step in found.steps],
        loss_gaps=loss_gaps,
        gradient_gaps=gradient_gaps,
        skipped=sum(not step.stepped for step in found.steps),
        student_moved=found.student_moved,
        teacher_moved=found.teacher_moved,
        teacher_error=max(step.teacher_error for step in found.steps),
        seconds=statistics.median(step.seconds for step in found.steps),
    )


def gaps(found: Sequence[Step], expected: Sequence[Step]) -> tuple[list[float], list[float]]:
    """Of losses, the largest of all terms, and of gradients; up to the first skipped step."""
    losses, gradients = [], []
    for mine, right in zip(found, expected):
        losses.append(max(abs(mine.losses[name] - value) / scale(value) for name, value in right.losses.items()))
        if not mine.stepped:
            break
        gradients.append(abs(mine.grad_norm - right.grad_norm) / right.grad_norm)
    return losses, gradients


def scale(loss: float) -> float:
    """What a difference is relative to: terms near 0, such as Gram's at first, are not measured by themselves."""
    return max(abs(loss), 1.0)


def verdict(found: Training, expected: Sequence[Step], tolerance: tuple[float, float]) -> tuple[bool, str]:
    """Whether a training is as it should be, and in words what it was.

    Args:
        found: On the device.
        expected: Its first steps on the CPU; without them nothing is compared.
        tolerance: Of losses and gradients.
    """
    finite = all(math.isfinite(value) for step in found.steps for value in step.losses.values())
    skipped = sum(not step.stepped for step in found.steps)
    error = max(step.teacher_error for step in found.steps)
    moves = error < TEACHER and found.teacher_moved > 0 and found.student_moved > 0 and skipped < len(found.steps) / 2
    told = f'{len(found.steps)} steps, {skipped} skipped, losses {"finite" if finite else "NOT finite"}'
    told += f', teacher moved by {found.teacher_moved:.1e} with an error of {error:.1e}'
    if not expected:
        return finite and moves, told
    loss_gap, gradient_gap = (max(each, default=0.0) for each in gaps(found.steps, expected))
    most_loss, most_gradient = tolerance
    told += f', losses {loss_gap:.1e} and gradients {gradient_gap:.1e} from those of the CPU in fp32'
    told += f' (at most {most_loss:.0e} and {most_gradient:.0e})'
    return finite and moves and loss_gap <= most_loss and gradient_gap <= most_gradient, told
