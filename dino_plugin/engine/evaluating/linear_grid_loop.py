"""A test loop for classifiers that were trained together."""

from torch.utils.data import DataLoader

from dino_plugin.engine.evaluating.bank_loop import BankTestLoop
from dino_plugin.evaluation.classification.other_labels import present_labels


class LinearGridTestLoop(BankTestLoop):
    """`BankTestLoop` for `LinearGrid`: the bank are the held-out images that choose a classifier.

    Args:
        runner: The runner; mmengine fills it in, as well as `dataloader` and `evaluator`.
        held_out_dataloader: Config of the dataloader of the held-out images; None: nothing is to be chosen.
        only_present: Test images can only get classes that occur among them, as for ImageNet-A and -R with 200 of 1,000
            classes. Held-out images can get any class.
        cache_gigabytes: As in `BankTestLoop`; answers for test images with `only_present` are not kept.

    Raises:
        ValueError: As `BankTestLoop`.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        held_out_dataloader: DataLoader | dict | None = None,
        only_present: bool = False,
        cache_gigabytes: float = 10.0,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, held_out_dataloader, cache_gigabytes=cache_gigabytes)
        self._model = getattr(runner.model, 'module', runner.model)  # mmengine wraps it for several processes
        self._present = present_labels(self.dataloader.dataset) if only_present else None
        for metric in self.evaluator.metrics:
            metric.settings = self._model.settings

    def _predictions(self, name: str, loader: DataLoader, config: DataLoader | dict) -> list[dict]:
        """With the classes that the images may get."""
        answers = self._model.answers
        if name == 'queries' and self._present is not None:
            self._model.answers = self._present
        try:
            return super()._predictions(name, loader, config)
        finally:
            self._model.answers = answers

    def _key(self, loader: DataLoader, config: DataLoader | dict) -> str | None:
        return None if self._model.answers is not None else super()._key(loader, config)
