"""Few labelled images of each class: repeated draws, mean and standard error."""

import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.evaluation.classification.knn import knn_predict
from dino_plugin.evaluation.classification.labelled_features import draw_shots, refuse_unusable
from dino_plugin.evaluation.classification.logistic import fitted_logits
from dino_plugin.evaluation.progress import progress

Classifier = Callable[[Tensor, Tensor, Tensor, int], Tensor]


class FewShot(NamedTuple):
    """Mean top-1 accuracy over draws, in percent, and its standard error (0 for one draw)."""

    mean: float
    error: float


def few_shot(
    train_features: Float[Tensor, 'train dim'],
    train_labels: Int[Tensor, ' train'],
    test_features: Float[Tensor, 'test dim'],
    test_labels: Int[Tensor, ' test'],
    shots: int,
    draws: int = 5,
    classifier: str = 'logistic',
    seed: int = 0,
) -> FewShot:
    """Accuracy with this many labelled images of each class, over independent draws of them.

    Args:
        train_features: Of frozen images.
        train_labels: 0 or more.
        test_features: Of other images.
        test_labels: Their classes.
        shots: Images of each class.
        draws: Independent draws; their seeds are `seed`, `seed` + 1 and so on.
        classifier: `logistic`: `fitted_logits` with C = 1. `mean`: the class whose mean unit feature has the largest
            cosine. `knn`: `knn_predict` with k = `shots`.
        seed: Of the first draw.

    Raises:
        ValueError: If the classifier is unknown, `shots` or `draws` is below 1, a class has fewer images than `shots`,
            and as in `refuse_unusable`.
    """
    if classifier not in CLASSIFIERS:
        raise ValueError(f'classifier={classifier!r} must be one of {list(CLASSIFIERS)}.')
    if shots < 1 or draws < 1:
        raise ValueError(f'shots={shots} and draws={draws} must be at least 1.')
    refuse_unusable(train_features, test_features)
    scores = []
    for draw in progress(range(draws), f'{classifier} with {shots} images of each class'):
        chosen = draw_shots(train_labels, shots, seed + draw)
        predicted = CLASSIFIERS[classifier](train_features[chosen], train_labels[chosen], test_features, shots)
        scores.append(100 * float((predicted == test_labels).float().mean()))
    error = statistics.stdev(scores) / math.sqrt(draws) if draws > 1 else 0.0
    return FewShot(statistics.mean(scores), error)


def _by_logistic(features: Tensor, labels: Tensor, queries: Tensor, shots: int) -> Tensor:
    return fitted_logits(features, labels, queries).argmax(dim=1)


def _by_mean(features: Tensor, labels: Tensor, queries: Tensor, shots: int) -> Tensor:
    unit = normalize(features.float(), dim=1)
    classes = labels.unique()
    means = torch.stack([unit[labels == label].mean(dim=0) for label in classes])
    return classes[(normalize(queries.float(), dim=1) @ normalize(means, dim=1).T).argmax(dim=1)]


def _by_knn(features: Tensor, labels: Tensor, queries: Tensor, shots: int) -> Tensor:
    return knn_predict(features, labels, queries, (shots,))[shots][:, 0]


CLASSIFIERS: dict[str, Classifier] = {'logistic': _by_logistic, 'mean': _by_mean, 'knn': _by_knn}
