"""Classifiers that are trained on the bank, as mmengine metrics."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from mmengine.logging import print_log
from torch import Tensor

from dino_plugin.core.reduce import gather_over_ranks
from dino_plugin.evaluation.bank_metric import BankMetric, Labelled
from dino_plugin.evaluation.classification.few_shot import CLASSIFIERS, few_shot
from dino_plugin.evaluation.classification.labelled_features import Chosen
from dino_plugin.evaluation.classification.linear import LEARNING_RATES, linear_probe
from dino_plugin.evaluation.classification.logistic import STRENGTHS, logistic_probe


class _ProbeMetric(BankMetric):
    """A classifier whose setting is chosen on a held-out tenth of the bank; each process computes the same.

    Args:
        **settings: Of the probe.
    """

    probe: ClassVar[Callable[..., Chosen]]

    def __init__(self, **settings) -> None:
        super().__init__()
        self.settings = settings

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """Accuracies in percent, and the setting that was chosen."""
        chosen = type(self).probe(*_gathered(bank), *_gathered(queries), **self.settings)
        tried = ', '.join(f'{setting:g}: {score:.1f}' for setting, score in chosen.held_out_top1.items())
        print_log(f'{self.prefix}: {chosen.setting:g} is the best on the held-out tenth ({tried}).', logger='current')
        top5 = {} if chosen.top5 is None else {'top5': chosen.top5}
        return {'top1': chosen.top1, **top5, 'setting': chosen.setting}


class LinearProbeMetric(_ProbeMetric):
    """`linear_probe` of the test set: `linear/top1`, `linear/top5`, and the learning rate as `linear/setting`.

    Args:
        learning_rates: To choose from.
        epochs: Over the bank.
        batch_size: Samples in a step.
        seed: Of everything random.

    Raises:
        ValueError: When it evaluates, as in `linear_probe` and `BankMetric`.
    """

    default_prefix = 'linear'
    probe = staticmethod(linear_probe)

    def __init__(
        self,
        learning_rates: Sequence[float] = LEARNING_RATES,
        epochs: int = 10,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(learning_rates=learning_rates, epochs=epochs, batch_size=batch_size, seed=seed)


class LogisticProbeMetric(_ProbeMetric):
    """`logistic_probe` of the test set: `logistic/top1`, `logistic/top5`, and C as `logistic/setting`.

    Args:
        strengths: Values of C to choose from.
        max_iterations: Of L-BFGS, for each C.
        seed: Of the held-out part.

    Raises:
        ValueError: When it evaluates, as in `logistic_probe` and `BankMetric`.
    """

    default_prefix = 'logistic'
    probe = staticmethod(logistic_probe)

    def __init__(self, strengths: Sequence[float] = STRENGTHS, max_iterations: int = 1000, seed: int = 0) -> None:
        super().__init__(strengths=strengths, max_iterations=max_iterations, seed=seed)


class FewShotMetric(BankMetric):
    """`few_shot` of the test set: `few_shot/logistic_5` and its standard error `few_shot/logistic_5_error`, and so on.

    Args:
        shots: Numbers of images of each class.
        draws: Independent draws for each number.
        classifiers: Names of `few_shot.CLASSIFIERS`.
        seed: Of the first draw.

    Raises:
        ValueError: When it evaluates, as in `few_shot` and `BankMetric`.
    """

    default_prefix = 'few_shot'

    def __init__(
        self,
        shots: Sequence[int] = (1, 2, 5, 10),
        draws: int = 5,
        classifiers: Sequence[str] = tuple(CLASSIFIERS),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shots, self.draws, self.classifiers, self.seed = tuple(shots), draws, tuple(classifiers), seed

    def score(self, bank: Labelled, queries: Labelled) -> dict[str, float]:
        """Means and standard errors in percent."""
        parts, scores = (*_gathered(bank), *_gathered(queries)), {}
        for classifier in self.classifiers:
            for shots in self.shots:
                found = few_shot(*parts, shots, self.draws, classifier, self.seed)
                scores |= {f'{classifier}_{shots}': found.mean, f'{classifier}_{shots}_error': found.error}
        return scores


def _gathered(part: Labelled) -> tuple[Tensor, Tensor]:
    """Features and labels of all processes."""
    return gather_over_ranks(part.features), gather_over_ranks(part.labels)
