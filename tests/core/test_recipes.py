"""Losses and heads put together to DINO, iBOT, DINOv2 and distillation from a frozen teacher; on one rank and on two.

A method whose additions are switched off is the simpler method, bit for bit.
"""

import copy

import pytest
import torch
from processes import run_in_processes
from small_distillation import Backbone, make, make_head, make_views, parameters_of, train_step
from torch.nn.parallel import DistributedDataParallel

from dino_plugin.core.distillation import Teacher
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.losses.ibot import IBOTPatchLoss
from dino_plugin.core.losses.koleo import KoLeoLoss
from dino_plugin.core.reduce import sum_over_ranks
from dino_plugin.core.targets import Centering, SinkhornKnopp
from dino_plugin.core.views import ViewBatch


def centering():
    return Centering(8)


def dino():
    return make(losses={'dino': DINOLoss('cls', Centering(8))})


def ibot(target=centering):
    """One head for class token and patches."""
    return make(losses={'dino': DINOLoss('cls', target()), 'ibot': IBOTPatchLoss('cls', target())})


def dinov2(target=centering, patch_weight=1.0, koleo_weight=0.1, over_ranks=False):
    """Two heads."""
    losses = {
        'dino': DINOLoss('cls', target()),
        'ibot': IBOTPatchLoss('patch', target(), weight=patch_weight),
        'koleo': KoLeoLoss(koleo_weight, over_ranks),
    }
    return make(losses=losses, heads={'cls': make_head(1), 'patch': make_head(2)})


def assert_equal_training(model, simple, views):
    """Three steps: losses, gradients, student, teacher and centre, as far as the simple model has them."""
    for step in range(3):
        losses, expected = train_step(model, views, step / 3), train_step(simple, views, step / 3)
        assert torch.equal(losses['dino'], expected['dino'])
        assert all(losses[name] == 0 for name in losses.keys() - expected.keys())
        gradients = {name: parameter.grad for name, parameter in model.student.named_parameters()}
        for name, parameter in simple.student.named_parameters():
            if parameter.requires_grad:
                assert torch.equal(gradients[name], parameter.grad), name
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in simple.state_dict().items())
    assert not torch.equal(state['student.backbone.mix.weight'], state['teacher.backbone.mix.weight'])


def test_ibot_without_masked_patches_is_dino():
    assert_equal_training(ibot(), dino(), make_views(num_masked=[0] * 8))


def test_dinov2_without_weight_on_patches_and_spread_is_dino():
    assert_equal_training(dinov2(patch_weight=0.0, koleo_weight=0.0), dino(), make_views(num_masked=[5] * 8))


def test_masks_reach_the_student_and_never_the_teacher():
    """Only the student makes what KoLeo looks at; the targets of the patch loss are the teacher's."""
    model = make(losses={'koleo': KoLeoLoss(), 'ibot': IBOTPatchLoss('cls', Centering(8))}).eval()
    views = make_views(num_masked=[8] * 8)
    masked_pixels = views.masks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[:, :, None]
    changed = views._replace(global_views=views.global_views + masked_pixels)
    first, second = model(views, 0.0), model(changed, 0.0)
    assert torch.equal(first['koleo'], second['koleo'])
    assert not torch.allclose(first['ibot'], second['ibot'])


def test_without_a_loss_that_looks_at_the_teacher_it_is_not_run_but_follows():
    model = make(losses={'koleo': KoLeoLoss()}, heads={})
    before = parameters_of(model.teacher)
    train_step(model, make_views())
    assert model.teacher.backbone.seen == []
    assert len(model.student.backbone.seen) == 2
    for name, after in parameters_of(model.teacher).items():
        torch.testing.assert_close(after, 0.9 * before[name] + 0.1 * parameters_of(model.student)[name])


def make_frozen_teacher():
    torch.manual_seed(9)
    frozen_teacher = Teacher(Backbone(drop=0.5), {'cls': make_head(3, batch_norm=True), 'more': make_head(4)})
    frozen_teacher.heads['cls'].mlp[1].running_mean.normal_()
    return frozen_teacher


def with_frozen_teacher(frozen_teacher):
    losses = {'dino': DINOLoss('cls', Centering(8)), 'patches': IBOTPatchLoss('cls', Centering(8), patches='all')}
    return make(losses=losses, frozen_teacher=frozen_teacher, momentum=0.75)


