"""Queries, keys, values and attention probabilities of any block of a transformer."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.backbones.tokens import grid_of

# CaiT and XCiT have a class token only in blocks of their own, after the blocks for patches.
_LISTS_OF_BLOCKS = ('cls_attn_blocks', 'blocks_token_only', 'blocks')


class BlockAttention(NamedTuple):
    """What the attention of one block computes with: after its projections, QK norm and rotary positions.

    Tokens are in the network's order: class token, other tokens such as registers, then the patches row by row. An
    image whose sides are no whole number of patches was padded at the bottom and right: the last patches hold its edge.

    Args:
        queries: Of all tokens; of the class token alone in CaiT and XCiT.
        keys: Of all tokens.
        values: Of all tokens.
        scale: Factor of the scores.
        bias: Added to the scores (BEiT's relative positions), or None.
        grid: Rows and columns of patches.
        has_class_token: Whether token 0 is a class token.
    """

    queries: Float[Tensor, 'batch heads queries head_dim']
    keys: Float[Tensor, 'batch heads tokens head_dim']
    values: Float[Tensor, 'batch heads tokens head_dim']
    scale: float
    bias: Tensor | None
    grid: tuple[int, int]
    has_class_token: bool

    def probabilities(self, tokens: Sequence[int] = (0,)) -> Float[Tensor, 'batch heads chosen tokens']:
        """How much some tokens attend to each token, in float32; each row sums to 1.

        p(i, j) = softmax_j(scale * query_i . key_j + bias_ij)

        Args:
            tokens: Places of the query tokens; 0 is the class token.
        """
        queries = self.queries[:, :, list(tokens)].float() * self.scale
        scores = queries @ self.keys.float().mT
        if self.bias is not None:
            scores = scores + self.bias[..., list(tokens), :]
        return scores.softmax(dim=-1)

    def class_maps(self) -> Float[Tensor, 'batch heads rows columns']:
        """How much the class token attends to each patch.

        A map sums to less than 1: the rest goes to the class token itself and to registers.

        Raises:
            ValueError: If the network has no class token.
        """
        if not self.has_class_token:
            raise ValueError(
                'The network has no class token, whose attention is asked for: choose one with a class token, or take '
                'the attention of patches by BlockAttention.probabilities.'
            )
        return self.of_patches(self.probabilities().mT)[..., 0]

    def of_patches(
        self, tokens: Float[Tensor, 'batch heads tokens dim']
    ) -> Float[Tensor, 'batch heads rows columns dim']:
        """Keys, queries or values of the patches, on their grid.

        Args:
            tokens: One of the fields of this tuple, or anything else with all tokens.
        """
        rows, columns = self.grid
        return tokens[:, :, -rows * columns :].unflatten(2, self.grid)


@torch.no_grad()
def attention_of(
    backbone: nn.Module, images: Float[Tensor, 'batch channels rows columns'], blocks: Sequence[int] = (-1,)
) -> list[BlockAttention]:
    """The attention of some blocks in one forward pass, in the order of ``blocks``.

    The tensors are those that timm passes to the fused attention, so every block that timm can run fused is known:
    those of ViT, DeiT, DINO, DINOv2, DINOv3, EVA, BEiT, and the class attention of CaiT and XCiT.

    Args:
        backbone: `TimmBackbone` with a transformer, on its device; its training mode does not change. Blocks that are
            compiled run without compilation here.
        images: Normalised, of any size.
        blocks: Places of the blocks; negative ones count from the end.

    Raises:
        ValueError: If the network is convolutional, attends within windows or by steps of its own, or if there is no
            such block.
    """
    found = _blocks_of(backbone)
    for block in blocks:
        if not -len(found) <= block < len(found):
            raise ValueError(f'block {block} does not exist: the network has {len(found)}, 0 to {len(found) - 1}.')
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance('force_eager'))  # compiled blocks would pass by the records
        stack.enter_context(evaluation_mode(backbone))
        places = [block % len(found) for block in blocks]
        records = {place: stack.enter_context(_recorded(found[place], _name(backbone))) for place in set(places)}
        backbone(images)
    grid = grid_of(images, backbone.patch_size)
    num_tokens = backbone.model.num_prefix_tokens + grid[0] * grid[1]
    for (_, keys, *_), *more in records.values():
        if more or keys.shape[2] != num_tokens:
            raise ValueError(f'{_name(backbone)}: its blocks do not attend to each token of the image once. {_WANTED}')
    has_class_token = getattr(backbone.model, 'cls_token', None) is not None
    return [BlockAttention(*records[place][0], grid=grid, has_class_token=has_class_token) for place in places]


def number_of_blocks(backbone: nn.Module) -> int:
    """How many blocks `attention_of` can be asked for.

    Raises:
        ValueError: As `attention_of`.
    """
    return len(_blocks_of(backbone))


_WANTED = 'Attention is known for vision transformers such as vit_*, deit*, eva*, beit*.'


def _name(backbone: nn.Module) -> str:
    return type(backbone.model).__name__


def _blocks_of(backbone: nn.Module) -> list[nn.Module]:
    model = backbone.model
    if backbone.patch_size is None:
        raise ValueError(f'{_name(backbone)} is a convolutional network or attends within windows. {_WANTED}')
    for name in _LISTS_OF_BLOCKS:
        if hasattr(model, name):
            return list(getattr(model, name))
    raise ValueError(f'{_name(backbone)} has no list of blocks. {_WANTED}')


@contextmanager
def _recorded(block: nn.Module, network: str) -> Iterator[list[tuple]]:
    """Within this, each fused attention of the block adds its queries, keys, values, scale and bias to the list."""
    attentions = [module for module in block.modules() if hasattr(module, 'fused_attn')]
    if len(attentions) != 1:
        raise ValueError(f'{network} has {len(attentions)} fused attentions in a block, expected 1. {_WANTED}')
    (attention,), recorder = attentions, _Recorder()
    forward = attention.forward

    def watched(*inputs, **options):
        fused, attention.fused_attn = attention.fused_attn, True
        try:
            with recorder:
                return forward(*inputs, **options)
        finally:
            attention.fused_attn = fused

    attention.forward = watched
    try:
        yield recorder.records
    finally:
        del attention.forward


class _Recorder(TorchFunctionMode):
    """Notes the arguments of each `scaled_dot_product_attention`."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple] = []

    def __torch_function__(self, function, _, inputs=(), options=None):
        options = options or {}
        if function is scaled_dot_product_attention:
            queries, keys, values = inputs
            scale = options.get('scale') or queries.shape[-1] ** -0.5
            self.records.append((queries, keys, values, scale, options.get('attn_mask')))
        return function(*inputs, **options)
