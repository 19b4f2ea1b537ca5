"""Parts of a step by themselves, and each of its fast paths beside the plain one."""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dino_plugin.benchmark.arguments import COMPILED
from dino_plugin.benchmark.harness import Candidate
from dino_plugin.benchmark.networks import OurStep
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.benchmark.switch import relative_gap, time_switch
from dino_plugin.benchmark.switches import SWITCHES
from dino_plugin.core.losses.dino import cross_view_entropy
from dino_plugin.core.targets import Centering
from dino_plugin.engine.training.optim import SelfDistillationOptimWrapper

MAX_NORM = 3.0


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """One after the other."""
    shared = dict(device=options.device, clock='cpu' if options.device == 'cpu' else 'wall', unit='step')
    for name in options.only:
        if name in PARTS:
            PARTS[name](options, report, reference, shared)
        elif name in COMPILED and not options.compile:
            command = f'python tools/benchmark.py parts --only {name} --compile'
            report.say_missing(name, f'not measured: compiling takes minutes; {command}')
        else:
            time_switch(report, name, SWITCHES[name](options), shared)


def _time_ema(options: argparse.Namespace, report: Report, _: Reference | None, shared: dict) -> None:
    distillation = OurStep(options, options.model, 'fp32', options.device).model.distillation
    student, teacher = list(distillation.student.parameters()), list(distillation.teacher.parameters())
    momentum = distillation.momentum(0.5)

    @torch.no_grad()
    def loop(_: int) -> None:
        for mine, theirs in zip(teacher, student):
            mine.mul_(momentum).add_((1 - momentum) * theirs)

    with torch.no_grad():
        torch._foreach_add_(student, 0.01)
    start = [parameter.clone() for parameter in teacher]
    loop(0)
    expected = [parameter.clone() for parameter in teacher]
    torch._foreach_copy_([parameter.data for parameter in teacher], start)
    distillation.update_teacher(0.5)
    gap = _largest_gap(teacher, expected)
    report.check('ema', gap < 1e-6, f'teachers {gap:.1e} apart')
    ours = Candidate('ema', lambda _: distillation.update_teacher(0.5), 'ours: update_teacher')
    plain = Candidate('loop_ema', loop, 'parameter by parameter, as in facebookresearch/dino')
    flat = [torch.cat([parameter.detach().flatten() for parameter in side]) for side in (teacher, student)]
    limit = Candidate('one_lerp', lambda _: flat[0].lerp_(flat[1], 0.5), 'the limit: one operation on as many numbers')
    report.compare("The teacher's move", [plain, ours, limit], baseline='loop_ema', **shared)


def _time_optimizer(options: argparse.Namespace, report: Report, _: Reference | None, shared: dict) -> None:
    """AdamW as PyTorch takes it by default, which facebookresearch/dino does, and as our configs ask for it."""
    ours = OurStep(options, options.model, 'fp32', options.device).optim_wrapper.optimizer
    parameters = [parameter for group in ours.param_groups for parameter in group['params']]
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    groups, taken = [], iter(copies)
    for group in ours.param_groups:
        mine = [next(taken) for _ in group['params']]
        groups.append(dict(params=mine, lr=group['lr'], weight_decay=group['weight_decay']))
    plain = torch.optim.AdamW(groups)
    for parameter, copy in zip(parameters, copies):
        parameter.grad = torch.randn_like(parameter)
        copy.grad = parameter.grad.clone()
    for _ in range(3):
        plain.step()
        ours.step()
    gap = _largest_gap(parameters, copies)
    report.check('optimizer', gap < 1e-6, f'weights {gap:.1e} apart after three steps')
    candidates = [
        Candidate('default_optimizer', lambda _: plain.step(), 'torch.optim.AdamW(groups)'),
        Candidate('optimizer', lambda _: ours.step(), 'ours: AdamW(groups, fused=True)'),
    ]
    report.compare('The optimiser', candidates, baseline='default_optimizer', **shared)


class _Standstill(torch.optim.Optimizer):
    """Moves nothing, so that only what the wrapper does around a step is measured."""

    def step(self, closure: Callable | None = None) -> None:
        """Nothing."""


