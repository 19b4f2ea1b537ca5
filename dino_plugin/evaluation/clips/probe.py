"""A classifier of films: one learnt query looks at all patches of all frames."""

import math

import torch
from jaxtyping import Float
from timm.layers import AttentionPoolLatent, LayerNorm
from timm.models.eva import EvaBlock
from torch import Tensor, nn

TIMES = ('none', 'sincos', 'rope')


class AttentiveProbe(nn.Module):
    """Tokens of all frames -> scores of the classes.

        x_tp = token of patch p in frame t + position of t           'sincos'; 'rope' turns queries and keys by t
        x <- x + attention(norm(x)),  x <- x + mlp(norm(x))          num_self_blocks times, over all patches and frames
        z = attention of one learnt query over norm(x)
        scores = W (z + mlp(norm(z))) + b

    Self-attention, attention of the query and MLPs (ratio 4) have biases. Weights begin at a truncated normal of 0.02,
    biases at 0; the last layer of each residual branch of block l = 1, 2, … is divided by sqrt(2 l). In vjepa2 the
    query is also added to z; here the bias of the attention's last layer can be that constant.

    Args:
        dim: Width of the tokens.
        num_classes: Outputs.
        num_heads: Of each attention; divides `dim`.
        num_self_blocks: Blocks before the query: 0 as in V-JEPA, 3 in V-JEPA 2, 4 in DINOv3's evaluation.
        time: How frames are told apart: 'none', where their order makes no difference, 'sincos', or 'rope', which
            needs self-attention.

    Raises:
        ValueError: If `time` is another word, 'rope' has no block, or the heads do not divide the width.

    References:
        Bardes et al. 2024, arXiv:2404.08471, appendix D; Assran et al. 2025, arXiv:2506.09985; Siméoni et al. 2025,
        arXiv:2508.10104.
    """

    def __init__(
        self, dim: int, num_classes: int, num_heads: int = 6, num_self_blocks: int = 0, time: str = 'sincos'
    ) -> None:
        super().__init__()
        if time not in TIMES or (time == 'rope' and not num_self_blocks):
            raise ValueError(
                f'AttentiveProbe: time={time!r} with num_self_blocks={num_self_blocks}; time is one of {TIMES}, and '
                "'rope' needs a block of self-attention."
            )
        if dim % num_heads or dim // num_heads % 2:
            raise ValueError(f'AttentiveProbe: {num_heads} heads do not divide {dim} features into even parts.')
        self.time, self.num_heads = time, num_heads
        self.blocks = nn.ModuleList(
            EvaBlock(dim, num_heads, attn_type='rope', num_prefix_tokens=0) for _ in range(num_self_blocks)
        )
        self.norm = LayerNorm(dim)
        self.pool = AttentionPoolLatent(dim, num_heads=num_heads, norm_layer=LayerNorm)
        self.classifier = nn.Linear(dim, num_classes)
        self._draw_weights()

    def forward(self, tokens: Float[Tensor, 'batch time patches dim']) -> Float[Tensor, 'batch classes']:
        """Scores before the softmax."""
        return self.classifier(self.pool(self._looked_at(tokens)))

    @torch.no_grad()
    def attention(self, tokens: Float[Tensor, 'batch time patches dim']) -> Float[Tensor, 'batch time patches']:
        """Where the query looks: its attention to each patch, mean of the heads; sums to 1 over time and patches."""
        seen = self._looked_at(tokens)
        query = self.pool.q(self.pool.latent[0]).unflatten(-1, (self.num_heads, -1))
        keys = self.pool.kv(seen).chunk(2, dim=-1)[0].unflatten(-1, (self.num_heads, -1))
        scores = torch.einsum('qhd,bnhd->bhn', query, keys) * self.pool.scale
        return scores.softmax(dim=-1).mean(dim=1).unflatten(1, tokens.shape[1:3])

    def _looked_at(self, tokens: Tensor) -> Float[Tensor, 'batch tokens dim']:
        """What keys and values of the query are made of."""
        frames, patches, dim = tokens.shape[1:]
        if self.time == 'sincos':
            tokens = tokens + _sines_and_cosines(frames, dim, tokens).flatten(1)[:, None]
        turns = None
        if self.time == 'rope':
            angles = _sines_and_cosines(frames, dim // self.num_heads, tokens)
            turns = angles.repeat_interleave(patches, dim=0).repeat_interleave(2, dim=2).flatten(1)
        tokens = tokens.flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens, rope=turns)
        return self.norm(tokens)

    @torch.no_grad()
    def _draw_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pool.latent, std=0.02)
        branches = [(block.attn.proj, block.mlp.fc2) for block in self.blocks]
        for number, lasts in enumerate([*branches, (self.pool.proj, self.pool.mlp.fc2)], start=1):
            for last in lasts:
                last.weight /= math.sqrt(2 * number)


def _sines_and_cosines(frames: int, dim: int, like: Tensor) -> Float[Tensor, 'frames 2 half']:
    """sin(t w_k) and cos(t w_k) with w_k = 10000^(-2k / dim), of frame t = 0, 1, …"""
    rates = 10_000.0 ** (-torch.arange(0, dim, 2, device=like.device) / dim)
    angles = torch.arange(frames, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=1).to(like.dtype)
