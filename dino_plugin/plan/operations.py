"""How many floating-point operations code takes, on real tensors or on shapes alone."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


class Operations(TorchDispatchMode):
    """Counts those of products, convolutions and attention by PyTorch's formulas; the rest is not counted.

    PyTorch's own `FlopCounterMode` keeps tensors alive that recomputed blocks let go, and has no formula for attention
    on a CPU.

    Attributes:
        total: So far; a multiplication and an addition are two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run an operation and add its number."""
        results = operation(*args, **(kwargs or {}))
        packet = operation._overloadpacket
        if packet is _ATTENTION:
            self.total += sdpa_flop_count(*(tensor.shape for tensor in args[:3]))
        elif packet is _ATTENTION_BACKWARD:
            self.total += sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4]))
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=results)
        return results


_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
