"""Heads: tokens -> scores over prototypes."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrizations import weight_norm


class DINOHead(nn.Module):
    """Three-layer MLP, L2-normalised bottleneck, weight-normalised prototypes.

    z = W3 gelu(W2 gelu(W1 x + b1) + b2) + b3
    scores = (g * v / |v|) . z / |z|        for each prototype, without bias

    With ``norm_last_layer`` the magnitudes g stay 1, so a score is the cosine between bottleneck and prototype.

    Args:
        in_dim: Features of a token.
        prototypes: Number of outputs K (65,536 in the paper; far fewer on small data).
        hidden_dim: Width of the two hidden layers.
        bottleneck_dim: Width of the normalised bottleneck.
        norm_last_layer: Keep the prototypes' magnitudes at 1. Steadier, and needed by large networks; the authors
            release it switched off for ViT-S.
        batch_norm: Batch normalisation after the two hidden linear layers. On little data plain DINO does not learn
            without it.

    References:
        Caron et al. 2021, arXiv:2104.14294, section 3.2 and appendix C. Linear weights start from a truncated normal
        of standard deviation 0.02, as there; the prototypes keep PyTorch's initial directions.
    """

    def __init__(
        self,
        in_dim: int,
        prototypes: int = 65536,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        norm_last_layer: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in in (in_dim, hidden_dim):
            layers.append(nn.Linear(width_in, hidden_dim))
            if batch_norm:
                layers.append(nn.BatchNorm1d(hidden_dim))
            layers.append(nn.GELU())
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden_dim, bottleneck_dim))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = prototypes
        self.last_layer = weight_norm(nn.Linear(bottleneck_dim, prototypes, bias=False))
        magnitude = self.last_layer.parametrizations.weight.original0
        nn.init.ones_(magnitude)
        magnitude.requires_grad_(not norm_last_layer)

    def forward(self, tokens: Float[Tensor, '*leading dim']) -> Float[Tensor, '*leading prototypes']:
        """Scores before any temperature and softmax."""
        bottleneck = self.mlp(tokens.flatten(end_dim=-2))
        # Half precision would underflow in the norm of a small bottleneck (fp16 squares below 2.4e-4 vanish).
        bottleneck = normalize(bottleneck.float(), dim=-1).to(bottleneck.dtype)
        return self.last_layer(bottleneck).unflatten(0, tokens.shape[:-1])
