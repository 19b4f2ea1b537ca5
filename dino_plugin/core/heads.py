"""Heads: tokens -> scores over prototypes, or tokens of another width."""

import itertools

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrizations

from dino_plugin.core.precision import full_precision


class DINOHead(nn.Module):
    """Three-layer MLP, L2-normalised bottleneck, prototypes.

    z = W3 gelu(W2 gelu(W1 x + b1) + b2) + b3
    scores = w . z / |z|                    for each prototype, without bias
    w = g * v / |v|                         with weight normalisation; without it w is learnt directly

    With ``norm_last_layer`` the magnitudes g stay 1, so a score is the cosine between bottleneck and prototype.

    Args:
        in_dim: Features of a token.
        prototypes: Number of outputs K (65,536 in the paper; far fewer for small data). None: the output is ``z / |z|``
            itself (SimDINO); the arguments of the last layer then say nothing.
        hidden_dim: Width of the two hidden layers.
        bottleneck_dim: Width of the normalised bottleneck.
        norm_last_layer: Keep the prototypes' magnitudes at 1. More stable, and needed by large networks; off in the
            authors' recipe for ViT-S.
        batch_norm: Batch normalisation after the two hidden linear layers. On small data, DINO does not learn
            without it.
        weight_norm: Learn direction and magnitude of the prototypes separately (DINO, iBOT, DINOv2). Without it
            (DINOv3) they are a plain linear layer; magnitudes start near 0.02 * sqrt(bottleneck_dim).
        share: The head reads only the first ``round(share * in_dim)`` features of a token. Several heads with shares 1,
            1/2, 1/4, ... and fewer prototypes make nested (Matryoshka) features: a vector that is cut off after a half
            or a quarter of its numbers is still a good one.

    Raises:
        ValueError: If there are fewer than 2 prototypes; if the share is not in (0, 1] or leaves no feature; if
            ``norm_last_layer`` is on but ``weight_norm`` is off: there are no magnitudes then.

    References:
        Caron et al. 2021, arXiv:2104.14294, section 3.2 and appendix C. Linear weights start from a truncated normal
        of standard deviation 0.02, as there; weight-normalised prototypes keep PyTorch's initial directions.
        Siméoni et al. 2025 (DINOv3), arXiv:2508.10104: the plain layer, in their code.
        Venkataramanan et al. 2025 (Franca), arXiv:2507.14137: shares of 1, 1/2, 1/4, 1/8 and 1/16, with prototypes in
        proportion.
    """

    def __init__(
        self,
        in_dim: int,
        prototypes: int | None = 65536,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        norm_last_layer: bool = True,
        batch_norm: bool = False,
        weight_norm: bool = True,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        self.read = round(share * in_dim)
        if not 0 < share <= 1 or not self.read:
            raise ValueError(
                f'DINOHead: share={share} of {in_dim} features must be in (0, 1] and leave at least one feature.'
            )
        if prototypes is not None and prototypes < 2:
            raise ValueError(
                f'DINOHead: prototypes={prototypes}; at least 2 are needed, or None for a head without prototypes.'
            )
        if norm_last_layer and not weight_norm:
            raise ValueError(
                'DINOHead: norm_last_layer=True keeps the magnitudes of weight normalisation at 1, but '
                'weight_norm=False; also give norm_last_layer=False.'
            )
        layers: list[nn.Module] = []
        for width_in in (self.read, hidden_dim):
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
        if prototypes is None:
            self.last_layer = nn.Identity()
            return
        self.last_layer = nn.Linear(bottleneck_dim, prototypes, bias=False)
        if weight_norm:
            parametrizations.weight_norm(self.last_layer)
            magnitude = self.last_layer.parametrizations.weight.original0
            nn.init.ones_(magnitude)
            magnitude.requires_grad_(not norm_last_layer)
        else:
            nn.init.trunc_normal_(self.last_layer.weight, std=0.02)

    def forward(self, tokens: Float[Tensor, '*leading dim']) -> Float[Tensor, '*leading prototypes']:
        """Scores, before temperature and softmax; without prototypes the projections, of length 1."""
        bottleneck = self.mlp(tokens[..., : self.read].flatten(end_dim=-2))
        # Half precision would underflow in the norm of a small bottleneck (fp16 squares below 2.4e-4 vanish).
        bottleneck = normalize(full_precision(bottleneck), dim=-1).to(bottleneck.dtype)
        return self.last_layer(bottleneck).unflatten(0, tokens.shape[:-1])


class ProjectionHead(nn.Module):
    """Tokens -> tokens of another width: y = W x + b, or y = W2 gelu(W1 x + b1) + b2 with a hidden layer.

    Args:
        in_dim: Features of a token.
        out_dim: Width of the output. With `FeatureRegressionLoss`, `SelfDistillationModel` fills in the width of the
            teacher.
        hidden_dim: Width of the hidden layer. None: no such layer.
        batch_norm: Batch normalisation of the tokens before the first layer. Tokens of a fresh network hardly differ
            from each other, and a layer on them learns slowly.
    """

    def __init__(self, in_dim: int, out_dim: int, hidden_dim: int | None = None, batch_norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_dim) if batch_norm else nn.Identity()
        widths = [in_dim, out_dim] if hidden_dim is None else [in_dim, hidden_dim, out_dim]
        layers: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, tokens: Float[Tensor, '*leading dim']) -> Float[Tensor, '*leading out_dim']:
        """The projected tokens."""
        return self.layers(self.norm(tokens.flatten(end_dim=-2)).unflatten(0, tokens.shape[:-1]))
