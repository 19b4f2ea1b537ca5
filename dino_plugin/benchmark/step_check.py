"""Whether a step of ours and one of the reference, or of the plain formula, have the same loss and gradients."""

import torch
from torch import Tensor

from dino_plugin.benchmark.networks import OurStep, ReferenceStep, as_floats
from dino_plugin.benchmark.reference import Reference
from dino_plugin.benchmark.report import Report
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.precision import PRECISIONS

ROUNDING = 1e-5  # of the loss, relative; a hundred times that of one operation in float32
GRADIENT_ROUNDING = 1e-3  # of the norm of all gradients
BF16 = 1e-2  # of the loss
POSITIONS = 'backbone.pos_embed'


def check_step(
    report: Report, reference: Reference | None, model: str, views: ViewBatch, ways: dict[str, dict]
) -> list[Tensor]:
    """Note the comparison under each name, and return the views as the reference takes them.

    In float32, with the same weights and without stochastic depth. The patches of both sides get one position, since
    the two codes resize positions differently for local views. Each lower precision is compared with our float32.

    Args:
        report: Takes the checks.
        reference: If None, ours is compared with the formula, view by view.
        model: Its name.
        views: As bytes.
        ways: Arguments of :class:`OurStep` by name of candidate.
    """
    options = report.options
    with torch.backends.cudnn.flags(allow_tf32=False):
        ours = OurStep(options, model, 'fp32', options.device, drop_path=0.0)
        _share_positions(ours)
        floats = as_floats(ours, views)
        if reference:
            theirs = ReferenceStep(reference, options, model, options.device, drop_path=0.0, half=False)
            theirs.copy_weights(ours)
        expected = theirs.loss(floats) if reference else plain_loss(ours, views)
        expected.backward()
        gradients = (theirs if reference else ours).gradients()
        ours.model.zero_grad()
        found = ours.loss(views)
        found.backward()
    gap = float(((found - expected).abs() / expected.abs()).detach())
    gradient_gap = _gap(ours.gradients(), gradients)
    loss = float(found.detach())
    detail = f'loss {loss:.6f} with {gap:.1e} between, gradients {gradient_gap:.1e}, in float32'
    for name, arguments in ways.items():
        report.check(name, gap < ROUNDING and gradient_gap < GRADIENT_ROUNDING, detail)
        if arguments['precision'] != 'fp32':
            _check_precision(report, name, ours, views, arguments['precision'], loss)
    return floats


def plain_loss(ours: OurStep, views: ViewBatch) -> Tensor:
    """DINO's loss, one view and one pair after the other; the centre is still zero.

    -sum over pairs of different views (t, s) of teacher(t) . log student(s), divided by their number
    """
    ours.hook.before_train_iter(ours.loop, 0)
    prepared = ours.model.data_preprocessor(views, True)['views']
    student, teacher = ours.model.distillation.student, ours.model.distillation.teacher
    all_views = [*prepared.global_views, *(() if prepared.local_views is None else prepared.local_views)]
    predictions = [student.heads['cls'](student.backbone(view).class_token) for view in all_views]
    with torch.no_grad():
        targets = [teacher.heads['cls'](teacher.backbone(view).class_token) for view in prepared.global_views]
    terms = [
        -((target / 0.04).softmax(dim=-1) * (prediction / 0.1).log_softmax(dim=-1)).sum(dim=-1).mean()
        for t, target in enumerate(targets)
        for s, prediction in enumerate(predictions)
        if s != t
    ]
    return torch.stack(terms).mean()


def _check_precision(
    report: Report, name: str, ours: OurStep, views: ViewBatch, precision: str, expected: float
) -> None:
    """Of the same weights, the centre set back."""
    for module in ours.model.modules():
        if hasattr(module, 'center'):
            module.center.zero_()
    ours.optim_wrapper.dtype = PRECISIONS[precision]
    with torch.no_grad():
        gap = abs(float(ours.loss(views)) - expected) / expected
    ours.optim_wrapper.dtype = None
    report.check(name, gap < BF16, f'{gap:.1e} of the loss away in {precision}')


def _share_positions(ours: OurStep) -> None:
    with torch.no_grad():
        for network in (ours.model.distillation.student, ours.model.distillation.teacher):
            patches = network.backbone.model.pos_embed[:, 1:]
            patches.copy_(patches.mean(dim=1, keepdim=True).expand_as(patches))


def _gap(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Norm of the difference of all gradients, relative; infinite if the parameters are others."""
    if ours.keys() != theirs.keys():
        return float('inf')
    names = [name for name in ours if name != POSITIONS]
    difference = torch.stack([(ours[name] - theirs[name]).norm() for name in names]).norm()
    return float(difference / torch.stack([theirs[name].norm() for name in names]).norm())
