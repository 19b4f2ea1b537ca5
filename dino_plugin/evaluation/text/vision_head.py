"""What is trained on top of the frozen backbone: some blocks that bring its tokens nearer to texts."""

import torch
from jaxtyping import Float
from timm.layers import Mlp, SwiGLU
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dino_plugin.core.views import Tokens

FEATURES = ('class', 'mean', 'class+mean')


class VisionHead(nn.Module):
    """Class token and patches of the backbone -> blocks -> LayerNorm -> one vector for the image.

    vector = [class token ; mean of the patches]

    So the second half of a text's vector lies in the space of patches, and can be compared with each of them. Blocks
    have no positions of their own. Without blocks there is nothing to train here: with ``features='class'`` this is
    LiT.

    Args:
        dim: Width of the backbone.
        blocks: Number of blocks; 0: tokens stay as they are, without LayerNorm.
        heads: Of each block; None: one for 64 features.
        mlp: 'swiglu', with about two thirds of the width, a multiple of 64; or 'mlp'.
        mlp_ratio: Width within the MLP, in units of ``dim``; SwiGLU's two thirds of it have as many parameters.
        layer_scale: Initial factor of each residual.
        drop_path: Probability that a residual is left out.
        features: 'class', 'mean' of the patches, or 'class+mean'.

    Raises:
        ValueError: If `mlp` or `features` is another word, or `dim` is no multiple of `heads`.

    References:
        Jose et al. 2024, arXiv:2412.16334 (dino.txt), section 3; Zhai et al. 2022, arXiv:2111.07991 (LiT).
    """

    def __init__(
        self,
        dim: int,
        blocks: int = 2,
        heads: int | None = None,
        mlp: str = 'swiglu',
        mlp_ratio: float = 4.0,
        layer_scale: float = 1e-5,
        drop_path: float = 0.3,
        features: str = 'class+mean',
    ) -> None:
        super().__init__()
        if features not in FEATURES or mlp not in ('swiglu', 'mlp'):
            raise ValueError(
                f"VisionHead: features is one of {FEATURES} and mlp 'swiglu' or 'mlp'; got {features!r} and {mlp!r}."
            )
        heads = heads or max(1, dim // 64)
        if dim % heads:
            raise ValueError(f'VisionHead: {heads} heads do not divide the width of {dim}; set vision.heads.')
        hidden = dim * mlp_ratio if mlp == 'mlp' else -(-dim * mlp_ratio * 2 / 3 // 64) * 64
        self.blocks = nn.Sequential(*(
            Block(
                dim, heads, mlp_ratio=(hidden + 0.5) / dim, qkv_bias=True, init_values=layer_scale, drop_path=drop_path,
                mlp_layer=SwiGLU if mlp == 'swiglu' else Mlp, act_layer=nn.SiLU if mlp == 'swiglu' else nn.GELU,
            )
            for _ in range(blocks)
        ))  # fmt: skip
        self.norm = nn.LayerNorm(dim) if blocks else nn.Identity()
        self.features = features
        self.out_dim = dim * len(features.split('+'))
        self.patch_part = None if features == 'class' else slice(self.out_dim - dim, None)  # of a text's vector

    def forward(self, tokens: Tokens) -> Tokens:
        """The tokens in the space of texts."""
        grid = tokens.patches.shape[1:3]
        sequence = torch.cat([tokens.class_token[:, None], tokens.patches.flatten(1, 2)], dim=1)
        sequence = self.norm(self.blocks(sequence))
        return Tokens(sequence[:, 0], sequence[:, 1:].unflatten(1, grid))

    def vectors(self, tokens: Tokens) -> Float[Tensor, 'images dim']:
        """One vector for each image, of tokens that `forward` gave."""
        parts = {'class': tokens.class_token, 'mean': tokens.patches.mean(dim=(1, 2))}
        return torch.cat([parts[name] for name in self.features.split('+')], dim=-1)
