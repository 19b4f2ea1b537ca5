"""Stochastic depth that drops samples before a residual branch, so that their work is saved."""

import torch
from jaxtyping import Float, Int
from timm.layers import DropPath
from torch import Tensor, nn

# The children of timm's pre-norm blocks in the order of the forward pass, without LayerScale.
_PRE_NORM = ['norm1', 'attn', 'drop_path1', 'norm2', 'mlp', 'drop_path2']
_LAYER_SCALE = ('ls1', 'ls2')


class SubsetDropPath(nn.Module):
    """Stochastic depth of one residual branch f, which is computed for a random subset S of the batch only.

    y[i] = x[i] + batch / |S| * f(x[i])     for i in S, with |S| = max(1, int(batch * (1 - rate)))
    y[i] = x[i]                             for the others

    The mean over all subsets is x + f(x). timm's ``DropPath`` computes every residual and multiplies some by zero; this
    saves their time and memory, and keeps the same number of samples of each batch.

    It replaces the drop path of timm's block: :meth:`select`, a forward pre-hook of the branch's normalisation, picks
    the samples, and ``forward`` returns a residual for the whole batch. In evaluation, and with a rate of 0, both do
    nothing.

    Args:
        rate: Share of the samples without the residual, in [0, 1).

    Raises:
        ValueError: If the rate is outside [0, 1).

    References:
        Oquab et al. 2023 (DINOv2), arXiv:2304.07193, section 5. Their code uses ordinary stochastic depth for rates up
        to 0.1; this does not.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f'SubsetDropPath: rate={rate} is the share of samples without a residual, in [0, 1).')
        self.rate = rate
        self.batch = 0
        self.subset: Tensor | None = None

    def draw(self, batch: int, device: torch.device) -> Int[Tensor, ' subset']:
        """Indices of the samples of a batch that enter the branch."""
        return torch.randperm(batch, device=device)[: max(1, int(batch * (1 - self.rate)))]

    def select(self, norm: nn.Module, inputs: tuple[Float[Tensor, 'batch *rest']]) -> tuple[Tensor]:
        """The samples that enter the branch."""
        if not self.training or self.rate == 0:
            return inputs
        self.batch = len(inputs[0])
        self.subset = self.draw(self.batch, inputs[0].device)
        return (inputs[0].index_select(0, self.subset),)

    def forward(self, residual: Float[Tensor, 'subset *rest']) -> Float[Tensor, 'batch *rest']:
        """The residuals, scaled, at their positions in the batch; zero for the dropped samples.

        Raises:
            ValueError: If the block regroups the batch, as blocks that cut images into windows do.
        """
        if not self.training or self.rate == 0:
            return residual
        subset, self.subset = self.subset, None
        if len(residual) != len(subset):
            raise ValueError(
                f'SubsetDropPath: a residual of {len(residual)} samples for {len(subset)} that entered the branch; the '
                "block regroups its batch. Use timm's drop_path_rate for this network."
            )
        zeros = residual.new_zeros(self.batch, *residual.shape[1:])
        return zeros.index_add(0, subset, residual, alpha=self.batch / len(subset))

    def extra_repr(self) -> str:
        """The rate."""
        return f'rate={self.rate}'


def use_subset_drop_path(model: nn.Module, rate: float) -> None:
    """Put a :class:`SubsetDropPath` into both branches of each block, with the same rate for all blocks.

    Names and number of the parameters do not change. A deep copy of the network draws its own samples.

    Args:
        model: timm transformer of pre-norm blocks: VisionTransformer with or without registers, Eva, BEiT.
        rate: Share of the samples without a residual, in [0, 1).

    Raises:
        ValueError: If the rate is outside [0, 1), the network has other blocks, or it has stochastic depth already.

    References:
        DINOv2's and DINOv3's recipes use one rate for all blocks; timm's ``drop_path_rate`` grows linearly.
    """
    blocks = list(getattr(model, 'blocks', []))
    if not blocks or not all(_is_pre_norm(block) for block in blocks):
        raise ValueError(
            f'use_subset_drop_path: {type(model).__name__} is not made of blocks with {_PRE_NORM}, in this order and '
            "without other parts; use timm's drop_path_rate for this network."
        )
    if any(isinstance(part, (DropPath, SubsetDropPath)) for block in blocks for part in block.children()):
        raise ValueError(
            f'use_subset_drop_path: {type(model).__name__} has stochastic depth already; give drop_path_rate=0.'
        )
    for block in blocks:
        block.drop_path1, block.drop_path2 = SubsetDropPath(rate), SubsetDropPath(rate)
        block.norm1.register_forward_pre_hook(block.drop_path1.select)
        block.norm2.register_forward_pre_hook(block.drop_path2.select)


def _is_pre_norm(block: nn.Module) -> bool:
    """Whether the block is x + drop_path1(attn(norm1(x))), then the same with the MLP.

    Post-norm blocks have the same children in another order; parallel blocks have further children.
    """
    return [name for name, _ in block.named_children() if name not in _LAYER_SCALE] == _PRE_NORM
