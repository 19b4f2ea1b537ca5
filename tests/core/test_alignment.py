"""SimDINO's terms: alignment of views and of patches, and the coding rate, against loops over their equations."""

import math

import pytest
import torch
from processes import run_in_processes
from small_distillation import make, make_head, make_views
from torch.nn.functional import normalize

from dino_plugin.core.heads import DINOHead
from dino_plugin.core.losses.alignment import (
    AlignmentLoss,
    PatchAlignmentLoss,
    cross_view_alignment,
    patch_alignment,
)
from dino_plugin.core.losses.base import Step
from dino_plugin.core.losses.coding_rate import CodingRateLoss, coding_rate
from dino_plugin.core.views import Tokens, ViewBatch


def cosine(a, b):
    return (a @ b) / (a @ a).sqrt() / (b @ b).sqrt()


def slow_alignment(student, teacher):
    """1 - mean over images and pairs of different views."""
    values = [
        cosine(student[s, i], teacher[t, i])
        for s in range(len(student))
        for t in range(len(teacher))
        if s != t
        for i in range(student.shape[1])
    ]
    return 1 - torch.stack(values).mean()


def slow_rate(features, squared_error):
    """1/2 log det, by the eigenvalues of the covariance."""
    number, dim = features.shape
    covariance = sum(torch.outer(row, row) for row in features) / number
    return 0.5 * torch.log(1 + dim / squared_error * torch.linalg.eigvalsh(covariance)).sum()


def gradient(value, of):
    (result,) = torch.autograd.grad(value, of)
    return result


@pytest.mark.parametrize(('student_views', 'teacher_views'), [(2, 2), (5, 2), (3, 1)])
def test_alignment_and_its_gradient_equal_the_mean_over_pairs_of_different_views(student_views, teacher_views):
    torch.manual_seed(0)
    student = torch.randn(student_views, 4, 6, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(teacher_views, 4, 6, dtype=torch.float64)
    ours, slow = cross_view_alignment(student, teacher), slow_alignment(student, teacher)
    torch.testing.assert_close(ours, slow)
    torch.testing.assert_close(gradient(ours, student), gradient(slow, student))


def test_alignment_is_half_the_squared_distance_of_unit_vectors_and_runs_from_0_to_2():
    torch.manual_seed(0)
    student, teacher = normalize(torch.randn(2, 2, 4, 6), dim=-1)
    pairs = [(student[0] - teacher[1]), (student[1] - teacher[0])]
    expected = torch.stack([pair.square().sum(dim=-1).mean() / 2 for pair in pairs]).mean()
    torch.testing.assert_close(cross_view_alignment(student, teacher), expected)
    same = teacher[:1].expand(2, -1, -1)
    torch.testing.assert_close(cross_view_alignment(same, same), torch.tensor(0.0))
    torch.testing.assert_close(cross_view_alignment(-same, same), torch.tensor(2.0))


@pytest.mark.parametrize(('student_views', 'teacher_views'), [(1, 1), (1, 2)])
def test_views_without_a_pair_are_refused(student_views, teacher_views):
    with pytest.raises(ValueError, match='make no pair'):
        cross_view_alignment(torch.ones(student_views, 3, 4), torch.ones(teacher_views, 3, 4))


def test_patch_alignment_is_the_mean_of_each_image_and_then_of_all_images():
    torch.manual_seed(0)
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.float64)
    distances = [1 - cosine(student[j], teacher[j]) for j in range(4)]
    slow = ((distances[0] + distances[1] + distances[2]) / 3 + distances[3]) / 4  # images 1 and 3 have none
    ours = patch_alignment(student, teacher, torch.tensor([0, 0, 0, 2]), 4)
    torch.testing.assert_close(ours, slow)
    torch.testing.assert_close(gradient(ours, student), gradient(slow, student))
    assert patch_alignment(student[:0], teacher[:0], torch.zeros(0, dtype=torch.long), 4) == 0


@pytest.mark.parametrize(('number', 'dim'), [(20, 6), (6, 6), (4, 11), (1, 5)])
@pytest.mark.parametrize('squared_error', [0.05, 0.5])
def test_the_coding_rate_and_its_gradient_equal_the_sum_over_eigenvalues(number, dim, squared_error):
    torch.manual_seed(0)
    features = normalize(torch.randn(number, dim, dtype=torch.float64), dim=-1).requires_grad_()
    ours, slow = coding_rate(features, squared_error), slow_rate(features, squared_error)
    torch.testing.assert_close(ours, slow)
    torch.testing.assert_close(gradient(ours, features), gradient(slow, features))


def test_the_coding_rate_of_known_features():
    one_direction = torch.tensor([[1.0, 0, 0]]).expand(6, -1)
    torch.testing.assert_close(coding_rate(one_direction, 0.5), torch.tensor(0.5 * math.log(1 + 3 / 0.5)))
    all_directions = torch.eye(3).repeat(2, 1)
    torch.testing.assert_close(coding_rate(all_directions, 0.5), torch.tensor(1.5 * math.log(1 + 1 / 0.5)))
    assert coding_rate(torch.zeros(4, 3)) == 0
    with pytest.raises(ValueError, match='must be positive'):
        coding_rate(one_direction, 0.0)


def test_everything_is_float32_under_autocast():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 4, 6)
    image = torch.arange(4)
    with torch.autocast('cpu', torch.bfloat16):
        inside = [
            cross_view_alignment(student, teacher),
            patch_alignment(student[0], teacher[0], image, 4),
            coding_rate(student[0]),
        ]
    outside = [
        cross_view_alignment(student, teacher),
        patch_alignment(student[0], teacher[0], image, 4),
        coding_rate(student[0]),
    ]
    assert inside == outside


