"""Multinomial logistic regression of frozen features, by scikit-learn."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.evaluation.classification.labelled_features import Chosen, accuracies, held_out, refuse_unusable
from dino_plugin.evaluation.progress import progress

# Every fourth of the 45 values that DINOv2 and DINOv3 try, 1e-6 to 1e5.
STRENGTHS = tuple(float(value) for value in 10 ** np.linspace(-6, 5, 45)[::4])


def logistic_probe(
    train_features: Float[Tensor, 'train dim'],
    train_labels: Int[Tensor, ' train'],
    test_features: Float[Tensor, 'test dim'],
    test_labels: Int[Tensor, ' test'],
    strengths: Sequence[float] = STRENGTHS,
    max_iterations: int = 1000,
    seed: int = 0,
) -> Chosen:
    """Accuracy of the classifier that minimises, for the best C,

        |W|^2 / 2 + C * sum over training samples of -log softmax(W f + b)[label]

    C is chosen on a held-out tenth of the training set; then the classifier is fitted to all of it, and the test set is
    asked once. Features are L2-normalised first. L-BFGS on the CPU, in float64.

    Args:
        train_features: Of frozen images.
        train_labels: 0 or more.
        test_features: Of other images.
        test_labels: Their classes.
        strengths: Values of C to choose from.
        max_iterations: Of L-BFGS, for each C; a warning of scikit-learn that it needs more is left out.
        seed: Of the held-out part.

    Raises:
        ValueError: As in `refuse_unusable` and `held_out`, or if all training images are of one class.

    References:
        Oquab et al. 2023, arXiv:2304.07193, appendix B.
    """
    refuse_unusable(train_features, test_features)
    apart = held_out(train_labels, seed=seed)
    scores = {}
    for strength in progress(strengths, 'logistic regression'):
        logits = fitted_logits(
            train_features[~apart], train_labels[~apart], train_features[apart], strength, max_iterations
        )
        scores[strength] = accuracies(logits, train_labels[apart])[0]
    best = max(strengths, key=lambda strength: scores[strength])
    logits = fitted_logits(train_features, train_labels, test_features, best, max_iterations)
    return Chosen(*accuracies(logits, test_labels), best, scores)


def fitted_logits(
    train_features: Float[Tensor, 'train dim'],
    train_labels: Int[Tensor, ' train'],
    features: Float[Tensor, 'samples dim'],
    strength: float = 1.0,
    max_iterations: int = 1000,
) -> Float[Tensor, 'samples classes']:
    """Outputs of the regression fitted to the training samples; -inf for classes without one.

    Raises:
        ValueError: If all training samples are of one class.
    """
    return fit_logistic(train_features, train_labels, strength, max_iterations).logits(features)


class FittedLogistic(NamedTuple):
    """Weights of a fitted regression; classes without a training sample have the bias -inf."""

    weight: Float[Tensor, 'dim classes']
    bias: Float[Tensor, ' classes']

    def logits(self, features: Float[Tensor, 'samples dim']) -> Float[Tensor, 'samples classes']:
        """Outputs for any features, which are L2-normalised first."""
        return normalize(features.double(), dim=1).to(self.weight) @ self.weight + self.bias


def fit_logistic(
    features: Float[Tensor, 'train dim'],
    labels: Int[Tensor, ' train'],
    strength: float = 1.0,
    max_iterations: int = 1000,
) -> FittedLogistic:
    """The regression of `logistic_probe` for one C, in float32 on the device of the features.

    Raises:
        ValueError: If all training samples are of one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(labels.unique()) < 2:
        raise ValueError(f'All {len(labels)} training images are of class {int(labels[0])}; give two.')
    model = LogisticRegression(C=strength, max_iter=max_iterations, tol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        model.fit(normalize(features.double(), dim=1).cpu().numpy(), labels.cpu().numpy())
    found = [torch.from_numpy(part) for part in (model.coef_, model.intercept_)]
    if len(model.classes_) == 2:  # scikit-learn gives one row, for the second class
        found = [torch.cat([torch.zeros_like(part), part]) for part in found]
    classes, number = torch.from_numpy(model.classes_), int(model.classes_.max()) + 1
    weight = torch.zeros(features.shape[1], number, dtype=torch.float64)
    bias = torch.full((number,), -torch.inf, dtype=torch.float64)
    weight[:, classes], bias[classes] = found[0].T, found[1]
    return FittedLogistic(weight.float().to(features.device), bias.float().to(features.device))
