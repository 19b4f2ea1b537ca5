"""Each process holds a part of every network: FSDP2 as a model wrapper of mmengine."""

import warnings
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import broadcast
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from dino_plugin.core.reduce import num_ranks
from dino_plugin.engine.distributed.deferred_networks import DeferredNetworks
from dino_plugin.engine.precision import PRECISIONS

_METHODS = ('forward_together', 'intermediates')  # of backbones, which compute like `forward`


class FullyShard(nn.Module):
    """Wrapper for several processes: each holds a part of the parameters, gradients and the optimiser's state.

    It takes the place of DistributedDataParallel, ``model_wrapper_cfg=dict(type='dino_plugin.FullyShard')``, and trains
    the same. With P processes each keeps 1/P of all networks: student, teacher, frozen teacher and Gram's anchor, or a
    backbone and a text tower. A block of a network is whole only while it computes; processes gather it before and drop
    it after, in the backward pass again.
    Gradients are averaged over the processes and cut in the same way, so an optimiser step, and the teacher's step,
    need no exchange.

    Names of parameters stay. A parameter is cut along its first axis. Statistics (batch norms, centres) are whole in
    each process.

    Args:
        module: The model, filled in by mmengine. Its method ``parts_to_shard`` names the parts that compute by
            themselves: their parameters are read by their own ``forward``, `forward_together` or `intermediates` alone.
        replicas: Groups of processes that each hold all parts, usually the number of machines: gathering stays inside a
            group, only gradients are exchanged between groups. It divides the number of processes; 1: one group.
        precision: In which parameters are gathered, 'fp32' or 'bf16', which halves the exchange. Parameters are kept
            and gradients are averaged in float32 in any case. With autocast in bf16 (``optim_wrapper.precision``)
            choose 'bf16': otherwise autocast keeps a copy of each block in bf16. Parts of single numbers, such as the
            scale of a contrastive loss, stay in float32. With autocast in fp16 choose 'fp32':
            parameters in fp16 would make the sum that runs through the blocks fp16, too, and its gradients overflow.

    Raises:
        ValueError: If the model does not name its parts, replicas do not divide the processes, the precision is
            unknown, a batch norm would compute in half precision, or a parameter that learns is outside of the parts.

    References:
        Zhao et al. 2023, arXiv:2304.11277; ``torch.distributed.fsdp.fully_shard``.
    """

    def __init__(self, module: BaseModel, replicas: int = 1, precision: str = 'fp32') -> None:
        super().__init__()
        if precision not in ('fp32', 'bf16'):
            raise ValueError(
                f"FullyShard: precision={precision!r}, expected 'fp32' or 'bf16'. Autocast in fp16 "
                "(optim_wrapper.precision) goes with 'fp32' here."
            )
        if not hasattr(module, 'parts_to_shard'):
            raise ValueError(
                f'{type(module).__name__} does not say by a method parts_to_shard which parts FullyShard may cut: '
                'leave out model_wrapper_cfg, and each process holds the whole model.'
            )
        # Class token and patches are views of one tensor, which no loss changes in place.
        warnings.filterwarnings('ignore', 'FSDP2-wrapped module .* returned a view tensor')
        self.module = module
        self.parts = [part for part in dict.fromkeys(module.parts_to_shard()) if any(True for _ in part.parameters())]
        _check_parts(module, self.parts, halved=PRECISIONS[precision] is not None)
        deferred = DeferredNetworks(module) if getattr(module, 'deferred', None) is not None else None
        if deferred is None:
            for tensor in module.state_dict().values():
                broadcast(tensor)
        mesh = _mesh(get_device(), replicas)
        for part in self.parts:
            policy = _policy(part, PRECISIONS[precision])
            for unit in (*blocks_of(part), part):
                fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
            for name in _METHODS:
                if hasattr(part, name):
                    register_fsdp_forward_method(part, name)
        if deferred is not None:
            deferred.draw(get_device())

    def forward(self, *args, **kwargs) -> Any:
        """That of the model."""
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        """One batch; batches that are accumulated exchange gradients at the last one only."""
        exchange = optim_wrapper.should_sync()
        for part in self.parts:
            part.set_requires_gradient_sync(exchange)
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> list:
        """That of the model."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        """That of the model."""
        return self.module.test_step(data)


def blocks_of(part: nn.Module) -> list[nn.Module]:
    """The blocks of a network of timm or of a text tower of open_clip, which are gathered one at a time."""
    sequences = [module for name, module in part.named_modules() if name.rpartition('.')[2] in ('blocks', 'resblocks')]
    return [block for blocks in sequences for block in blocks.children()]


def _mesh(device: str, replicas: int):
    """One group of processes, or several that hold the same."""
    if replicas < 1 or num_ranks() % replicas:
        raise ValueError(f'FullyShard: replicas={replicas} must divide the number of processes, {num_ranks()}.')
    if replicas == 1:
        return init_device_mesh(device, (num_ranks(),))
    return init_device_mesh(device, (replicas, num_ranks() // replicas), mesh_dim_names=('replicas', 'parts'))


def _policy(part: nn.Module, dtype: torch.dtype | None) -> MixedPrecisionPolicy:
    if dtype is None or all(parameter.numel() == 1 for parameter in part.parameters()):
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)


def _check_parts(model: nn.Module, parts: list[nn.Module], halved: bool) -> None:
    inside = {parameter for part in parts for parameter in part.parameters()}
    outside = [name for name, value in model.named_parameters() if value.requires_grad and value not in inside]
    if outside:
        raise ValueError(
            f'FullyShard: {outside} are outside of the parts that the model names, such as backbones, heads and '
            'modules of losses, so that their gradients would not be averaged; put them into one, or train without '
            'FullyShard.'
        )
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if halved and norms:
        raise ValueError(
            f"FullyShard: batch norms, such as {norms[0]}, do not compute in half precision; use precision='fp32' of "
            'FullyShard (autocast may still be bf16), or heads with batch_norm=False.'
        )
