"""A test loop for segmentation without training: labelled patches first, then whole images."""

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import TestLoop
from torch.utils.data import DataLoader

from dino_plugin.core.reduce import gather_over_ranks
from dino_plugin.data.workers.dataloaders import without_unused_options
from dino_plugin.engine.evaluating.bank_loop import refuse_repeated_samples
from dino_plugin.evaluation.progress import progress
from dino_plugin.evaluation.segmentation.patch_classifiers import PatchBank, patches_of_image
from dino_plugin.evaluation.segmentation.patch_labels import patch_labels


class PatchTestLoop(TestLoop):
    """mmengine's test loop after a pass over the training images, whose patches get the labels of their masks.

    The metrics' `fit` takes these patches, of all processes together; then the test images are segmented one by one, so
    that only the training patches stay in memory: 4 bytes for each number of a feature, twice while they are gathered.

    Args:
        runner: The runner; mmengine fills it in, as well as `dataloader` and `evaluator`.
        bank_dataloader: Config of the dataloader of the training images.
        patches_per_image: Draw at most so many labelled patches of each training image; None: all.
        seed: Of the draw.
        **kwargs: Arguments of mmengine's `TestLoop`.

    Raises:
        ValueError: If a sampler gives an image to two processes; when it runs, if no patch has a label.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        bank_dataloader: DataLoader | dict,
        patches_per_image: int | None = 256,
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(runner, without_unused_options(dataloader), evaluator, **kwargs)
        self.bank_dataloader = runner.build_dataloader(without_unused_options(bank_dataloader), seed=runner.seed)
        for loader, name in ((self.bank_dataloader, 'training images'), (self.dataloader, 'test images')):
            refuse_repeated_samples(loader, name)
        if patches_per_image is not None and patches_per_image < 1:
            raise ValueError(f'patches_per_image={patches_per_image} must be at least 1, or None for all.')
        self.patches_per_image, self.seed = patches_per_image, seed

    def run(self) -> dict:
        """Fit the metrics, segment the test images; return the metrics."""
        self.runner.model.eval()
        bank = self._bank()
        for metric in self.evaluator.metrics:
            metric.fit(bank)
        return super().run()

    @torch.no_grad()
    def _bank(self) -> PatchBank:
        model = getattr(self.runner.model, 'module', self.runner.model)  # mmengine wraps it for several processes
        device = next(model.parameters()).device
        none = torch.zeros(0, dtype=torch.long, device=device)
        parts = [PatchBank(torch.zeros(0, model.backbone.embed_dim, device=device), none, none)]
        number = get_rank()
        for batch in progress(self.bank_dataloader, 'training images'):
            for image in self.runner.model.test_step(batch):
                patches = image['patches']
                labels = torch.from_numpy(patch_labels(image['mask'], patches.shape[:2])).flatten().long()
                drawn = patches_of_image(labels, self.patches_per_image, number, self.seed)
                kept = patches.flatten(0, 1)[drawn.to(device)], labels[drawn].to(device)
                parts.append(PatchBank(*kept, torch.full_like(kept[1], number)))
                number += get_world_size()
        bank = PatchBank(*(gather_over_ranks(torch.cat(part)) for part in zip(*parts)))
        if not len(bank.labels):
            raise ValueError(
                'No patch of the training images has a label: all pixels are ignored, or each patch has an ignored '
                'pixel. Check the folder of masks and model.ignored.'
            )
        images, classes = len(bank.images.unique()), bank.labels.unique().tolist()
        print_log(f'{len(bank.labels)} labelled patches of {images} images, labels {classes}', 'current')
        return bank
