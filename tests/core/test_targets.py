import pytest
import torch
from processes import run_in_processes

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


def test_a_batch_without_samples_leaves_the_centre_alone():
    target = Centering(4)
    target(torch.ones(1, 2, 4), 0.1)
    before = target.center.clone()
    assert target(torch.ones(0, 4), 0.1).shape == (0, 4)
    assert torch.equal(target.center, before)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_targets_of_half_precision_scores_are_float32(dtype):
    scores = torch.randn(3, 4).to(dtype)
    for target in (Centering(4).eval(), SinkhornKnopp()):
        assert torch.equal(target(scores, 0.1), target(scores.float(), 0.1))


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


def test_what_is_assigned_evenly_already_stays_as_it_is():
    """Latin squares have equal sums over samples and over prototypes."""
    square = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])
    torch.testing.assert_close(SinkhornKnopp(1)(0.1 * square.log(), 0.1), square)


@pytest.mark.parametrize('iterations', [1, 3])
def test_before_the_last_normalisation_of_samples_each_prototype_had_the_same_share(iterations):
    """That step scales each sample by one number: some positive numbers must give all 9 prototypes equal sums."""
    torch.manual_seed(0)
    probabilities = SinkhornKnopp(iterations)(torch.randn(4, 9), 0.5).double()
    scales = torch.linalg.lstsq(probabilities.T, torch.ones(9, 1, dtype=torch.float64)).solution
    assert (scales > 0).all()
    torch.testing.assert_close(probabilities.T @ scales, torch.ones(9, 1, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    assert probabilities.sum(0).std() > 1e-4  # afterwards the shares differ a little


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('magnitude', [1e-3, 1.0, 1e2, 1e4])
@pytest.mark.parametrize('temperature', [1e-3, 0.005, 0.07, 1.0])
def test_sinkhorn_gives_distributions_at_any_temperature_and_magnitude(temperature, magnitude, dtype):
    torch.manual_seed(0)
    scores = torch.randn(16, 32) * magnitude
    scores[:, 0] = -1e4 * magnitude  # a prototype that is nobody's
    scores[1] = scores[2]  # two samples that are the same
    probabilities = SinkhornKnopp(3)(scores.to(dtype), temperature)
    assert probabilities.dtype == torch.float32
    assert probabilities.isfinite().all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(16))
    torch.testing.assert_close(probabilities[1], probabilities[2])


def test_a_sample_that_is_far_from_every_prototype_gets_a_distribution_in_the_first_round():
    """At 1e7, neighbouring numbers of float32 lie 1 apart: ln 3 is lost in a sum."""
    scores = torch.tensor([[0.0, 0.0, 0.0], [-1e4, -1e4, -1e4]])
    torch.testing.assert_close(SinkhornKnopp(1)(scores, 1e-3), torch.full((2, 3), 1 / 3))


@pytest.mark.parametrize(('samples', 'prototypes'), [(1, 5), (5, 1), (1, 1), (0, 4)])
def test_sinkhorn_of_one_sample_is_even_and_of_one_prototype_certain(samples, prototypes):
    torch.manual_seed(0)
    probabilities = SinkhornKnopp(3)(torch.randn(samples, prototypes), 0.05)
    torch.testing.assert_close(probabilities, torch.full((samples, prototypes), 1 / prototypes))


@pytest.mark.parametrize('score', [0.0, -3.0, 1e4])
def test_equal_scores_are_spread_evenly(score):
    torch.testing.assert_close(SinkhornKnopp(3)(torch.full((4, 5), score), 0.05), torch.full((4, 5), 0.2))
    rows = torch.randn(1, 5).expand(4, 5)  # as all samples want the same, each gets an even share
    torch.testing.assert_close(SinkhornKnopp(3)(rows, 0.05), torch.full((4, 5), 0.2))


def test_targets_carry_no_gradient():
    scores = torch.randn(1, 2, 4, requires_grad=True)
    assert not Centering(4)(scores, 0.1).requires_grad
    assert not SinkhornKnopp()(scores, 0.1).requires_grad


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r'momentum=1\.0'):
        Centering(4, momentum=1.0)
    with pytest.raises(ValueError, match='iterations=0'):
        SinkhornKnopp(0)


def test_a_queue_is_the_assignment_of_the_batch_and_the_last_samples_together():
    torch.manual_seed(0)
    batches = [torch.randn(2, 3, 4) for _ in range(4)]
    target = SinkhornKnopp(3, queue=10, prototypes=4)
    for number, batch in enumerate(batches):
        found = target(batch, 0.1)
        rows = [sample for earlier in batches[:number][::-1] for sample in earlier.flatten(0, 1)][:10]
        together = torch.stack([*batch.flatten(0, 1), *rows])
        expected = plain_sinkhorn(together, 0.1, 3)[:6].view(2, 3, 4)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)
        assert int(target.num_kept) == min(10, 6 * (number + 1))


def test_an_empty_queue_changes_nothing_and_evaluation_fills_none():
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 4)
    target = SinkhornKnopp(3, queue=10, prototypes=4).eval()
    torch.testing.assert_close(target(scores, 0.1), SinkhornKnopp(3)(scores, 0.1))
    assert int(target.num_kept) == 0


def test_a_queue_is_state_and_a_batch_of_nan_leaves_it_alone():
    torch.manual_seed(0)
    target, resumed = (SinkhornKnopp(3, queue=5, prototypes=4) for _ in range(2))
    target(torch.randn(2, 3, 4), 0.1)
    resumed.load_state_dict(target.state_dict())
    before = target.kept.clone()
    target(torch.full((1, 2, 4), float('nan')), 0.1)
    assert torch.equal(target.kept, before)
    scores = torch.randn(2, 3, 4)
    assert torch.equal(target(scores, 0.1), resumed(scores, 0.1))


def test_a_queue_makes_a_small_batch_use_the_prototypes_as_a_large_one_does():
    """With all other samples in the queue, the last batch gets the targets that all together would give it."""
    torch.manual_seed(0)
    scores = torch.randn(400, 8)
    target = SinkhornKnopp(3, queue=392, prototypes=8)
    for batch in scores.flip(0).split(8):
        last = target(batch, 0.2)
    whole = SinkhornKnopp(3)(scores, 0.2)[:8].flip(0)
    torch.testing.assert_close(last, whole, rtol=1e-3, atol=1e-5)
    alone = SinkhornKnopp(3)(scores[:8].flip(0), 0.2)
    assert (alone - whole).abs().max() > 0.1


def test_a_queue_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match='queue=-1'):
        SinkhornKnopp(3, queue=-1, prototypes=4)
    with pytest.raises(ValueError, match='prototypes=None'):
        SinkhornKnopp(3, queue=4)


def _a_part_with_its_queue(rank, batches, expected):
    target = SinkhornKnopp(3, queue=100, prototypes=4)
    for batch in batches:
        found = target(batch[:, 3 * rank : 3 * rank + 3], 0.1)
    torch.testing.assert_close(found, expected[:, 3 * rank : 3 * rank + 3], rtol=1e-4, atol=1e-6)


def test_queues_of_two_ranks_are_one_queue():
    torch.manual_seed(0)
    batches = [torch.randn(2, 6, 4) for _ in range(3)]
    whole = SinkhornKnopp(3, queue=100, prototypes=4)
    expected = [whole(batch, 0.1) for batch in batches][-1]
    run_in_processes(_a_part_with_its_queue, batches, expected)
