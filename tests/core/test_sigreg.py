"""LeJEPA's terms against the equations: complex numbers, both signs of t, one loop per symbol."""

import cmath
import math

import pytest
import torch
from processes import run_in_processes
from torch.nn.functional import normalize

from dino_plugin.core.losses.alignment import ViewMeanLoss, distance_from_mean
from dino_plugin.core.losses.base import Step
from dino_plugin.core.losses.sigreg import KNOTS, LIMIT, SIGRegLoss, gaussian_distance
from dino_plugin.core.views import Tokens, ViewBatch


def unit_directions(dim, slices, dtype=torch.float64):
    return normalize(torch.randn(dim, slices, dtype=dtype), dim=0)


def slow_statistic(projections):
    """n times the trapezoidal sum over t from -LIMIT to LIMIT, in Python's complex numbers."""
    gap = 2 * LIMIT / (KNOTS - 1)
    total = 0.0
    for knot in range(KNOTS):
        t = -LIMIT + knot * gap
        empirical = sum(cmath.exp(1j * t * x) for x in projections) / len(projections)
        value = abs(empirical - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t)
        total += value * gap * (0.5 if knot in (0, KNOTS - 1) else 1.0)
    return len(projections) * total


@pytest.mark.parametrize('number', [1, 2, 7])
def test_the_statistic_equals_the_integral_over_both_signs_of_t(number):
    torch.manual_seed(0)
    features, directions = torch.randn(number, 3, dtype=torch.float64), unit_directions(3, 5)
    slow = sum(slow_statistic((features @ directions[:, a]).tolist()) for a in range(5)) / 5
    torch.testing.assert_close(gaussian_distance(features, directions), torch.tensor(slow, dtype=torch.float64))


def test_the_gradient_is_that_of_the_statistic():
    torch.manual_seed(0)
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    directions = unit_directions(3, 6)
    assert torch.autograd.gradcheck(lambda z: gaussian_distance(z, directions), features)


def test_normal_features_give_its_expectation_and_all_others_more():
    """E T = int (1 - exp(-t^2)) exp(-t^2) dt = sqrt(pi) (1 - 1/sqrt(2)) = 0.519 for normal features."""
    torch.manual_seed(0)
    directions = unit_directions(8, 512)
    expected = math.sqrt(math.pi) * (1 - 1 / math.sqrt(2))
    mean = torch.stack([
        gaussian_distance(torch.randn(200, 8, dtype=torch.float64), directions) for _ in range(40)
    ]).mean()  # fmt: skip
    assert abs(float(mean) - expected) < 0.03
    normal = torch.randn(200, 8, dtype=torch.float64)
    for other in (torch.zeros_like(normal), 2 * normal, 0.5 * normal, normal + 0.5, normal * torch.arange(8) / 4):
        assert gaussian_distance(other, directions) > 2


def test_the_knots_are_the_integral_near_the_goal_and_see_far_projections_modulo_a_period():
    torch.manual_seed(0)
    normal, directions = torch.randn(200, 8, dtype=torch.float64), unit_directions(8, 32)
    t = torch.linspace(-8, 8, 801, dtype=torch.float64)
    for scale, least, most in ((1, 0.999, 1.001), (0.5, 0.999, 1.001), (5, 0.94, 0.96), (20, 0.56, 0.6)):
        values = torch.exp(1j * (scale * normal @ directions)[..., None] * t).mean(dim=0)
        gaps = (values - (-t.square() / 2).exp()).abs().square() * (-t.square()).exp()
        integral = 200 * torch.trapezoid(gaps, t, dim=-1).mean()
        assert least < gaussian_distance(scale * normal, directions) / integral < most
    period, axis = 2 * math.pi / (2 * LIMIT / (KNOTS - 1)), torch.eye(8, dtype=torch.float64)[:, :1]
    assert round(period, 2) == 10.05
    torch.testing.assert_close(gaussian_distance(normal + period, axis), gaussian_distance(normal, axis))


def make_step(features, progress=0.5, num_local=1):
    views = ViewBatch(torch.zeros(len(features) - num_local, features.shape[1], 3, 4, 4))
    student = Tokens(features[: len(features) - num_local], None)
    local = Tokens(features[len(features) - num_local :], None) if num_local else None
    return Step(views, student, local, None, {'cls': torch.nn.Identity()}, {}, progress)


def test_the_loss_averages_over_all_views_and_its_directions_follow_from_the_progress():
    torch.manual_seed(0)
    features = torch.randn(3, 6, 4)
    loss = SIGRegLoss('cls', slices=2000)
    value = loss(make_step(features))
    other_directions = unit_directions(4, 2000, torch.float32)
    expected = torch.stack([gaussian_distance(view, other_directions) for view in features]).mean()
    torch.testing.assert_close(value, expected, rtol=0.05, atol=0)  # many directions: hardly any difference
    few = SIGRegLoss('cls', slices=2)
    state = torch.get_rng_state()
    assert few(make_step(features, 0.25)) == few(make_step(features, 0.25)) != few(make_step(features, 0.2500001))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match='at least one direction'):
        SIGRegLoss('cls', slices=0)


def test_the_distance_from_the_mean_of_the_global_views_equals_the_equation():
    torch.manual_seed(0)
    features = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    slow = 0.0
    for image in range(3):
        mean = (features[0, image] + features[1, image]) / 2
        slow = slow + sum((features[view, image] - mean).square().sum() for view in range(4)) / (4 * 3 * 5)
    ours = distance_from_mean(features, 2)
    torch.testing.assert_close(ours, slow)
    (found,), (wanted,) = (torch.autograd.grad(value, features) for value in (ours, slow))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(ViewMeanLoss('cls')(make_step(features, num_local=2)), slow)


def test_both_are_float32_under_autocast():
    torch.manual_seed(0)
    features, directions = torch.randn(3, 8, 4), unit_directions(4, 16, torch.float32)
    outside = gaussian_distance(features[0], directions), distance_from_mean(features, 2)
    with torch.autocast('cpu', torch.bfloat16):
        inside = gaussian_distance(features[0], directions), distance_from_mean(features, 2)
    assert inside == outside


def check_over_ranks(rank, features, directions, value, gradient):
    part = features.chunk(2)[rank].clone().requires_grad_()
    found = gaussian_distance(part, directions, over_ranks=True)
    found.backward()
    torch.testing.assert_close(found.detach(), value)
    # averaged over ranks as by DDP: each rank's own images are in one term of the average
    torch.testing.assert_close(part.grad / 2, gradient.chunk(2)[rank])
    alone = SIGRegLoss('cls')(make_step(features.chunk(2)[rank][None].float(), num_local=0))
    together = SIGRegLoss('cls', over_ranks=True)(make_step(features.chunk(2)[rank][None].float(), num_local=0))
    assert not torch.allclose(alone, together)


def test_over_two_ranks_value_and_mean_gradient_are_those_of_the_whole_batch():
    torch.manual_seed(0)
    features = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    directions = unit_directions(4, 6)
    value = gaussian_distance(features, directions)
    (gradient,) = torch.autograd.grad(value, features)
    run_in_processes(check_over_ranks, features.detach(), directions, value.detach(), gradient)
