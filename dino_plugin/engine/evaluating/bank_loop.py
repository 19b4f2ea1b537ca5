"""A test loop for evaluators that compare test images with a bank of labelled ones."""

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.runner import TestLoop
from torch.utils.data import DataLoader

from dino_plugin import __version__
from dino_plugin.data.workers.dataloaders import prepare_workers, without_unused_options
from dino_plugin.evaluation.features.cache import FeatureCache, cache_key
from dino_plugin.evaluation.progress import progress


class BankTestLoop(TestLoop):
    """mmengine's test loop after a pass over the bank, whose predictions get `in_bank=True` for the metrics.

    The queries are the usual `test_dataloader`. In a distributed run each process takes a part of both, so both
    samplers need `round_up=False`; otherwise some samples count twice.

    Without a bank, metrics that can do so compare the test images with each other. Images for whitening, which are
    neither searched for nor found, get `for_whitening=True`.

    Features are kept in `FeatureCache`, and taken from there if network, images and settings are the same.

    Args:
        runner: The runner; mmengine fills it in, as well as `dataloader` and `evaluator`.
        bank_dataloader: Config of the dataloader of the labelled images.
        whitening_dataloader: Of images for a metric that whitens features, see `RankingMetric`.
        cache_gigabytes: Limit of the kept features, those of other runs included. 0: keep and take none.
        **kwargs: Arguments of mmengine's `TestLoop`.

    Raises:
        ValueError: If a sampler repeats samples, or bank and queries number their classes differently.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        bank_dataloader: DataLoader | dict | None = None,
        whitening_dataloader: DataLoader | dict | None = None,
        cache_gigabytes: float = 10.0,
        **kwargs,
    ) -> None:
        others = dict(bank=bank_dataloader, whitening=whitening_dataloader)
        configs = {name: without_unused_options(config) for name, config in others.items() if config is not None}
        configs['queries'] = without_unused_options(dataloader)
        super().__init__(runner, configs['queries'], evaluator, **kwargs)
        self._loaders = {
            name: self.dataloader if name == 'queries' else runner.build_dataloader(config, seed=runner.seed)
            for name, config in configs.items()
        }
        for name, loader in self._loaders.items():
            prepare_evaluation(loader, name)
        self.bank_dataloader = self._loaders.get('bank')
        if self.bank_dataloader is not None:
            refuse_other_classes(self.bank_dataloader, self.dataloader)
        self._configs = configs
        self._cache = FeatureCache(max_gigabytes=cache_gigabytes) if cache_gigabytes else None

    def run(self) -> dict:
        """Process the bank, then the test set; return the metrics."""
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        self.runner.model.eval()
        for name, loader in self._loaders.items():
            mark = dict(in_bank=name == 'bank', for_whitening=name == 'whitening')
            for prediction in self._predictions(name, loader, self._configs[name]):
                self.evaluator.process(data_samples=[prediction | mark])
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        return metrics

    def _predictions(self, name: str, loader: DataLoader, config: DataLoader | dict) -> list[dict]:
        """Predictions for all batches, or the one that was kept."""
        key = self._key(loader, config)
        kept = None if key is None else self._cache.read(key, len(loader.sampler))
        if kept is not None:
            print_log(f'{name}: {len(loader.sampler)} images, features taken from {self._cache.folder}', 'current')
            device = next(self.runner.model.parameters()).device
            return [{key: value.to(device) for key, value in kept.items()}]
        predictions = []
        with torch.no_grad():
            for batch in progress(loader, name):
                predictions += self.runner.model.test_step(batch)
        if key is not None and predictions:
            self._cache.write(key, {part: torch.cat([one[part] for one in predictions]) for part in predictions[0]})
        return predictions

    def _key(self, loader: DataLoader, config: DataLoader | dict) -> str | None:
        """None: features are not kept, since there is no cache, or nothing says what they depend on."""
        if self._cache is None or not isinstance(config, dict) or not isinstance(loader.dataset, BaseDataset):
            return None
        model = getattr(self.runner.model, 'module', self.runner.model)  # mmengine wraps it for several processes
        sources = ('checkpoint', 'pretrained')  # the weights themselves count
        backbone = {name: value for name, value in self.runner.cfg.model.backbone.items() if name not in sources}
        description = getattr(model.backbone, 'description', None)
        settings = [__version__, torch.__version__, self.runner.cfg.model | dict(backbone=backbone), description]
        infos = (loader.dataset.get_data_info(index) for index in range(len(loader.dataset)))
        return cache_key(model, infos, [*settings, config['dataset']])


def prepare_bank_and_queries(bank: DataLoader, queries: DataLoader) -> None:
    """Check both dataloaders before anything is computed, and let their workers use pipes if memory is short.

    Raises:
        ValueError: If a sampler repeats samples, or bank and queries number their classes differently.
    """
    prepare_evaluation(bank, 'bank')
    prepare_evaluation(queries, 'queries')
    refuse_other_classes(bank, queries)


def prepare_evaluation(loader: DataLoader, name: str) -> None:
    """Check a dataloader before anything is computed, and let its workers use pipes if memory is short.

    Raises:
        ValueError: If its sampler repeats samples.
    """
    refuse_repeated_samples(loader, name)
    prepare_workers(loader)


def refuse_other_classes(bank: DataLoader, queries: DataLoader) -> None:
    """Raise a ValueError if bank and queries number their classes differently."""
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