def test_a_frozen_teacher_never_moves_while_the_teacher_follows_the_student():
    """Nor do the statistics of its batch norms, before the first call of train() or after it."""
    frozen_teacher = make_frozen_teacher()
    model, at_first = with_frozen_teacher(frozen_teacher), copy.deepcopy(frozen_teacher.state_dict())
    for _ in range(3):
        before = parameters_of(model.teacher)
        train_step(model, make_views())
        student = parameters_of(model.student)
        for name, after in parameters_of(model.teacher).items():
            torch.testing.assert_close(after, 0.75 * before[name] + 0.25 * student[name])
        model.train()
    assert all(torch.equal(value, at_first[name]) for name, value in frozen_teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in frozen_teacher.parameters())
    assert frozen_teacher.backbone.seen == [(2, 4, 3, 8, 8)] * 3
    assert model.teacher.backbone.seen == []


def test_the_frozen_teacher_gives_the_targets_in_the_teachers_place():
    """As a model whose teacher has the frozen teacher's weights; what the teacher itself holds makes no difference."""
    frozen_teacher = make_frozen_teacher()
    frozen_teacher.heads['cls'] = make_head(3)
    model = with_frozen_teacher(frozen_teacher)
    copied = with_frozen_teacher(None)
    copied.teacher.load_state_dict(
        {name: value for name, value in frozen_teacher.state_dict().items() if 'more' not in name}
    )
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(1.0)
    found, expected = model(make_views(), 0.0), copied(make_views(), 0.0)
    assert found.keys() == expected.keys()
    for name, loss in found.items():
        torch.testing.assert_close(loss, expected[name], rtol=0, atol=0)
        assert not torch.allclose(loss, with_frozen_teacher(None)(make_views(), 0.0)[name])


def test_a_frozen_teacher_without_the_heads_that_losses_name_is_refused():
    frozen_teacher = Teacher(Backbone(), {'other': make_head()})
    with pytest.raises(ValueError, match=r"heads \['cls'\], but the frozen teacher has \['other'\]"):
        with_frozen_teacher(frozen_teacher)


MODELS = {
    'ibot, centering': lambda: ibot(),
    'ibot, sinkhorn': lambda: ibot(SinkhornKnopp),
    'dinov2, centering': lambda: dinov2(over_ranks=True),
    'dinov2, sinkhorn': lambda: dinov2(SinkhornKnopp, over_ranks=True),
}
MASKED = {  # by rank: two images of the first view, the same two of the second
    'both': ([3, 0, 9, 1], [5, 16, 0, 2]),
    'one': ([4, 6, 0, 2], [0, 0, 0, 0]),
    'none': ([0, 0, 0, 0], [0, 0, 0, 0]),
}


def joint_views(masked):
    first, second = MASKED[masked]
    return make_views(batch=4, num_masked=first[:2] + second[:2] + first[2:] + second[2:])


def half(views, rank):
    parts = (views.global_views, views.local_views, views.masks)
    global_views, local_views, masks = (part.chunk(2, dim=1)[rank] for part in parts)
    return ViewBatch(global_views, local_views).with_masks(masks)


def trained_part(model):
    return {name: parameter.grad for name, parameter in model.student.named_parameters() if parameter.requires_grad}


def state_of_losses(model):
    return {name: value for name, value in model.state_dict().items() if name.startswith('losses.')}


def check_two_ranks(rank, expected):
    for (kind, masked), (losses, gradients, state) in expected.items():
        model = MODELS[kind]()
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
        found = wrapped(half(joint_views(masked), rank), 0.0)
        sum(found.values()).backward()
        for name, loss in losses.items():
            torch.testing.assert_close(sum_over_ranks(found[name].detach()) / 2, loss)
        for name, gradient in gradients.items():
            largest = gradient.abs().max().item()  # entries of very different size share their rounding errors
            torch.testing.assert_close(trained_part(model)[name], gradient, rtol=1e-4, atol=1e-6 * max(1, largest))
        for name, value in state.items():
            torch.testing.assert_close(state_of_losses(model)[name], value)


def test_two_ranks_train_as_one_with_the_joint_batch_however_many_patches_each_masks():
    expected = {}
    for kind, build in MODELS.items():
        for masked in MASKED:
            model = build()
            losses = model(joint_views(masked), 0.0)
            sum(losses.values()).backward()
            detached = {name: loss.detach() for name, loss in losses.items()}
            expected[kind, masked] = detached, trained_part(model), state_of_losses(model)
    run_in_processes(check_two_ranks, expected)
