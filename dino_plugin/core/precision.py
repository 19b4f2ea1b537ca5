"""Full precision where half precision would lose: softmax, logarithm, norm and similarity."""

import torch
from jaxtyping import Float
from torch import Tensor


def full_precision(tensor: Float[Tensor, '*shape']) -> Float[Tensor, '*shape']:
    """The tensor in float32; one in float64 stays, so that a network in float64 trains in float64 throughout."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
