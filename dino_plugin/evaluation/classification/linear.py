"""A linear classifier on features, for many learning rates in one pass."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.evaluation.classification.labelled_features import Chosen, accuracies, held_out, refuse_unusable

# DINOv2's grid, for batches of 256.
LEARNING_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)


class LinearHeads:
    """Linear classifiers of the same features, one for each learning rate, trained together.

    Each is what plain SGD gives: weights begin at N(0, 0.01), biases at 0; with gradient g, momentum m and the cosine c
    of the progress from 1 to 0,

        v <- m v + g,    w <- w - learning_rate * batch_size / 256 * c * v

    Args:
        dim: Width of the features.
        num_classes: Number of outputs.
        learning_rates: For batches of 256.
        momentum: m.
        seed: Of initial weights, the same for all, and of the order of samples.
        device: Of everything.

    References:
        Caron et al. 2021, arXiv:2104.14294, appendix F.2; Oquab et al. 2023, arXiv:2304.07193, appendix B.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        learning_rates: Sequence[float],
        momentum: float = 0.9,
        seed: int = 0,
        device: torch.device | str = 'cpu',
    ) -> None:
        self._random = torch.Generator().manual_seed(seed)
        weight = 0.01 * torch.randn(dim, num_classes, generator=self._random)
        self.weight = weight.to(device).repeat(len(learning_rates), 1, 1)
        self.bias = torch.zeros(len(learning_rates), 1, num_classes, device=device)
        self._velocity = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]
        self._rates = torch.tensor(learning_rates, device=device)[:, None, None]
        self._momentum = momentum

    def train(
        self, features: Float[Tensor, 'samples dim'], labels: Int[Tensor, ' samples'], epochs: int, batch_size: int
    ) -> None:
        """Trains all classifiers on the same batches; the learning rates fall to 0 along a cosine."""
        batch_size = min(batch_size, len(labels))
        steps = epochs * (len(labels) // batch_size)
        for step in range(steps):
            if step % (len(labels) // batch_size) == 0:
                order = torch.randperm(len(labels), generator=self._random).to(labels.device)
            first = step % (len(labels) // batch_size) * batch_size
            batch = order[first : first + batch_size]
            rate = self._rates * batch_size / 256 * (1 + math.cos(math.pi * step / steps)) / 2
            self._step(features[batch], labels[batch], rate)

    def logits(self, features: Float[Tensor, 'samples dim']) -> Float[Tensor, 'heads samples classes']:
        """Outputs of all classifiers."""
        return torch.matmul(features, self.weight) + self.bias

    def _step(self, features: Tensor, labels: Tensor, rate: Tensor) -> None:
        # The gradient of the mean cross-entropy, written out: one product of matrices instead of autograd's graph.
        errors = self.logits(features).softmax(dim=-1)
        errors[:, torch.arange(len(labels), device=labels.device), labels] -= 1
        errors /= len(labels)
        gradients = torch.matmul(features.T, errors), errors.sum(dim=1, keepdim=True)
        for values, velocity, gradient in zip((self.weight, self.bias), self._velocity, gradients):
            velocity.mul_(self._momentum).add_(gradient)
            values.sub_(rate * velocity)


def linear_probe(
    train_features: Float[Tensor, 'train dim'],
    train_labels: Int[Tensor, ' train'],
    test_features: Float[Tensor, 'test dim'],
    test_labels: Int[Tensor, ' test'],
    learning_rates: Sequence[float] = LEARNING_RATES,
    epochs: int = 10,
    batch_size: int = 128,
    seed: int = 0,
) -> Chosen:
    """Accuracy of a linear classifier whose learning rate is chosen on a held-out tenth of the training set.

    With the chosen rate it is then trained on the whole training set; the test set is asked once. The authors of DINOv2
    choose on the test set instead, which is optimistic. Each dimension is brought to mean 0 and deviation 1 over the
    training set first, so that the learning rates fit features of any scale.

    Args:
        train_features: Of frozen images without augmentation.
        train_labels: 0 or more.
        test_features: Of other images.
        test_labels: Their classes.
        learning_rates: To choose from, for batches of 256.
        epochs: Over the training set.
        batch_size: Samples in a step; all of them if there are fewer.
        seed: Of held-out part, initial weights and order.

    Raises:
        ValueError: If features are not finite, there is nothing to test, or nothing can be held out.

    References:
        As in `LinearHeads`.
    """
    refuse_unusable(train_features, test_features)
    num_classes = int(max(train_labels.max(), test_labels.max())) + 1
    deviation, mean = torch.std_mean(train_features, dim=0, correction=0)
    train_features, test_features = (
        (part - mean) / deviation.clamp_min(1e-6 * deviation.max()).clamp_min(1e-12)
        for part in (train_features, test_features)
    )
    apart = held_out(train_labels, seed=seed)

    def trained(features: Tensor, labels: Tensor, rates: Sequence[float]) -> LinearHeads:
        heads = LinearHeads(features.shape[1], num_classes, rates, seed=seed, device=features.device)
        heads.train(features, labels, epochs, batch_size)
        return heads

    heads = trained(train_features[~apart], train_labels[~apart], learning_rates)
    correct = heads.logits(train_features[apart]).argmax(dim=-1) == train_labels[apart]
    scores = dict(zip(learning_rates, (100 * correct.float().mean(dim=-1)).tolist()))
    best = max(learning_rates, key=lambda rate: scores[rate])
    logits = trained(train_features, train_labels, [best]).logits(test_features)[0]
    return Chosen(*accuracies(logits, test_labels), best, scores)
