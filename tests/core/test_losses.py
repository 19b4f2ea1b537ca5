import math

import pytest
import torch
from processes import run_in_processes
from small_distillation import make
from torch import nn

from dino_plugin.core.heads import DINOHead
from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.dino import DINOLoss, cross_view_entropy
from dino_plugin.core.losses.ibot import IBOTPatchLoss
from dino_plugin.core.losses.koleo import KoLeoLoss, koleo
from dino_plugin.core.schedules import Cosine, Linear
from dino_plugin.core.targets import Centering
from dino_plugin.core.views import Tokens, ViewBatch


def plain_cross_view_entropy(student_scores, teacher_probabilities, temperature, local_weight=1.0):
    """The paper's equation: one loop per symbol; pairs with a local view weigh more or less."""
    terms = []
    for t in range(len(teacher_probabilities)):
        for s in range(len(student_scores)):
            if s == t:
                continue
            for image in range(student_scores.shape[1]):
                z = student_scores[s, image].double() / temperature
                log_p = z - z.exp().sum().log()
                weight = 1.0 if s < len(teacher_probabilities) else local_weight
                terms.append(-weight * (teacher_probabilities[t, image].double() * log_p).sum())
    return torch.stack(terms).mean(), len(terms) // student_scores.shape[1]


@pytest.mark.parametrize('local_weight', [1.0, 0.5, 0.0])
@pytest.mark.parametrize(('student_views', 'teacher_views', 'pairs'), [(10, 2, 18), (2, 2, 2), (3, 1, 2), (12, 2, 22)])
def test_the_loss_and_its_gradient_equal_the_mean_over_all_pairs_of_different_views(
    student_views, teacher_views, pairs, local_weight
):
    torch.manual_seed(0)
    scores = torch.randn(student_views, 3, 6, requires_grad=True)
    reference = scores.detach().clone().requires_grad_()
    targets = torch.randn(teacher_views, 3, 6).softmax(-1)
    expected, counted = plain_cross_view_entropy(reference, targets, 0.1, local_weight)
    assert counted == pairs
    loss = cross_view_entropy(scores, targets, 0.1, local_weight)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(scores.grad, reference.grad, rtol=1e-5, atol=1e-7)


def test_the_loss_does_not_depend_on_the_order_of_images_or_of_local_views():
    torch.manual_seed(0)
    scores, targets = torch.randn(5, 4, 6), torch.randn(2, 4, 6).softmax(-1)
    loss = cross_view_entropy(scores, targets, 0.1)
    images = torch.tensor([2, 0, 3, 1])
    views = torch.tensor([0, 1, 4, 2, 3])
    torch.testing.assert_close(cross_view_entropy(scores[:, images], targets[:, images], 0.1), loss)
    torch.testing.assert_close(cross_view_entropy(scores[views], targets, 0.1), loss)


def test_local_views_of_half_weight_take_half_of_their_pairs_from_a_mean_over_all_pairs():
    """Of the 18 pairs of two global and eight local views, 16 are with a local view."""
    targets = torch.randn(2, 3, 50).softmax(-1)
    loss = cross_view_entropy(torch.zeros(10, 3, 50), targets, 0.1, local_weight=0.5)
    assert loss.item() == pytest.approx(math.log(50) * (2 + 16 / 2) / 18, rel=1e-6)


def test_a_student_that_knows_nothing_loses_ln_k():
    targets = torch.randn(2, 3, 50).softmax(-1)
    assert cross_view_entropy(torch.zeros(4, 3, 50), targets, 0.1).item() == pytest.approx(math.log(50), rel=1e-6)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_loss_is_computed_in_float32_under_any_autocast(dtype):
    torch.manual_seed(0)
    scores, targets = torch.randn(4, 3, 64), torch.randn(2, 3, 64).softmax(-1)
    expected = cross_view_entropy(scores, targets, 0.1)
    with torch.autocast('cpu', dtype=dtype):
        loss = cross_view_entropy(scores, targets, 0.1)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


@pytest.mark.parametrize(('student_views', 'teacher_views'), [(1, 1), (1, 2)])
def test_views_without_a_pair_are_refused(student_views, teacher_views):
    with pytest.raises(ValueError, match='no pair of different views'):
        cross_view_entropy(torch.zeros(student_views, 1, 3), torch.ones(teacher_views, 1, 3) / 3, 0.1)


