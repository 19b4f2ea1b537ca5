"""A test loop for evaluators that compare test images with a bank of labelled ones."""

import torch
from mmengine.runner import TestLoop
from torch.utils.data import DataLoader

from dino_plugin.data.workers.dataloaders import prepare_workers, without_unused_options


class BankTestLoop(TestLoop):
    """mmengine's test loop after a pass over the bank, whose predictions get `in_bank=True` for the metrics.

    The queries are the usual `test_dataloader`. In a distributed run each process takes a part of both, so both
    samplers need `round_up=False`; otherwise some samples count twice.

    Args:
        runner: The runner; mmengine fills it in, as well as `dataloader` and `evaluator`.
        bank_dataloader: Config of the dataloader of the labelled images.
        **kwargs: Arguments of mmengine's `TestLoop`.

    Raises:
        ValueError: If a sampler repeats samples, or bank and queries number their classes differently.
    """

    def __init__(self, runner, dataloader, evaluator, bank_dataloader: DataLoader | dict, **kwargs) -> None:
        super().__init__(runner, without_unused_options(dataloader), evaluator, **kwargs)
        self.bank_dataloader = runner.build_dataloader(without_unused_options(bank_dataloader), seed=runner.seed)
        prepare_bank_and_queries(self.bank_dataloader, self.dataloader)

    def run(self) -> dict:
        """Process the bank, then the test set; return the metrics."""
        self.runner.model.eval()
        with torch.no_grad():
            for batch in self.bank_dataloader:
                predictions = [dict(sample, in_bank=True) for sample in self.runner.model.test_step(batch)]
                self.evaluator.process(data_samples=predictions, data_batch=batch)
        return super().run()


def prepare_bank_and_queries(bank: DataLoader, queries: DataLoader) -> None:
    """Check both dataloaders before anything is computed, and let their workers use pipes if memory is short.

    Raises:
        ValueError: If a sampler repeats samples, or bank and queries number their classes differently.
    """
    for name, loader in (('bank', bank), ('queries', queries)):
        refuse_repeated_samples(loader, name)
        prepare_workers(loader)
    names = [(getattr(loader.dataset, 'metainfo', None) or {}).get('classes') for loader in (bank, queries)]
    if None not in names and tuple(names[0]) != tuple(names[1]):
        differing = sorted(set(names[0]) ^ set(names[1])) or 'only the order'
        raise ValueError(
            f'Bank and queries have different classes ({len(names[0])} and {len(names[1])}; differing: {differing}), '
            'so their labels do not mean the same. Give both datasets the same metainfo=dict(classes=[...]).'
        )


def refuse_repeated_samples(loader: DataLoader, name: str) -> None:
    """Raise a ValueError if the sampler gives some samples to two processes."""
    total = getattr(loader.sampler, 'total_size', len(loader.dataset))
    if total != len(loader.dataset):
        raise ValueError(
            f'The sampler of the {name} gives out {total} samples of {len(loader.dataset)}: some would count twice. '
            "Use sampler=dict(type='DefaultSampler', shuffle=False, round_up=False)."
        )
