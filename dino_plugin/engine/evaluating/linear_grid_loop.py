"""A test loop for classifiers that were trained together."""

from torch.utils.data import DataLoader

from dino_plugin.engine.evaluating.bank_loop import BankTestLoop


class LinearGridTestLoop(BankTestLoop):
    """`BankTestLoop` for `LinearGrid`: the bank are the held-out images that choose a classifier.

    Args:
        runner: The runner; mmengine fills it in, as well as `dataloader` and `evaluator`.
        held_out_dataloader: Config of the dataloader of the held-out images; None: nothing is to be chosen.
        cache_gigabytes: As in `BankTestLoop`.

    Raises:
        ValueError: As `BankTestLoop`.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        held_out_dataloader: DataLoader | dict | None = None,
        cache_gigabytes: float = 10.0,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, held_out_dataloader, cache_gigabytes=cache_gigabytes)
        model = getattr(runner.model, 'module', runner.model)  # mmengine wraps it for several processes
        for metric in self.evaluator.metrics:
            metric.settings = model.settings