def make_step(progress=0.0, dim=6, prototypes=5, num_local=2):
    torch.manual_seed(0)
    student, teacher = nn.Linear(dim, prototypes), nn.Linear(dim, prototypes).requires_grad_(False)

    def tokens(views):
        return Tokens(torch.randn(views, 3, dim, requires_grad=True), torch.randn(views, 3, 2, 2, dim))

    teacher_tokens = tokens(2)
    return Step(
        views=ViewBatch(torch.zeros(2, 3, 3, 4, 4)),
        student_global=tokens(2),
        student_local=tokens(num_local) if num_local else None,
        teacher_global=Tokens(teacher_tokens.class_token.detach(), teacher_tokens.patches),
        student_heads={'cls': student},
        teacher_heads={'cls': teacher},
        progress=progress,
    )


@pytest.mark.parametrize('num_local', [0, 2])
def test_the_dino_loss_feeds_the_equation_with_both_heads_and_the_scheduled_numbers(num_local):
    step = make_step(progress=0.5, num_local=num_local)
    loss = DINOLoss(
        'cls',
        Centering(5),
        student_temperature=0.2,
        teacher_temperature=Cosine(0.04, 0.08),
        local_weight=Cosine(1.0, 0.5),
    )
    value = loss(step)
    class_tokens = [step.student_global.class_token] + ([step.student_local.class_token] if num_local else [])
    scores = step.student_heads['cls'](torch.cat(class_tokens))
    targets = (step.teacher_heads['cls'](step.teacher_global.class_token) / 0.06).softmax(-1)
    torch.testing.assert_close(value, cross_view_entropy(scores, targets, 0.2, local_weight=0.75))
    value.backward()
    assert step.teacher_heads['cls'].weight.grad is None
    assert loss.target.center.norm() > 0


def plain_koleo(features):
    x = [f.double() / f.double().norm() for f in features]
    terms = []
    for i in range(len(x)):
        nearest = min((x[i] - x[j]).norm() for j in range(len(x)) if j != i)
        terms.append((nearest + 1e-8).log())
    return -torch.stack(terms).mean()


def test_koleo_and_its_gradient_equal_the_equation():
    torch.manual_seed(0)
    features = torch.randn(7, 4, requires_grad=True)
    reference = features.detach().clone().requires_grad_()
    loss, expected = koleo(features), plain_koleo(reference)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(features.grad, reference.grad, rtol=1e-4, atol=1e-6)


def test_koleo_stays_finite_for_one_sample_and_for_equal_samples():
    one = torch.randn(1, 4, requires_grad=True)
    koleo(one).backward()
    assert torch.equal(one.grad, torch.zeros(1, 4))
    equal = torch.ones(3, 4, requires_grad=True)
    loss = koleo(equal)
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-8), rel=1e-5)
    assert equal.grad.isfinite().all()


def test_koleo_prefers_spread_features_and_ignores_their_length():
    torch.manual_seed(0)
    spread, close = torch.eye(6), torch.ones(6, 6) + 0.01 * torch.eye(6)
    assert koleo(spread) < koleo(close)
    torch.testing.assert_close(koleo(spread * 7), koleo(spread))


