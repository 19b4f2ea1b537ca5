"""Collectives: the only file that talks to ``torch.distributed``.

Without a process group each collective returns its argument. None writes to its argument, and only
`gather_with_gradient` carries a gradient.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate


def num_ranks() -> int:
    """Number of processes in the default group; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def join_processes_on_cpu(patience: timedelta | None = None) -> None:
    """Join the processes that torchrun started into the default group, by gloo.

    Args:
        patience: How long one waits for another; None: PyTorch's default.
    """
    dist.init_process_group('gloo', timeout=patience)


def sum_over_ranks(tensor: Shaped[Tensor, '*shape']) -> Shaped[Tensor, '*shape']:
    """Elementwise sum over the processes."""
    if num_ranks() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def max_over_ranks(tensor: Float[Tensor, '*shape']) -> Float[Tensor, '*shape']:
    """Elementwise maximum over the processes."""
    if num_ranks() == 1:
        return tensor
    largest = tensor.detach().clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


def gather_over_ranks(tensor: Shaped[Tensor, 'rows *shape']) -> Shaped[Tensor, 'all_rows *shape']:
    """Concatenate along the first axis, in the order of ranks; the lengths may differ between ranks."""
    if num_ranks() == 1:
        return tensor
    lengths = [torch.zeros(1, dtype=torch.long, device=tensor.device) for _ in range(num_ranks())]
    dist.all_gather(lengths, torch.tensor([len(tensor)], device=tensor.device))
    longest = int(max(lengths))
    padded = tensor.new_zeros((longest, *tensor.shape[1:]))
    padded[: len(tensor)] = tensor.detach()
    parts = [torch.empty_like(padded) for _ in range(num_ranks())]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(length)] for part, length in zip(parts, lengths, strict=True)])


def rows_before(tensor: Shaped[Tensor, 'rows *shape']) -> int:
    """Where the rows of this process begin in ``gather_over_ranks(tensor)``; 0 without a process group."""
    if num_ranks() == 1:
        return 0
    lengths = [torch.zeros(1, dtype=torch.long, device=tensor.device) for _ in range(num_ranks())]
    dist.all_gather(lengths, torch.tensor([len(tensor)], device=tensor.device))
    return sum(int(length) for length in lengths[: dist.get_rank()])


def gather_with_gradient(tensor: Float[Tensor, 'rows *shape']) -> Float[Tensor, 'all_rows *shape']:
    """Concatenate along the first axis, in the order of ranks; gradients flow back to each rank's part.

    The gradient of ``tensor`` is the sum over ranks of their gradients for this part. With gradients averaged over
    ranks, as in DDP, a loss of the gathered rows trains like one process that has all rows.

    Args:
        tensor: Of the same shape on every rank, so that the host need not wait for an exchange of lengths.
    """
    return tensor if num_ranks() == 1 else _Gather.apply(tensor)


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a sharded tensor, without a copy; another tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All parts of a sharded tensor, in every process; another tensor itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def norms_over_shards(tensors: Sequence[Tensor]) -> Float[Tensor, ' tensors']:
    """L2 norm of each tensor; that of a sharded one is of all its parts, in every process.

    Args:
        tensors: Those that are sharded are so in one way.
    """
    norms = torch.stack(torch._foreach_norm([own_part(tensor) for tensor in tensors]))
    sharded = {index: tensor for index, tensor in enumerate(tensors) if isinstance(tensor, DTensor)}
    if sharded:
        where, one = list(sharded), next(iter(sharded.values()))
        parts = [Partial() if placement.is_shard() else Replicate() for placement in one.placements]
        squares = DTensor.from_local(norms[where].square(), one.device_mesh, parts, run_check=False)
        norms[where] = squares.full_tensor().sqrt()
    return norms


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(num_ranks())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient).chunk(num_ranks())[dist.get_rank()]
