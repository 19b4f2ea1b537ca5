"""k-NN of the teacher's features during training."""

from collections.abc import Sequence

from torch import nn
from torch.utils.data import DataLoader

from dino_plugin.data.workers.dataloaders import without_unused_options
from dino_plugin.engine.evaluating.bank_loop import prepare_bank_and_queries, prepare_evaluation
from dino_plugin.engine.training.hooks.periodic_evaluation import PeriodicEvaluation
from dino_plugin.engine.training.model import unwrapped
from dino_plugin.evaluation.classification.knn import knn_accuracy, leave_one_out_accuracy
from dino_plugin.evaluation.classification.metric import usable_ks
from dino_plugin.evaluation.features.extraction import Features, extract_features
from dino_plugin.evaluation.progress import progress


class KNNHook(PeriodicEvaluation):
    """Classify labelled images by k-NN of the current features, every few epochs and after the last.

    It is the only number during a run that says whether the features improve; training never uses the labels. The
    results are `knn/top1_k20` and so on, in percent. Each process takes a part of the images.

    Args:
        bank: Config of the dataloader of labelled images, with `ImageDataset(with_labels=True)`, `image_collate` and
            `DefaultSampler(shuffle=False, round_up=False)`.
        queries: The same for the images to classify. None: each image of the bank by the others (leave-one-out), so
            that settings can be chosen without a look at test images.
        interval: As in `PeriodicHook`.
        by_epoch: Likewise.
        ks: Numbers of neighbours.
        features: `class`, `mean` or `class+mean`, see `pool`.
        source: As in `PeriodicHook`.
        before_training: Likewise.

    Raises:
        ValueError: As in `PeriodicHook`, or if the dataloaders do not fit each other.
    """

    prefix = 'knn'

    def __init__(
        self,
        bank: DataLoader | dict,
        queries: DataLoader | dict | None = None,
        interval: int = 10,
        by_epoch: bool = True,
        ks: Sequence[int] = (10, 20),
        features: Features = 'class',
        source: str = 'teacher',
        before_training: bool = True,
    ) -> None:
        super().__init__(interval, by_epoch, source, before_training)
        self.bank, self.queries = bank, queries
        self.ks, self.features = tuple(ks), features

    def prepare(self, runner) -> None:
        """Build the dataloaders."""
        self.bank = runner.build_dataloader(without_unused_options(self.bank), seed=runner.seed)
        if self.queries is not None:
            self.queries = runner.build_dataloader(without_unused_options(self.queries), seed=runner.seed)
            prepare_bank_and_queries(self.bank, self.queries)
        else:
            prepare_evaluation(self.bank, 'bank')
        self.ks = usable_ks(self.ks, len(self.bank.dataset) - (self.queries is None))

    def evaluate(self, runner, backbone: nn.Module) -> dict[str, float]:
        """Accuracies in percent."""
        preprocessor = unwrapped(runner.model).data_preprocessor
        bank, *queries = (
            extract_features(backbone, progress(loader, name), self.features, preprocessor)
            for name, loader in (('bank', self.bank), ('queries', self.queries))
            if loader is not None
        )
        if not queries:
            return leave_one_out_accuracy(*bank, self.ks, over_ranks=True)
        return knn_accuracy(*bank, *queries[0], self.ks, over_ranks=True)