def test_koleo_is_float32_under_autocast():
    features = torch.randn(8, 16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(koleo(features), koleo(features.clone()))
        assert koleo(features).dtype == torch.float32


def test_the_koleo_loss_never_compares_views_of_one_image():
    """Summed over the global views, each by itself, on tokens before the head."""
    step = make_step()
    expected = sum(koleo(view) for view in step.student_global.class_token)
    torch.testing.assert_close(KoLeoLoss()(step), expected)


def summed_over_views(class_token, over_ranks=False, group_size=None):
    """The loss as KoLeoLoss makes it of these class tokens, and its gradient."""
    class_token = class_token.clone().requires_grad_()
    step = make_step()._replace(student_global=Tokens(class_token, torch.zeros(2, class_token.shape[1], 1, 1, 6)))
    loss = KoLeoLoss(over_ranks=over_ranks, group_size=group_size)(step)
    loss.backward()
    return loss.detach(), class_token.grad


def test_on_a_single_rank_koleo_over_ranks_is_koleo():
    torch.manual_seed(0)
    class_token = torch.randn(2, 5, 6)
    torch.testing.assert_close(
        summed_over_views(class_token, over_ranks=True), summed_over_views(class_token), rtol=0, atol=0
    )


def plain_koleo_in_groups(class_token, size):
    """The mean over all groups of following images, summed over views, and its gradient."""
    class_token = class_token.double().requires_grad_()
    starts = range(0, class_token.shape[1], size)
    loss = sum(plain_koleo(view[start : start + size]) for view in class_token for start in starts) / len(starts)
    loss.backward()
    return loss.detach().float(), class_token.grad.float()


@pytest.mark.parametrize('over_ranks', [False, True])
@pytest.mark.parametrize('group_size', [2, 3, 6, 12, None])
def test_koleo_looks_for_neighbours_inside_a_group_only(group_size, over_ranks):
    torch.manual_seed(0)
    class_token = torch.randn(2, 12, 6)
    found, expected = (
        summed_over_views(class_token, over_ranks, group_size),
        plain_koleo_in_groups(class_token, group_size or 12),
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    other_group = torch.cat([class_token[:, :6], torch.randn(2, 6, 6)], dim=1)
    _, gradient = summed_over_views(other_group, over_ranks, group_size)
    assert torch.equal(found[1][:, :6], gradient[:, :6]) == (group_size in (2, 3, 6))


def check_koleo_groups_over_ranks(rank, images, results):
    mine = images.chunk(2, dim=1)[rank]
    for group_size, (loss, gradient) in results.items():
        found, found_gradient = summed_over_views(mine, over_ranks=True, group_size=group_size)
        torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found_gradient / 2, gradient.chunk(2, dim=1)[rank], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(results[2][0], results[4][0])


def test_koleo_groups_may_lie_inside_a_rank_on_both_or_across_their_border():
    """Six images on each of two ranks: groups of 2, 3 and 6 lie inside one, of 4 across both, 12 are all."""
    torch.manual_seed(0)
    images = torch.randn(2, 12, 6)
    results = {size: plain_koleo_in_groups(images, size) for size in (2, 3, 4, 6, 12)}
    run_in_processes(check_koleo_groups_over_ranks, images, results)


def test_koleo_refuses_groups_that_do_not_divide_the_batch_and_groups_of_one():
    class_token = torch.randn(2, 6, 6)
    for size in (4, 12):
        with pytest.raises(ValueError, match=f'6 images cannot be divided into groups of group_size={size}'):
            summed_over_views(class_token, group_size=size)
    for size in (1, 0, -2):
        with pytest.raises(ValueError, match=f'group_size={size}; an image needs a neighbour'):
            KoLeoLoss(group_size=size)


def check_koleo_over_ranks(rank, batches):
    for images, loss, gradient in batches:
        mine = images.chunk(2, dim=1)[rank]
        found, found_gradient = summed_over_views(mine, over_ranks=True)
        torch.testing.assert_close(found, loss)
        # averaged over ranks as by DDP: each rank's own images are in one term of the average
        torch.testing.assert_close(found_gradient / 2, gradient.chunk(2, dim=1)[rank], rtol=1e-4, atol=1e-6)
        alone, _ = summed_over_views(mine)
        assert not torch.allclose(alone, loss)


def test_koleo_over_two_ranks_equals_koleo_of_the_whole_batch_in_value_and_gradient():
    """Also with one image on each rank, which alone has no neighbour, and with equal images on both."""
    torch.manual_seed(0)
    few, twins = torch.randn(2, 2, 6), torch.randn(2, 1, 6).expand(2, 2, 6)
    batches = [torch.randn(2, 8, 6), few, twins, torch.randn(2, 3, 6).repeat(1, 2, 1)]
    run_in_processes(check_koleo_over_ranks, [(images, *summed_over_views(images)) for images in batches])


def test_a_loss_without_a_forward_says_so():
    with pytest.raises(TypeError, match=r'does not define forward\(step\)'):
        Loss()(make_step())


@pytest.mark.parametrize('loss', [DINOLoss, IBOTPatchLoss])
@pytest.mark.parametrize('temperature', [0.0, -0.04, Linear(0.04, 0.0)])
def test_a_temperature_that_is_not_positive_is_refused_at_build(loss, temperature):
    with pytest.raises(ValueError, match=rf'{loss.__name__}: teacher_temperature must be 1e-06 or more'):
        loss('cls', Centering(8), teacher_temperature=temperature)


@pytest.mark.parametrize('momentum', [-0.1, 1.5, Linear(0.9, 1.1)])
def test_a_momentum_outside_its_range_is_refused_at_build(momentum):
    with pytest.raises(ValueError, match=r'SelfDistillation: momentum must be in \[0, 1\]'):
        make(momentum=momentum)


def test_a_single_prototype_is_refused_at_build():
    with pytest.raises(ValueError, match='DINOHead: prototypes=1; at least 2'):
        DINOHead(6, prototypes=1)
