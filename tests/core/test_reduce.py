import torch
from processes import run_in_processes

from dino_plugin.core import reduce
from dino_plugin.core.targets import Centering, SinkhornKnopp


def check_collectives(rank):
    tensor = torch.tensor([1.0, 2.0]) * (rank + 1)
    original = tensor.clone()
    assert torch.equal(reduce.sum_over_ranks(tensor), torch.tensor([3.0, 6.0]))
    assert torch.equal(reduce.max_over_ranks(tensor), torch.tensor([2.0, 4.0]))
    assert torch.equal(reduce.gather_with_gradient(tensor), torch.tensor([1.0, 2.0, 2.0, 4.0]))
    rows = torch.full((rank * 2 + 1, 2), rank, dtype=torch.long)
    assert reduce.gather_over_ranks(rows).tolist() == [[0, 0]] + [[1, 1]] * 3
    assert torch.equal(tensor, original)
    assert reduce.rows_before(rows) == rank  # the first process has one row
    assert reduce.num_ranks() == 2
    check_gradient(rank)


def check_gradient(rank):
    """Rank r finds (r + 1) i for row i of the gathered rows; columns lie far apart in memory."""
    rows = torch.randn(3, 2, requires_grad=True)
    gathered = reduce.gather_with_gradient(rows.T)
    assert torch.equal(gathered.chunk(2)[rank], rows.T)
    (gathered * (rank + 1) * torch.arange(4.0)[:, None]).sum().backward()
    expected = 3 * torch.tensor([[0.0, 1.0], [2.0, 3.0]])[rank]
    assert torch.equal(rows.grad, expected.expand(3, 2))


def test_collectives_combine_ranks_of_any_length_and_leave_their_argument_alone():
    run_in_processes(check_collectives)


def test_without_a_process_group_each_is_the_identity():
    tensor = torch.randn(3, 2)
    collectives = reduce.sum_over_ranks, reduce.max_over_ranks, reduce.gather_over_ranks, reduce.gather_with_gradient
    for function in collectives:
        assert function(tensor) is tensor
    assert reduce.rows_before(tensor) == 0


SHARES = [(5, 2), (4, 0), (0, 1), (3, 3), (0, 0)]


def check_targets(rank, scores, sinkhorn, centers):
    for share, probabilities, center in zip(SHARES, sinkhorn, centers, strict=True):
        mine = slice(0, share[0]) if rank == 0 else slice(share[0], sum(share))
        torch.testing.assert_close(SinkhornKnopp(3)(scores[mine], 0.1), probabilities[mine])
        target = Centering(5)
        target(torch.ones(1, 5), 0.1)
        target(scores[mine], 0.1)
        torch.testing.assert_close(target.center, center)


def test_two_ranks_with_any_shares_of_the_samples_make_the_same_targets_as_one():
    torch.manual_seed(0)
    scores = torch.randn(7, 5)
    sinkhorn, centers = [], []
    for share in SHARES:
        target = Centering(5)
        target(torch.ones(1, 5), 0.1)
        target(scores[: sum(share)], 0.1)
        sinkhorn.append(SinkhornKnopp(3)(scores[: sum(share)], 0.1))
        centers.append(target.center)
    run_in_processes(check_targets, scores, sinkhorn, centers)
