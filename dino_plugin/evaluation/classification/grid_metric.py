"""The best of many classifiers that were trained together, as an mmengine metric."""

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from mmengine.logging import print_log
from torch import Tensor

from dino_plugin.core.reduce import sum_over_ranks
from dino_plugin.evaluation.bank_metric import BankMetric, Labelled
from dino_plugin.evaluation.classification.other_labels import ValidLabels

CHOICES = ('held_out', 'test')


class LinearGridMetric(BankMetric):
    """Accuracy of one classifier of `LinearGrid`, in percent: `linear/top1` and, with more than five classes, `top5`.

    The classifier is the one with the best top-1 accuracy on held-out training images, which `LinearGridTestLoop`
    marks. `linear/held_out_top1` is that accuracy; `linear/learning_rate`, `linear/last_blocks` and
    `linear/average_pool` say which it is. In training, where there are validation images only, the best accuracy of all
    classifiers is `linear/best_top1`.

    Args:
        choose_on: `held_out`, or `test`: the classifier is the best one on the test images themselves, as DINOv2's
            authors report it. That is optimistic, and the log says so.
        valid_labels: JSON file of `ValidLabels`, for test images of `NumberedImages`: ImageNet-ReaL. Held-out images
            have their usual labels.

    Raises:
        FileNotFoundError: If `valid_labels` is missing.
        ValueError: If `choose_on` is another word, or `valid_labels` is no such file; when it tests several classifiers
            without held-out images.
    """

    default_prefix = 'linear'

    def __init__(self, choose_on: str = 'held_out', valid_labels: str | None = None) -> None:
        super().__init__()
        if choose_on not in CHOICES:
            raise ValueError(f'LinearGridMetric: choose_on must be one of {list(CHOICES)}, got {choose_on!r}.')
        self.choose_on = choose_on
        self.valid_labels = None if valid_labels is None else ValidLabels(valid_labels)
        self.settings: Sequence | None = None  # of the classifiers; LinearGridTestLoop tells them

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """The accuracy on the test images of the classifier that is the best on the held-out ones, the bank."""
        held_out = accuracies_of_heads(bank)[0]
        if self.choose_on == 'test':
            return self.score_among(queries)
        best = int(held_out.argmax())
        self._tell(held_out)
        return self._of(best, queries) | dict(held_out_top1=float(held_out[best]))

    def score_among(self, images: Labelled) -> dict[str, float]:
        """In training the best accuracy; in a test that of the only classifier, or of the best one on these images."""
        scores = accuracies_of_heads(images, self.valid_labels)[0]
        if self.settings is None:
            return dict(best_top1=float(scores.max()))
        if len(scores) > 1 and self.choose_on == 'held_out':
            raise ValueError(
                f'There are {len(scores)} classifiers and no held-out images to choose one: give '
                "test_cfg.held_out_dataloader, or choose as the authors do by test_evaluator.choose_on='test'."
            )
        if len(scores) > 1:
            print_log(
                f'The best of {len(scores)} classifiers is chosen on the test images themselves, as by the authors of '
                'DINOv2: the accuracy is optimistic.',
                'current',
                logging.WARNING,
            )
            self._tell(scores)
        return self._of(int(scores.argmax()), images)

    def _of(self, head: int, images: Labelled) -> dict[str, float]:
        top1, top5 = (
            None if part is None else float(part[head]) for part in accuracies_of_heads(images, self.valid_labels)
        )
        setting = {} if self.settings is None else self.settings[head]._asdict()
        named = {name: float(value) for name, value in setting.items()}
        return {'top1': top1, **({} if top5 is None else {'top5': top5}), **named}

    def _tell(self, scores: Tensor) -> None:
        names = self.settings or range(len(scores))
        lines = [f'{score:.1f} {tuple(name) if self.settings else name}' for score, name in zip(scores.tolist(), names)]
        fields = ', '.join(self.settings[0]._fields).replace('_', ' ') if self.settings else 'number'
        print_log(f'Top-1 of ({fields}): {", ".join(lines)}', 'current')


def accuracies_of_heads(
    images: Labelled, valid_labels: ValidLabels | None = None
) -> tuple[Float[Tensor, ' heads'], Float[Tensor, ' heads'] | None]:
    """Top-1 and, with five ranks, top-5 accuracy of each classifier in percent, over the images of all processes.

    Args:
        images: The features are ranked classes, best first, `images heads ranks`.
        valid_labels: The labels of the images are its rows.

    Raises:
        ValueError: If there are no images, or none has a valid label.
    """
    ranked: Int[Tensor, 'images heads ranks'] = images.features
    if valid_labels is None:
        hits, counted = ranked == images.labels[:, None, None], torch.ones_like(images.labels, dtype=torch.bool)
    else:
        hits, counted = valid_labels.hits(ranked, images.labels)
    hits = hits[counted]
    counts = torch.stack([hits[..., 0].sum(dim=0), hits.any(dim=-1).sum(dim=0)])
    total = sum_over_ranks(counted.sum())
    if not total:
        raise ValueError('There are no images to classify: is their data set empty, or without valid labels?')
    top1, top5 = 100 * sum_over_ranks(counts) / total
    return top1, top5 if ranked.shape[-1] == 5 else None
