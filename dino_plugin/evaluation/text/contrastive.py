"""Each image nearest to its own caption, among all of the batch."""

import math

import torch
from jaxtyping import Float
from mmengine.dist import get_rank
from torch import Tensor, nn
from torch.nn.functional import normalize

from dino_plugin.core.reduce import num_ranks, whole
from dino_plugin.evaluation.text.tokenizer import open_clip

MOST_SCALE = math.log(100)
KINDS = ('softmax', 'sigmoid')


class ContrastiveLoss(nn.Module):
    """Image i and text i belong together; all other pairs of the batches of all processes do not.

    s_ij = scale <v_i, t_j> of normalised vectors
    'softmax': mean_i of -[ln softmax_j(s)_ii + ln softmax_i(s)_ii] / 2, CLIP's
    'sigmoid': sum_ij of -ln sigmoid(y_ij (s_ij + bias)) / batch, with y = 1 for i = j and else -1, SigLIP's

    Scale and bias are learnt; `limit_scale` keeps the scale within 1 and 100. Both losses are `open_clip`'s, with
    gradients through all processes: averaged over processes, as DistributedDataParallel does, they are those of one
    large batch. Each process needs equally many pairs. 'sigmoid' suits small batches, since a pair's term does not
    depend on others.

    Args:
        kind: 'softmax' or 'sigmoid'.
        scale: Initial scale; None: 1 / 0.07, or 10 for 'sigmoid'.
        bias: Initial bias of 'sigmoid'.

    Raises:
        ValueError: If `kind` is another word, or the scale is not within 1 and 100.

    References:
        Radford et al. 2021, arXiv:2103.00020; Zhai et al. 2023, arXiv:2303.15343.
    """

    def __init__(self, kind: str = 'softmax', scale: float | None = None, bias: float = -10.0) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f'ContrastiveLoss: kind is one of {KINDS}, got {kind!r}.')
        scale = scale if scale is not None else (1 / 0.07 if kind == 'softmax' else 10.0)
        if not 1 <= scale <= 100:
            raise ValueError(f'ContrastiveLoss: scale is within 1 and 100, got {scale}.')
        self.kind = kind
        # Of one axis, not of none: `FullyShard` cuts tensors along their first axis.
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale)]))
        self.bias = nn.Parameter(torch.tensor([float(bias)])) if kind == 'sigmoid' else None

    def forward(self, images: Float[Tensor, 'batch dim'], texts: Float[Tensor, 'batch dim']) -> Float[Tensor, '']:
        """The loss of vectors of any length."""
        losses, ranks = open_clip().loss, dict(rank=get_rank(), world_size=num_ranks())
        with torch.autocast(images.device.type, enabled=False):
            # float32 at least: similarities of half precision would tie.
            pair = [
                normalize(each if each.dtype == torch.float64 else each.float(), dim=-1) for each in (images, texts)
            ]
            if self.kind == 'softmax':
                return losses.ClipLoss(local_loss=True, gather_with_grad=True, **ranks)(*pair, self.scale)
            return losses.SigLipLoss(dist_impl='gather', **ranks)(*pair, self.scale, self.bias)

    @property
    def scale(self) -> Float[Tensor, '']:
        """By what cosines are multiplied."""
        return whole(self.log_scale).exp()[0]

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Bring the scale back between 1 and 100, before each step; inside of the loss it would have no gradient."""
        self.log_scale.clamp_(0, MOST_SCALE)
