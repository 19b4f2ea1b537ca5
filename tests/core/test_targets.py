import pytest
import torch

from dino_plugin.core.targets import Centering, SinkhornKnopp


def test_centering_uses_the_centre_from_before_the_batch_and_then_moves_it():
    torch.manual_seed(0)
    target = Centering(5, momentum=0.9)
    target.center.copy_(torch.randn(5))
    before = target.center.clone()
    scores = torch.randn(2, 3, 5)
    probabilities = target(scores, 0.04)
    for view in range(2):
        for image in range(3):
            exponentials = ((scores[view, image] - before) / 0.04).double().exp()
            torch.testing.assert_close(
                probabilities[view, image].double(), exponentials / exponentials.sum(), rtol=1e-4, atol=1e-6
            )
    torch.testing.assert_close(target.center, 0.9 * before + 0.1 * scores.flatten(0, 1).mean(0))


def test_the_centre_is_state_and_moves_in_training_only():
    target = Centering(4).eval()
    target(torch.ones(1, 2, 4), 0.1)
    assert torch.equal(target.state_dict()['center'], torch.zeros(4))


def test_scores_that_are_not_finite_leave_the_centre_alone():
    target = Centering(4)
    target(torch.ones(1, 2, 4), 0.1)
    before = target.center.clone()
    target(torch.tensor([[[1.0, float('nan'), 0, 0]]]), 0.1)
    target(torch.tensor([[[1.0, float('inf'), 0, 0]]]), 0.1)
    assert torch.equal(target.center, before)


def plain_sinkhorn(scores, temperature, iterations):
    """The paper's algorithm, one step at a time, in float64."""
    q = (scores.double() / temperature).exp().T
    prototypes, samples = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        for k in range(prototypes):
            q[k] = q[k] / q[k].sum() / prototypes
        for i in range(samples):
            q[:, i] = q[:, i] / q[:, i].sum() / samples
    return (q * samples).T


@pytest.mark.parametrize('iterations', [1, 3])
def test_sinkhorn_equals_the_plain_algorithm(iterations):
    torch.manual_seed(0)
    scores = torch.rand(2, 6, 9) * 2 - 1
    expected = plain_sinkhorn(scores.flatten(0, 1), 0.1, iterations).view_as(scores)
    torch.testing.assert_close(SinkhornKnopp(iterations)(scores, 0.1).double(), expected, rtol=1e-4, atol=1e-7)


def test_sinkhorn_gives_each_sample_a_distribution_and_each_prototype_its_share():
    torch.manual_seed(0)
    probabilities = SinkhornKnopp(50)(torch.rand(64, 8), 0.1)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(64))
    torch.testing.assert_close(probabilities.sum(0), torch.full((8,), 8.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize('magnitude', [1e-3, 1.0, 1e3])
@pytest.mark.parametrize('temperature', [0.005, 0.07, 1.0])
def test_sinkhorn_never_overflows(magnitude, temperature):
    torch.manual_seed(0)
    scores = torch.randn(16, 32) * magnitude
    scores[:, 0] = -1e4 * magnitude  # a prototype that is nobody's
    probabilities = SinkhornKnopp(3)(scores, temperature)
    assert probabilities.isfinite().all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(16))


def test_equal_scores_are_spread_evenly():
    torch.testing.assert_close(SinkhornKnopp(3)(torch.zeros(4, 5), 0.05), torch.full((4, 5), 0.2))


def test_targets_carry_no_gradient():
    scores = torch.randn(1, 2, 4, requires_grad=True)
    assert not Centering(4)(scores, 0.1).requires_grad
    assert not SinkhornKnopp()(scores, 0.1).requires_grad


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r'momentum=1\.0'):
        Centering(4, momentum=1.0)
    with pytest.raises(ValueError, match='iterations=0'):
        SinkhornKnopp(0)
