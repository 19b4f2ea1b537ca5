"""A whole training step: forward, loss, backward, clipping, optimiser, teacher."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from benchmark.collate import flat_views
from benchmark.networks import OurStep, ReferenceStep, random_views
from benchmark.reference import Reference
from benchmark.report import Candidate, Report
from benchmark.step_profile import profile_step
from benchmark.ways import relative_gap, with_memory
from dino_plugin.core.views import ViewBatch

# Ours, by name of candidate: arguments of `OurStep`.
WAYS = dict(
    cpu=dict(fp32=dict(precision='fp32'), bf16=dict(precision='bf16')),
    cuda=dict(compiled=dict(precision='bf16', compile_blocks=True), bf16=dict(precision='bf16')),
)
ROUNDING = 1e-5  # of the loss, relative; a hundred times that of one operation in float32
GRADIENT_ROUNDING = 1e-3  # of the norm of all gradients
BF16 = 1e-2  # of the loss
POSITIONS = 'backbone.pos_embed'


def run(options: argparse.Namespace, report: Report, reference: Reference | None) -> None:
    """Check loss and gradients, then time whole steps."""
    views = random_views(options)
    if options.profile:
        profile_step(report, options.profile, views)
        return
    floats = check_step(report, reference, views)
    candidates = []
    if reference:
        half = options.device == 'cuda'
        build = partial(ReferenceStep, reference, options, drop_path=0.1, half=half)
        note = f'its train_one_epoch, {"fp16 autocast" if half else "fp32"}'
        candidates.append(step_candidate('reference', build, floats, note, options))
    for name, arguments in WAYS[options.device].items():
        note = f'ours{", blocks compiled" if name == "compiled" else ""}, in {arguments["precision"]}'
        candidates.append(step_candidate(name, partial(OurStep, options, **arguments), views, note, options))
    report.compare('step', f'ViT-{options.model}/16, {options.batch} images, {options.device}', 'image', candidates)


def step_candidate(
    name: str, build: Callable[[], Callable], views: object, note: str, options: argparse.Namespace
) -> Candidate:
    """Build one side; its memory is that of itself, however much the sides before it hold.

    Args:
        name: Of the candidate.
        build: Makes the side.
        views: What each step is given.
        note: For the table.
        options: With the device and the batch.
    """

    def first_steps() -> Callable:
        side = build()
        for _ in range(1 if options.device == 'cpu' else 3):  # compiles, makes the states of the optimiser
            side(views)
        return side

    side, memory = with_memory(first_steps, options.device)
    return Candidate(name, lambda _: side(views), note, options.batch, memory)


def check_step(report: Report, reference: Reference | None, views: ViewBatch) -> list[Tensor]:
    """Compare in float32, with the same weights and without stochastic depth; then bf16 with float32.

    The patches of both sides get one position, since the two codes resize positions differently for local views.

    Args:
        report: Takes the checks.
        reference: If None, ours is compared with the formula, view by view.
        views: As bytes.

    Returns:
        The views as the reference takes them: normalised, a list, on the host.
    """
    options = report.options
    ours = OurStep(options, 'fp32', drop_path=0.0)
    distillation = ours.model.distillation
    with torch.no_grad():
        for network in (distillation.student, distillation.teacher):
            patches = network.backbone.model.pos_embed[:, 1:]
            patches.copy_(patches.mean(dim=1, keepdim=True).expand_as(patches))
    prepared = flat_views(ours.model.data_preprocessor(views, True)['views'])
    theirs = ours
    if reference:
        theirs = ReferenceStep(reference, options, drop_path=0.0, half=False)
        theirs.copy_weights(ours)
    with torch.backends.cudnn.flags(allow_tf32=False):
        expected = theirs.loss(prepared) if reference else _loss_by_formula(ours, prepared)
        expected.backward()
        gradients = theirs.gradients()
        ours.model.zero_grad()
        found = ours.loss(views)
        found.backward()
    gap, gradient_gap = _apart(found, expected), _gradient_gap(ours.gradients(), gradients)
    detail = f'loss {float(found.detach()):.6f} with {gap:.1e} between, gradients {gradient_gap:.1e}, in float32'
    report.check('step', gap < ROUNDING and gradient_gap < GRADIENT_ROUNDING, detail)
    distillation.apply(_set_back_centre)
    ours.optim_wrapper.dtype = torch.bfloat16
    with torch.no_grad():
        gap = _apart(ours.loss(views), found)
    report.check('step', gap < BF16, f'{gap:.1e} of the loss away in bf16')
    return [view.contiguous().cpu() for view in prepared]


def plain_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """DINO's, from the scores, while the centre is zero: each view is compared with all of the teacher's but itself.

    -sum over pairs of different views (t, s) of teacher(t) . log student(s), divided by their number
    """
    targets, terms = [(scores / 0.04).softmax(dim=-1) for scores in teacher], []
    every = torch.stack(targets).sum(dim=0)
    for view, scores in enumerate(student):
        target = every - targets[view] if view < len(targets) else every
        terms.append(-(target * (scores / 0.1).log_softmax(dim=-1)).sum(dim=-1).mean())
    return torch.stack(terms).sum() / (len(targets) * (len(student) - 1))


def _loss_by_formula(ours: OurStep, views: Sequence[Tensor]) -> Tensor:
    """View by view."""
    ours.hook.before_train_iter(ours.loop, 0)
    student, teacher = ours.model.distillation.student, ours.model.distillation.teacher
    scores = [student.heads['cls'](student.backbone(view).class_token) for view in views]
    with torch.no_grad():
        targets = [teacher.heads['cls'](teacher.backbone(view).class_token) for view in views[:2]]
    return plain_loss(scores, targets)


def _set_back_centre(module: nn.Module) -> None:
    if hasattr(module, 'center'):
        module.center.zero_()


def _apart(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected) / expected).detach().abs())


def _gradient_gap(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Norm of the difference of all gradients, relative; infinite if the parameters are others."""
    if ours.keys() != theirs.keys():
        return float('inf')
    names = [name for name in ours if name != POSITIONS]
    return relative_gap([ours[name] for name in names], [theirs[name] for name in names])
