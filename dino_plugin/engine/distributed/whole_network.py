"""A sharded network as a whole, for work that processes do by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.fsdp import FSDPModule


@contextmanager
def whole_network(network: nn.Module) -> Iterator[None]:
    """Within this, each process has all parameters of the network and may compute with it without the others.

    All processes enter and leave together. A network that is not sharded stays as it is. Parameters must not change.
    """
    units = [module for module in network.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(True, recurse=False)
