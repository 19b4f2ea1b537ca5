"""Parts of a step by themselves, and each of its fast paths beside the plain one."""

import argparse
import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmark.fast_paths import FAST_PATHS
from benchmark.networks import OurStep
from benchmark.reference import Reference
from benchmark.report import Report
from benchmark.step import plain_loss
from benchmark.ways import Outcome, Ways, time_ways
from dino_plugin.core.losses.dino import cross_view_entropy
from dino_plugin.core.targets import Centering


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """One after the other."""
    for name in options.only:
        ways = PARTS[name](options, reference) if name in PARTS else FAST_PATHS[name](options)
        time_ways(report, name, ways)


def ema(options: argparse.Namespace, _: Reference | None) -> Ways:
    """The teacher's move, of all parameters at once or one after the other."""
    distillation = OurStep(options, 'fp32').model.distillation
    student, teacher = list(distillation.student.parameters()), list(distillation.teacher.parameters())
    momentum = distillation.momentum(0.5)
    copies, flat = [parameter.detach().clone() for parameter in teacher], _flat(teacher)
    with torch.no_grad():
        torch._foreach_add_(student, 0.01)
    flat_student = _flat(student)

    @torch.no_grad()
    def plain() -> Outcome:
        for mine, theirs in zip(copies, student):
            mine.mul_(momentum).add_((1 - momentum) * theirs)
        return Outcome(copies)

    def ours() -> Outcome:
        distillation.update_teacher(0.5)
        return Outcome(teacher)

    def limit() -> None:
        flat.lerp_(flat_student, 0.5)

    named = dict(
        plain=(plain, 'parameter by parameter, as in facebookresearch/dino'),
        ours=(ours, 'update_teacher'),
        limit=(limit, 'one operation on as many numbers'),
    )
    return Ways(named, rounding=1e-6)


def optimizer(options: argparse.Namespace, _: Reference | None) -> Ways:
    """AdamW as PyTorch takes it by default, which facebookresearch/dino does, and as our configs ask for it."""
    ours = OurStep(options, 'fp32').optim_wrapper.optimizer
    groups = copy.deepcopy(ours.param_groups)
    for group, twin in zip(ours.param_groups, groups):
        twin['fused'] = None
        for weight, copied in zip(group['params'], twin['params']):
            weight.grad = torch.randn_like(weight)
            copied.grad = weight.grad.clone()

    def stepping(optimizer: torch.optim.Optimizer) -> Callable[[], Outcome]:
        weights = [weight for group in optimizer.param_groups for weight in group['params']]
        for _ in range(2):  # a third in the comparison
            optimizer.step()

        def step() -> Outcome:
            optimizer.step()
            return Outcome(weights)

        return step

    named = dict(
        plain=(stepping(torch.optim.AdamW(groups)), 'torch.optim.AdamW(groups)'),
        ours=(stepping(ours), 'AdamW(groups, fused=True)'),
    )
    return Ways(named, rounding=1e-6)


def loss(options: argparse.Namespace, reference: Reference | None) -> Ways:
    """From the scores, as cosines that a head might give, to loss, centre and gradient."""
    size = options.batch, options.prototypes
    student = (0.2 * torch.randn(2 + options.num_local, *size, device=options.device)).requires_grad_()
    teacher = 0.2 * torch.randn(2, *size, device=options.device)
    target = Centering(options.prototypes).to(options.device)

    def outcome(value: Tensor, center: Tensor) -> Outcome:
        return Outcome([value.detach(), center.flatten()], torch.autograd.grad(value, student))

    def by_formula() -> Outcome:
        return outcome(plain_loss(student, teacher), 0.1 * teacher.mean(dim=(0, 1)))

    def ours() -> Outcome:
        return outcome(cross_view_entropy(student, target(teacher, 0.04), 0.1), target.center)

    named = dict(plain=(by_formula, 'the formula'), ours=(ours, 'cross_view_entropy, Centering'))
    if reference:
        criterion = reference.main_dino.DINOLoss(options.prototypes, len(student), 0.04, 0.04, 0, 2).to(options.device)

        def theirs() -> Outcome:
            with reference.running_on(options.device):
                value = criterion(student.flatten(0, 1), teacher.flatten(0, 1), 1)
            return outcome(value, criterion.center)

        named = dict(reference=(theirs, 'DINOLoss'), **named)
    return Ways(named, rounding=1e-5)


def _flat(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


PARTS = dict(ema=ema, optimizer=optimizer, loss=loss)
