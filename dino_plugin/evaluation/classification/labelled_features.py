"""What classifiers of frozen features share: checks, splits of the training set, accuracies."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Chosen(NamedTuple):
    """Scores of the test set, in percent, and how the classifier was chosen."""

    top1: float
    top5: float | None  # if there are more than five classes
    setting: float
    held_out_top1: Mapping[float, float]  # of each setting


def refuse_unusable(train_features: Float[Tensor, 'train dim'], test_features: Float[Tensor, 'test dim']) -> None:
    """Checks features before anything is trained.

    Raises:
        ValueError: If there are no training or no test images, or values are not finite.
    """
    for name, features in dict(training=train_features, test=test_features).items():
        if not len(features):
            raise ValueError(f'There are no {name} images.')
        if not features.isfinite().all():
            raise ValueError(
                f'Features of {int((~features.isfinite()).any(dim=1).sum())} of {len(features)} {name} images are not '
                'finite: the checkpoint is damaged, or its training diverged.'
            )


def accuracies(logits: Float[Tensor, 'samples classes'], labels: Int[Tensor, ' samples']) -> tuple[float, float | None]:
    """Top-1 and, if there are more than five classes, top-5 accuracy in percent."""
    ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
    top1 = 100 * float(ranked[:, 0].float().mean())
    return top1, 100 * float(ranked.any(dim=1).float().mean()) if logits.shape[1] > 5 else None


def held_out(labels: Int[Tensor, ' samples'], share: float = 0.1, seed: int = 0) -> Bool[Tensor, ' samples']:
    """True for about this share of each class, drawn at random: at least one sample of a class that has two.

    Args:
        labels: 0 or more.
        share: Of each class, in (0, 1).
        seed: Of the draw.

    Raises:
        ValueError: If the share is outside of (0, 1), or every class has one sample only.
    """
    if not 0 < share < 1:
        raise ValueError(f'share={share} must be between 0 and 1.')
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for numbers in _by_class(labels, seed):
        if len(numbers) > 1:
            chosen[numbers[: max(int(share * len(numbers)), 1)]] = True
    if not chosen.any():
        raise ValueError(
            f'Each of the {len(labels)} labelled images is the only one of its class: nothing can be held out to '
            'choose hyper-parameters on. Give more images of each class, or use k-NN.'
        )
    return chosen.to(labels.device)


def draw_shots(labels: Int[Tensor, ' samples'], shots: int, seed: int) -> Int[Tensor, ' drawn']:
    """Numbers of this many random samples of each class.

    Raises:
        ValueError: If a class has fewer.
    """
    drawn = []
    for numbers in _by_class(labels, seed):
        if len(numbers) < shots:
            raise ValueError(
                f'Class {int(labels[numbers[0]])} has {len(numbers)} labelled images; {shots} of each class are asked '
                'for. Ask for fewer.'
            )
        drawn.append(numbers[:shots])
    return torch.cat(drawn).to(labels.device)


def _by_class(labels: Tensor, seed: int) -> list[Tensor]:
    """The numbers of the samples of each class that has any, in random order."""
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return [order[labels[order] == label] for label in labels.unique()]
