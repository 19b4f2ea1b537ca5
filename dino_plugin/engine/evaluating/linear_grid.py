"""Many linear classifiers of one frozen backbone, trained together in one pass over augmented images."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.core.views import Tokens
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.evaluation.classification.linear import LEARNING_RATES
from dino_plugin.evaluation.features.extraction import last_blocks as tokens_of
from dino_plugin.registry import MODELS

NUM_RANKS = 5


class HeadSetting(NamedTuple):
    """What distinguishes a classifier: its learning rate for 256 images a step, and what it sees."""

    learning_rate: float
    last_blocks: int
    average_pool: bool


class LinearGrid(BaseModel):
    """Frozen backbone -> linear classifiers, one for each learning rate x number of blocks x pooling.

    A classifier sees the class tokens of the last blocks, side by side, and with `average_pool` the mean patch of the
    last one. Its weights begin at N(0, 0.01). The loss is the sum over classifiers of learning_rate * cross-entropy:
    with SGD of learning rate 1 without weight decay each then moves as if it was trained alone with its own rate, since
    there a factor before the loss is a factor before the learning rate. Other optimisers have no such rule.

    Args:
        backbone: Config of a backbone; nothing of it learns.
        num_classes: Number of classes, or more.
        learning_rates: For 256 images a step.
        last_blocks: Numbers of last blocks.
        average_pool: With and without the mean patch.
        precision: Precision of the backbone: `fp32`, `bf16` or `fp16`. Classifiers are always float32.
        data_preprocessor: Config; by default `ViewPreprocessor` with ImageNet's mean and deviation.

    Raises:
        ValueError: If the precision is unknown, the grid is empty, a learning rate is not positive, or the network has
            fewer blocks; in `forward`, if a label is no class, or, in mode 'predict',
            features are not finite.

    References:
        Oquab et al. 2023, arXiv:2304.07193, appendix B: 13 x 2 x 2 classifiers. With one classifier: Caron et al. 2021,
        arXiv:2104.14294, appendix F.2.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int = 1000,
        learning_rates: Sequence[float] = LEARNING_RATES,
        last_blocks: Sequence[int] = (1, 4),
        average_pool: Sequence[bool] = (False, True),
        precision: str = 'fp32',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type='dino_plugin.ViewPreprocessor'))
        if precision not in PRECISIONS:
            raise ValueError(f'LinearGrid: precision must be one of {list(PRECISIONS)}, got {precision!r}.')
        if not learning_rates or not last_blocks or not average_pool or min(learning_rates) <= 0:
            raise ValueError(
                f'LinearGrid: learning_rates={learning_rates}, last_blocks={last_blocks} and average_pool='
                f'{average_pool} need an entry each, and learning rates are above 0.'
            )
        self.backbone = MODELS.build(backbone).requires_grad_(False)
        for number in last_blocks:
            self.backbone.check_last_blocks(number)
        self.num_classes, self.autocast_dtype = num_classes, PRECISIONS[precision]
        self.answers: Sequence[int] | None = None  # the only classes of predictions, see LinearGridTestLoop
        self._inputs = list(itertools.product(last_blocks, average_pool))
        self.settings = [HeadSetting(rate, *seen) for seen in self._inputs for rate in learning_rates]
        self.register_buffer('_rates', torch.tensor(learning_rates)[:, None], persistent=False)
        widths = [self.backbone.embed_dim * (number + bool(average)) for number, average in self._inputs]
        start = [0.01 * torch.randn(width, num_classes) for width in widths]  # the same for all learning rates
        self.weights = nn.ParameterList(nn.Parameter(one.repeat(len(learning_rates), 1, 1)) for one in start)
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(len(learning_rates), 1, num_classes)) for _ in self._inputs
        )

    def forward(
        self,
        images: Float[Tensor, 'batch channels rows columns'],
        labels: Int[Tensor, ' batch'] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Outputs `heads batch classes` in mode 'tensor', the loss in mode 'loss'.

        In mode 'predict' `[dict(features=..., labels=...)]` with the best classes, at most five, as
        `batch heads ranks`; -1 of a classifier whose weights are not finite any more.
        """
        vectors = self._vectors(images)
        with torch.autocast(images.device.type, enabled=False):
            logits = [torch.matmul(*pair) + bias for pair, bias in zip(zip(vectors, self.weights), self.biases)]
            if mode == 'loss':
                return self._loss(logits, labels)
        found = torch.cat(logits)
        if mode == 'tensor':
            return found
        if not all(vector.isfinite().all() for vector in vectors):
            raise ValueError(
                'LinearGrid: features hold NaN or infinity: the checkpoint is damaged, or its training diverged.'
            )
        return [dict(features=ranked_classes(found, self.answers), labels=labels)]

    def _vectors(self, images: Tensor) -> list[Float[Tensor, 'batch _']]:
        dtype = self.autocast_dtype
        with (
            torch.no_grad(),
            evaluation_mode(self.backbone),
            torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            blocks = tokens_of(self.backbone, images, max(number for number, _ in self._inputs))
        return [_vector(blocks[len(blocks) - number :], average) for number, average in self._inputs]

    def _loss(self, logits: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        refuse_other_labels(labels, self.num_classes)
        repeated = labels.repeat(len(self._rates))
        losses = torch.stack([
            cross_entropy(group.flatten(0, 1), repeated, reduction='none').unflatten(0, (len(group), -1)).mean(dim=1)
            for group in logits
        ])  # fmt: skip
        # 'best_entropy' has no 'loss' in its name: mmengine shows it and does not add it.
        return dict(loss=(losses * self._rates[:, 0]).sum(), best_entropy=losses.detach().min())


def refuse_other_labels(labels: Int[Tensor, ' batch'], num_classes: int) -> None:
    """Raise a ValueError if a label is no class."""
    # The GPU's own message names neither label nor cure, so the host waits here: once in a pass of a whole network.
    if not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f'Labels are {int(labels.min())} to {int(labels.max())}, but model.num_classes={num_classes}: set it to '
            'the number of classes, and with_labels=True in a data set of images.'
        )


def ranked_classes(
    scores: Float[Tensor, 'heads batch classes'], answers: Sequence[int] | None = None
) -> Int[Tensor, 'batch heads ranks']:
    """The best classes, at most five; -1 where scores are not finite: a learning rate was too large.

    Args:
        scores: Of each classifier.
        answers: The only classes that may be given.
    """
    among = scores if answers is None else scores[..., answers]
    best = among.topk(min(NUM_RANKS, among.shape[-1]), dim=-1).indices
    if answers is not None:
        best = torch.tensor(answers, device=best.device)[best]
    diverged = ~scores.isfinite().all(dim=-1, keepdim=True)
    return best.masked_fill(diverged, -1).transpose(0, 1)


def _vector(blocks: Sequence[Tokens], average: bool) -> Float[Tensor, 'batch dim']:
    parts = [block.class_token.float() for block in blocks]
    return torch.cat([*parts, blocks[-1].patches.float().mean(dim=(-3, -2))] if average else parts, dim=-1)