def _time_clip(options: argparse.Namespace, report: Report, reference: Reference | None, shared: dict) -> None:
    student = OurStep(options, options.model, 'fp32', options.device).model.distillation.student
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    saved = [torch.randn_like(parameter) for parameter in parameters]
    wrapper = SelfDistillationOptimWrapper(_Standstill(parameters, {}), precision='fp32', max_norm=MAX_NORM)

    def refill() -> None:
        for parameter, gradient in zip(parameters, saved):
            parameter.grad = gradient.clone()

    def gradients_after(clip: Callable[[], object]) -> list[Tensor]:
        refill()
        clip()
        return [parameter.grad for parameter in parameters]

    found = gradients_after(wrapper.step)
    plain = [gradient * min(1.0, MAX_NORM / float(gradient.norm() + 1e-6)) for gradient in saved]
    candidates = [
        Candidate('clip', lambda _: wrapper.step(), 'ours: with the check for finite gradients', prepare=refill)
    ]
    gap = _largest_gap(found, plain)
    report.check('clip', gap < 1e-5, f'gradients {gap:.1e} from the plain formula')
    if reference:
        clip = reference.module('utils').clip_gradients
        gap = _largest_gap(found, gradients_after(lambda: clip(student, MAX_NORM)))
        report.check('clip', gap < 1e-5, f'and {gap:.1e} from the reference')
        theirs = Candidate('reference_clip', lambda _: clip(student, MAX_NORM), 'clip_gradients', prepare=refill)
        candidates.insert(0, theirs)
    report.compare('Clipping, parameter by parameter', candidates, baseline='reference_clip', **shared)


def _time_loss(options: argparse.Namespace, report: Report, reference: Reference | None, shared: dict) -> None:
    """From the scores, as cosines that a head might give, to their gradient; and the centre's move."""
    size = options.batch, options.prototypes
    student = (0.2 * torch.randn(2 + options.num_local, *size, device=options.device)).requires_grad_()
    teacher = 0.2 * torch.randn(2, *size, device=options.device)
    target = Centering(options.prototypes).to(options.device)

    def with_gradient(loss: Tensor) -> tuple[Tensor, Tensor]:
        return loss.detach(), *torch.autograd.grad(loss, student)

    def ours() -> tuple[Tensor, Tensor]:
        return with_gradient(cross_view_entropy(student, target(teacher, 0.04), 0.1))

    found = ours()
    _check_loss(report, 'the plain formula', found, with_gradient(_plain_loss(student, teacher)))
    candidates = [Candidate('loss', lambda _: ours(), 'ours: cross_view_entropy, Centering')]
    if reference:
        criterion = reference.module('main_dino').DINOLoss(options.prototypes, len(student), 0.04, 0.04, 0, 2)
        criterion = criterion.to(options.device)

        def theirs() -> tuple[Tensor, Tensor]:
            with reference.running_on(options.device):
                loss = criterion(student.flatten(0, 1), teacher.flatten(0, 1), 1)
            return with_gradient(loss)

        _check_loss(report, 'the reference', found, theirs())
        gap = float((criterion.center.flatten() - teacher.mean(dim=(0, 1)) * 0.1).abs().max())
        report.check('loss', gap < 1e-6, f'centres {gap:.1e} apart')
        candidates.insert(0, Candidate('reference_loss', lambda _: theirs(), 'DINOLoss'))
    report.compare('The loss, forward and backward', candidates, baseline='reference_loss', **shared)


def _plain_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """One pair of different views after the other; the centre is zero."""
    terms = [
        -((teacher[t] / 0.04).softmax(dim=-1) * (student[s] / 0.1).log_softmax(dim=-1)).sum(dim=-1).mean()
        for t in range(len(teacher))
        for s in range(len(student))
        if s != t
    ]
    return torch.stack(terms).mean()


def _check_loss(report: Report, what: str, found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    gap, gradient_gap = (relative_gap([ours], [theirs]) for ours, theirs in zip(found, expected))
    report.check('loss', gap < 1e-5 and gradient_gap < 1e-4, f'{gap:.1e} and gradient {gradient_gap:.1e} from {what}')


def _largest_gap(ours: list[Tensor], theirs: list[Tensor]) -> float:
    with torch.no_grad():
        return max(float((a - b).abs().max()) for a, b in zip(ours, theirs))


PARTS = dict(ema=_time_ema, optimizer=_time_optimizer, clip=_time_clip, loss=_time_loss)
