"""Many attentive probes of films on one frozen backbone, trained together."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.engine.evaluating.linear_grid import ranked_classes, refuse_other_labels
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.clips.probe import AttentiveProbe
from dino_plugin.registry import MODELS


class ProbeSetting(NamedTuple):
    """What distinguishes a probe."""

    learning_rate: float
    weight_decay: float


class ClipClassifier(BaseModel):
    """Frozen backbone -> one `AttentiveProbe` for each learning rate x weight decay.

    The loss is the sum of the cross-entropies. Probes share no weights, and `ProbeGroups` gives each its own learning
    rate and weight decay, so each moves as if it was trained alone. All begin with the same weights. A film's
    probabilities are the mean of those of its views.

    Args:
        backbone: Config of a backbone; nothing of it learns.
        num_classes: Number of classes.
        learning_rates: Of the probes.
        weight_decays: Of the probes' matrices; biases and norms have none.
        num_self_blocks: As in `AttentiveProbe`.
        time: Likewise.
        num_heads: Likewise; None: that of the backbone's blocks, or one for 64 features.
        frames_at_once: Frames that go through the backbone together.
        precision: Precision of the backbone: `fp32`, `bf16` or `fp16`. Probes follow the optimiser's wrapper.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision is unknown, the grid is empty or has negative numbers, or as `AttentiveProbe`; in
            `forward`, if a label is no class, or tokens are not finite.

    References:
        Assran et al. 2025, arXiv:2506.09985: 5 x 4 probes, the best of which is reported on the validation set.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        learning_rates: Sequence[float] = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4),
        weight_decays: Sequence[float] = (0.01, 0.1, 0.4, 0.8),
        num_self_blocks: int = 0,
        time: str = 'sincos',
        num_heads: int | None = None,
        frames_at_once: int = 64,
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.ViewPreprocessor'))
        if precision not in PRECISIONS:
            raise ValueError(f'ClipClassifier: precision must be one of {list(PRECISIONS)}, got {precision!r}.')
        if not learning_rates or not weight_decays or min(learning_rates) <= 0 or min(weight_decays) < 0:
            raise ValueError(
                f'ClipClassifier: learning_rates={learning_rates} above 0 and weight_decays={weight_decays} from 0 on '
                'need an entry each.'
            )
        self.backbone = MODELS.build(backbone).requires_grad_(False)
        dim = self.backbone.embed_dim
        first = AttentiveProbe(dim, num_classes, num_heads or _heads_of(self.backbone), num_self_blocks, time)
        self.settings = list(itertools.starmap(ProbeSetting, itertools.product(learning_rates, weight_decays)))
        self.probes = nn.ModuleList(copy.deepcopy(first) for _ in self.settings)
        self.num_classes, self.frames_at_once = num_classes, frames_at_once
        self.autocast_dtype = PRECISIONS[precision]
        self.answers: Sequence[int] | None = None  # the only classes of predictions, see LinearGridTestLoop

    def forward(
        self,
        images: Float[Tensor, 'batch views time ...'],
        labels: Int[Tensor, ' batch'] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Probabilities `probes batch classes` in mode 'tensor', the loss in mode 'loss'.

        In mode 'predict' `[dict(features=..., labels=...)]` with the best classes, at most five, as
        `batch probes ranks`; -1 of a probe whose weights are not finite any more.

        Args:
            images: `batch views time channels rows columns`, or their `tokens`.
            labels: Of the films.
            mode: mmengine's.
        """
        tokens = images.float() if images.ndim == 5 else self.tokens(images)
        if mode == 'loss':
            return self._loss(tokens, labels)
        if not tokens.isfinite().all():
            raise ValueError('ClipClassifier: tokens hold NaN or infinity: the checkpoint is damaged, or it diverged.')
        found = torch.stack([self._logits(probe, tokens).softmax(dim=-1).mean(dim=1) for probe in self.probes])
        return found if mode == 'tensor' else [dict(features=ranked_classes(found, self.answers), labels=labels)]

    def tokens(
        self, images: Float[Tensor, 'batch views time channels rows columns']
    ) -> Float[Tensor, 'batch views time patches dim']:
        """Patch tokens of the backbone's last layer, each frame by itself."""
        frames, dtype = images.flatten(0, 2), self.autocast_dtype
        with (
            torch.no_grad(),
            evaluation_mode(self.backbone),
            torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            found = torch.cat([self.backbone(part).patches.float() for part in frames.split(self.frames_at_once)])
        return found.flatten(1, 2).unflatten(0, images.shape[:3])

    def parameter_groups(self) -> list[dict]:
        """Parameters of each probe with its learning rate and weight decay, for `ProbeGroups`."""
        groups = []
        for probe, setting in zip(self.probes, self.settings):
            parameters = list(probe.parameters())
            matrices = [parameter for parameter in parameters if parameter.ndim > 1]
            others = [parameter for parameter in parameters if parameter.ndim <= 1]
            groups.append(dict(params=matrices, lr=setting.learning_rate, weight_decay=setting.weight_decay))
            groups.append(dict(params=others, lr=setting.learning_rate, weight_decay=0.0))
        return groups

    def _logits(self, probe: nn.Module, tokens: Tensor) -> Float[Tensor, 'batch views classes']:
        return probe(tokens.flatten(0, 1)).float().unflatten(0, tokens.shape[:2])

    def _loss(self, tokens: Tensor, labels: Tensor) -> dict[str, Tensor]:
        refuse_other_labels(labels, self.num_classes)
        repeated = labels.repeat_interleave(tokens.shape[1])
        losses = [cross_entropy(self._logits(probe, tokens).flatten(0, 1), repeated) for probe in self.probes]
        # 'best_entropy' has no 'loss' in its name: mmengine shows it and does not add it.
        return dict(loss=torch.stack(losses).sum(), best_entropy=torch.stack(losses).detach().min())


def _heads_of(backbone: nn.Module) -> int:
    blocks = getattr(getattr(backbone, 'model', None), 'blocks', None)
    attention = getattr(blocks[0], 'attn', None) if blocks is not None and len(blocks) else None
    return getattr(attention, 'num_heads', None) or max(1, backbone.embed_dim // 64)
