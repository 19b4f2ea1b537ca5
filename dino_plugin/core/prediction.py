"""Predicting the clusters of missing patches: a predictor that looks at the visible ones, and a head that clusters."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from dino_plugin.core.precision import full_precision
from dino_plugin.core.views import Tokens


class ClusterHead(nn.Module):
    """Tokens -> scores over clusters: ``W x / |x| + b``, with W from a normal distribution of standard deviation 1.

    Args:
        in_dim: Features of a token.
        prototypes: Number of clusters.
        bias: Whether there is a b; it starts at 0.

    Raises:
        ValueError: If there are fewer than 2 clusters.

    References:
        Darcet et al. 2025 (CAPI), arXiv:2502.08769, section 3, and their code for the initial weights.
    """

    def __init__(self, in_dim: int, prototypes: int, bias: bool = True) -> None:
        super().__init__()
        if prototypes < 2:
            raise ValueError(f'ClusterHead: prototypes={prototypes}; at least 2 clusters are needed.')
        self.prototypes = prototypes
        self.layer = nn.Linear(in_dim, prototypes, bias=bias)
        nn.init.normal_(self.layer.weight)
        if bias:
            nn.init.zeros_(self.layer.bias)

    def forward(self, tokens: Float[Tensor, '*leading dim']) -> Float[Tensor, '*leading prototypes']:
        """Scores before temperature and softmax."""
        return self.layer(normalize(full_precision(tokens), dim=-1).to(tokens.dtype))


class PatchPredictor(nn.Module):
    """Scores of the masked patches, from the class token and the visible patches.

    q_j = mask token + position of j                             for each masked patch j
    q_j <- q_j + attention(q_j, visible tokens);  q_j <- q_j + MLP(q_j)        in each block
    scores_j = clusters of q_j, by a `ClusterHead` of its own

    The queries do not see each other, so the number of masked patches may differ between images. Positions are sines
    and cosines of rows and columns as shares of the grid, so any grid will do.

    Args:
        in_dim: Features of a token.
        prototypes: Number of clusters, that of the head that gives the targets.
        dim: Width; a multiple of 4 and of ``num_heads``.
        depth: Blocks; in the paper half as many as the backbone has.
        num_heads: Of the attention.

    Raises:
        ValueError: If the width is no multiple of both, or there is no block.

    References:
        Darcet et al. 2025 (CAPI), arXiv:2502.08769, section 3; rotary positions there.
    """

    def __init__(self, in_dim: int, prototypes: int, dim: int = 384, depth: int = 6, num_heads: int = 6) -> None:
        super().__init__()
        if depth < 1 or dim % 4 or dim % num_heads:
            raise ValueError(
                f'PatchPredictor: dim={dim} must be a multiple of 4 and of num_heads={num_heads}, and depth={depth} '
                'at least 1.'
            )
        self.prototypes = prototypes
        self.mask_token = nn.Parameter(0.02 * torch.randn(dim))
        self.enter = nn.Linear(in_dim, dim)
        self.blocks = nn.ModuleList(_CrossBlock(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.clusters = ClusterHead(dim, prototypes, bias=False)

    def forward(
        self, tokens: Tokens, masks: Bool[Tensor, 'views batch rows columns']
    ) -> Float[Tensor, 'masked prototypes']:
        """Scores of the masked patches, in the order of the flattened masks."""
        masked = masks.flatten(0, 1).flatten(1)
        position = grid_positions(masks.shape[2], masks.shape[3], len(self.mask_token)).to(masks.device)
        patches = self.enter(tokens.patches.flatten(0, 1).flatten(1, 2)) + position
        context = torch.cat([self.enter(tokens.class_token.flatten(0, 1))[:, None], patches], dim=1)
        hidden = torch.cat([masked.new_zeros(len(masked), 1), masked], dim=1)
        queries = (self.mask_token + position).expand(len(masked), -1, -1).to(context.dtype)
        for block in self.blocks:
            queries = block(queries, context, hidden)
        return self.clusters(self.norm(queries)[masked])


class _CrossBlock(nn.Module):
    """Queries look at a context, not at each other."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(
        self,
        queries: Float[Tensor, 'batch queries dim'],
        context: Float[Tensor, 'batch tokens dim'],
        hidden: Bool[Tensor, 'batch tokens'],
    ) -> Float[Tensor, 'batch queries dim']:
        seen = self.norms[1](context)
        found, _ = self.attention(self.norms[0](queries), seen, seen, key_padding_mask=hidden, need_weights=False)
        queries = queries + found
        return queries + self.mlp(self.norms[2](queries))


def grid_positions(rows: int, columns: int, dim: int) -> Float[Tensor, 'patches dim']:
    """Sines and cosines of each patch's row and column, as shares of the grid; a quarter of ``dim`` is each of them."""
    frequency = 2 * math.pi * torch.logspace(0, 1, dim // 4, base=16) / 2
    row, column = ((torch.arange(number) + 0.5) / number for number in (rows, columns))
    angles = torch.stack(torch.meshgrid(row, column, indexing='ij')).flatten(1)[..., None] * frequency
    return torch.cat([angles.sin(), angles.cos()], dim=-1).permute(1, 0, 2).flatten(1)
