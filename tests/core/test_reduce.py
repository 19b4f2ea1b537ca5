import torch
from processes import run_in_processes

from dino_plugin.core import reduce
from dino_plugin.core.targets import Centering, SinkhornKnopp


def check_collectives(rank):
    tensor = torch.tensor([1.0, 2.0]) * (rank + 1)
    original = tensor.clone()
    assert torch.equal(reduce.sum_over_ranks(tensor), torch.tensor([3.0, 6.0]))
    assert torch.equal(reduce.mean_over_ranks(tensor), torch.tensor([1.5, 3.0]))
    assert torch.equal(reduce.max_over_ranks(tensor), torch.tensor([2.0, 4.0]))
    rows = torch.full((rank * 2 + 1, 2), rank, dtype=torch.long)
    assert reduce.gather_over_ranks(rows).tolist() == [[0, 0]] + [[1, 1]] * 3
    assert torch.equal(tensor, original)
    assert reduce.num_ranks() == 2


def test_collectives_combine_ranks_of_any_length_and_leave_their_argument_alone():
    run_in_processes(check_collectives)


def test_without_a_process_group_each_is_the_identity():
    tensor = torch.randn(3, 2)
    for function in (
        reduce.sum_over_ranks, reduce.mean_over_ranks, reduce.max_over_ranks, reduce.gather_over_ranks
    ):  # fmt: skip
        assert function(tensor) is tensor


def check_targets(rank, scores, sinkhorn, center):
    mine = scores[:, :2] if rank == 0 else scores[:, 2:]  # unequal shares
    probabilities = SinkhornKnopp(3)(mine, 0.1)
    torch.testing.assert_close(probabilities, sinkhorn[:, :2] if rank == 0 else sinkhorn[:, 2:])
    target = Centering(5)
    target(scores[:, :3] if rank == 0 else scores[:, 3:], 0.1)
    torch.testing.assert_close(target.center, center)


def test_two_ranks_make_the_same_targets_as_one():
    torch.manual_seed(0)
    scores = torch.randn(2, 6, 5)
    single = Centering(5)
    single(scores, 0.1)
    run_in_processes(check_targets, scores, SinkhornKnopp(3)(scores, 0.1), single.center)
