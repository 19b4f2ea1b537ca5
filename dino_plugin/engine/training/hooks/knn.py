"""k-NN of the teacher's features during training."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from dino_plugin.data.images.seeded_dataset import preserved_random_state
from dino_plugin.data.workers.dataloaders import without_unused_options
from dino_plugin.engine.evaluating.bank_loop import prepare_bank_and_queries
from dino_plugin.engine.training.model import unwrapped
from dino_plugin.evaluation.classification.knn import knn_accuracy
from dino_plugin.evaluation.classification.metric import usable_ks
from dino_plugin.evaluation.features import Features, extract_features


class KNNHook(Hook):
    """Classify labelled images by k-NN of the current features, every few epochs and after the last.

    It is the only number during a run that says whether the features improve; training never uses the labels. The
    result, `knn/top1_k20` and so on in percent, goes to the log, the message hub and the visualizer. Modes and random
    states are restored, so training is not affected. Each process takes a part of the images.

    Args:
        bank: Config of the dataloader of labelled images, with `ImageDataset(with_labels=True)`, `image_collate` and
            `DefaultSampler(shuffle=False, round_up=False)`.
        queries: The same for the images to classify.
        interval: Epochs between two evaluations; iterations if not `by_epoch`.
        by_epoch: Whether `interval` counts epochs. Runs with an iteration-based loop need False.
        ks: Numbers of neighbours.
        features: `class`, `mean` or `class+mean`, see `pool`.
        source: `teacher` or `student`.
        before_training: Evaluate the untrained network, too, as the first point of the curve.

    Raises:
        ValueError: If `interval` is less than 1, `source` is another word, or the dataloaders do not fit each other.
    """

    # After the hooks that move the teacher and measure its outputs, before checkpoints are saved.
    priority = 'LOW'

    def __init__(
        self,
        bank: DataLoader | dict,
        queries: DataLoader | dict,
        interval: int = 10,
        by_epoch: bool = True,
        ks: Sequence[int] = (10, 20),
        features: Features = 'class',
        source: str = 'teacher',
        before_training: bool = True,
    ) -> None:
        if interval < 1:
            raise ValueError(f'KNNHook: interval={interval} must be at least 1.')
        if source not in ('teacher', 'student'):
            raise ValueError(f"KNNHook: source must be 'teacher' or 'student', got {source!r}.")
        self.bank, self.queries = bank, queries
        self.interval, self.by_epoch = interval, by_epoch
        self.ks, self.features = tuple(ks), features
        self.source, self.before_training = source, before_training

    def before_train(self, runner) -> None:
        """Build the dataloaders, so that a mistake shows at once; evaluate unless the run was resumed."""
        with preserved_random_state(gpu=True):
            self.bank = runner.build_dataloader(without_unused_options(self.bank), seed=runner.seed)
            self.queries = runner.build_dataloader(without_unused_options(self.queries), seed=runner.seed)
        prepare_bank_and_queries(self.bank, self.queries)
        self.ks = usable_ks(self.ks, len(self.bank.dataset))
        if self.before_training and runner.iter == 0:
            self._evaluate(runner, 0)

    def after_train_epoch(self, runner) -> None:
        """Evaluate if epochs are counted."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._evaluate(runner, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Evaluate if iterations are counted."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._evaluate(runner, runner.iter + 1)

    def _evaluate(self, runner, step: int) -> None:
        model = unwrapped(runner.model)
        backbone = getattr(model.distillation, self.source).backbone
        with preserved_random_state(gpu=True):
            bank = extract_features(backbone, self.bank, self.features, model.data_preprocessor)
            queries = extract_features(backbone, self.queries, self.features, model.data_preprocessor)
            scores = knn_accuracy(*bank, *queries, self.ks, over_ranks=True)
        scores = {f'knn/{name}': score for name, score in scores.items()}
        for name, score in scores.items():
            runner.message_hub.update_scalar(name, score)
        runner.visualizer.add_scalars(scores, step=step)
        text = ', '.join(f'{name.removeprefix("knn/")} {score:.1f} %' for name, score in scores.items())
        runner.logger.info(f'k-NN of the {self.source} after {step} iterations: {text}')