def step_of(model, views):
    student_global, student_local = model.student(views)
    with torch.no_grad():
        teacher_global, _ = model.teacher(views._replace(masks=None, local_views=None))
    heads = model.student.heads, model.teacher.heads
    return Step(views, student_global, student_local, teacher_global, *heads, 0.0)


def model_of(losses):
    model = make(losses=losses, heads={'cls': make_head_without_prototypes()})
    with torch.no_grad():
        for parameter in model.student.parameters():  # otherwise student and teacher are equal
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_head_without_prototypes():
    torch.manual_seed(1)
    return DINOHead(6, prototypes=None, hidden_dim=10, bottleneck_dim=4)


def test_a_head_without_prototypes_gives_the_bottleneck_that_prototypes_would_be_compared_with():
    plain, usual = make_head_without_prototypes(), make_head()
    usual.mlp.load_state_dict(plain.mlp.state_dict())
    tokens = torch.randn(3, 5, 6)
    projections = plain(tokens)
    torch.testing.assert_close(projections.norm(dim=-1), torch.ones(3, 5))
    torch.testing.assert_close(usual.last_layer(projections), usual(tokens))


def test_the_losses_feed_the_equations_with_the_projections_of_student_and_teacher():
    model = model_of(
        {'align': AlignmentLoss('cls'), 'patch': PatchAlignmentLoss('cls'), 'spread': CodingRateLoss('cls')}
    )
    views = make_views(num_masked=[3, 0, 1, 2, 0, 4, 2, 1])
    step = step_of(model, views)
    student, teacher = model.student.heads['cls'], model.teacher.heads['cls']
    of_student = student(torch.cat([step.student_global.class_token, step.student_local.class_token]))
    of_teacher = teacher(step.teacher_global.class_token)
    torch.testing.assert_close(model.losses['align'](step), slow_alignment(of_student, of_teacher))
    number, dim = of_teacher.shape[1:]
    mean = (of_student[:2] + of_teacher) / 2
    rate = (slow_rate(mean[0], 0.5) + slow_rate(mean[1], 0.5)) / 2
    torch.testing.assert_close(model.losses['spread'](step), -(dim + number) / (dim * number) * rate)
    alone = CodingRateLoss('cls', squared_error=0.05, with_teacher=False)
    rate = (slow_rate(of_student[0], 0.05) + slow_rate(of_student[1], 0.05)) / 2
    torch.testing.assert_close(alone(step._replace(teacher_global=None)), -(dim + number) / (dim * number) * rate)
    distances = []
    for view, batch in views.masks.flatten(2).any(dim=2).nonzero().tolist():
        places = views.masks[view, batch].nonzero().tolist()
        pairs = [
            (student(step.student_global.patches[view, batch, r, c][None])[0],
             teacher(step.teacher_global.patches[view, batch, r, c][None])[0])
            for r, c in places
        ]  # fmt: skip
        distances.append(torch.stack([1 - cosine(a, b) for a, b in pairs]).mean())
    expected = torch.stack(distances).sum() / (views.masks.shape[0] * views.masks.shape[1])
    torch.testing.assert_close(model.losses['patch'](step), expected)


def test_wrong_words_and_batches_without_masks_are_refused():
    with pytest.raises(ValueError, match="must be 'masked' or 'all'"):
        PatchAlignmentLoss('cls', patches='some')
    model = model_of({'patch': PatchAlignmentLoss('cls')})
    with pytest.raises(ValueError, match='PatchAlignmentLoss: the batch has no masks'):
        model.losses['patch'](step_of(model, make_views()))


def views_of_colours():
    """Images of one colour each, whose views differ by a little noise."""
    views = make_views()
    colours = torch.tensor([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0], [-2.0, -2.0, 0]])[:, :, None, None]
    return views._replace(
        global_views=0.3 * views.global_views + colours, local_views=0.3 * views.local_views + colours
    )


@pytest.mark.parametrize(('with_rate', 'least', 'most'), [(False, 0.0, 0.1), (True, 0.6, 1.0)])
def test_alignment_alone_collapses_and_the_coding_rate_excludes_it(with_rate, least, most):
    losses = {'align': AlignmentLoss('cls')} | ({'spread': CodingRateLoss('cls')} if with_rate else {})
    model, views = model_of(losses), views_of_colours()
    optimiser = torch.optim.Adam(model.student.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        sum(model(views, 0.0).values()).backward()
        optimiser.step()
        model.update_teacher(0.0)
    with torch.no_grad():
        projections = model.student.heads['cls'](model.student.backbone(views.global_views).class_token[0])
    distance = (projections - projections.mean(dim=0)).norm(dim=1).mean()
    assert least <= distance <= most


def check_rate_over_ranks(rank, features, value, gradient):
    part = features.chunk(2, dim=1)[rank].clone().requires_grad_()
    views = ViewBatch(torch.zeros(2, part.shape[1], 3, 4, 4))
    step = Step(views, Tokens(part, None), None, None, {'cls': torch.nn.Identity()}, {}, 0.0)
    loss = CodingRateLoss('cls', with_teacher=False, over_ranks=True)(step)
    loss.backward()
    torch.testing.assert_close(loss, value)
    # averaged over ranks as by DDP: each rank's own images are in one term of the average
    torch.testing.assert_close(part.grad / 2, gradient.chunk(2, dim=1)[rank])


def test_over_two_ranks_value_and_mean_gradient_are_those_of_the_whole_batch():
    torch.manual_seed(0)
    features = normalize(torch.randn(2, 8, 5, dtype=torch.float64), dim=-1).requires_grad_()
    rates = torch.stack([slow_rate(view, 0.5) for view in features]).mean()
    value = -(5 + 8) / (5 * 8) * rates
    run_in_processes(check_rate_over_ranks, features.detach(), value.detach(), gradient(value, features))
