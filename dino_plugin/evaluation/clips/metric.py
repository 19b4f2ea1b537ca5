"""Accuracy of the best of many probes of films, as an mmengine metric."""

import torch
from torch import Tensor

from dino_plugin.core.reduce import max_over_ranks, sum_over_ranks
from dino_plugin.evaluation.bank_metric import Labelled
from dino_plugin.evaluation.classification.grid_metric import LinearGridMetric


class ClipMetric(LinearGridMetric):
    """Accuracies of one probe of `ClipClassifier` in percent: `video/top1`, `video/top5` and `video/mean_class`.

    `mean_class` is the mean over the classes that occur of the share of their films that are right. The probe is the
    one with the best top-1 accuracy on held-out training films, as in `LinearGridMetric`, which has the options.
    """

    default_prefix = 'video'

    def _of(self, head: int, images: Labelled) -> dict[str, float]:
        return super()._of(head, images) | dict(mean_class=_mean_class(images.features[:, head, 0], images.labels))


def _mean_class(found: Tensor, labels: Tensor) -> float:
    largest = labels.max().float() if len(labels) else torch.zeros((), device=labels.device)
    num_classes = int(max_over_ranks(largest)) + 1
    counts = torch.zeros(2, num_classes, device=labels.device)
    counts[0].index_add_(0, labels, (found == labels).float())
    counts[1].index_add_(0, labels, torch.ones_like(labels, dtype=torch.float))
    right, total = sum_over_ranks(counts)
    return 100 * float((right[total > 0] / total[total > 0]).mean())
