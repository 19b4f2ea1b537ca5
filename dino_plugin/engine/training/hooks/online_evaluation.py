"""The scorecard's measures during training."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from torch import nn

from dino_plugin.data.images.user_files import expanded
from dino_plugin.engine.training.hooks.periodic_evaluation import PeriodicEvaluation
from dino_plugin.evaluation.objects.images import ObjectDataset, ObjectImage
from dino_plugin.evaluation.scorecard.data import Card, Labelled, read_images
from dino_plugin.evaluation.scorecard.image_scores import ImageScores
from dino_plugin.evaluation.scorecard.measures import MEASURES, measure_images
from dino_plugin.evaluation.scorecard.pairs import read_pairs
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset


class OnlineEvaluationHook(PeriodicEvaluation):
    """Measure the current features on small data of several kinds, every few epochs and after the last.

    Class features keep growing while dense ones may fall (DINOv3's reason for Gram anchoring), so a curve of each kind
    belongs beside the losses. Names are those of `tools/scorecard.py` with the prefix `online/`. The first process
    computes, the others wait for it: keep the data small, and use `KNNHook` for much of it.

    Args:
        images: Folder of images as for `read_images`: k-NN, linear classifier, few shots and retrieval where there are
            classes, and measures of the spectrum.
        masks: Folder with `JPEGImages` and `Annotations`: attention and discovery.
        clips: Clips in DAVIS's layout, with a mask for each frame: label propagation.
        class_masks: Folder whose masks hold a class in each pixel, 255 for none: segmentation without training, learnt
            from the first half of the images and asked about the other.
        class_mask_folders: Folders of images and of masks in it.
        pairs: CSV file with the columns `first` and `second`, two pictures of the same thing in each row: how many find
            each other.
        measures: Which of `MEASURES`; None: all for which there is data.
        limit: Largest number of images; the same for images with masks.
        image_size: Pixels of the square from an image.
        short_side: Shorter side of images with masks and of frames, in pixels.
        interval: As in `PeriodicHook`.
        by_epoch: Likewise.
        source: Likewise.
        before_training: Likewise.

    Raises:
        ValueError: If there is no data, a measure is unknown, and as in `PeriodicHook`.
    """

    prefix = 'online'

    def __init__(
        self,
        images: str = '',
        masks: str = '',
        clips: str = '',
        class_masks: str = '',
        class_mask_folders: Sequence[str] = ('images', 'masks'),
        pairs: str = '',
        measures: Sequence[str] | None = None,
        limit: int = 1000,
        image_size: int = 224,
        short_side: int = 240,
        interval: int = 10,
        by_epoch: bool = True,
        source: str = 'teacher',
        before_training: bool = True,
    ) -> None:
        super().__init__(interval, by_epoch, source, before_training)
        if not (images or masks or clips or class_masks or pairs):
            raise ValueError('OnlineEvaluationHook: give a folder of images, masks or clips to measure on, or pairs.')
        if unknown := sorted(set(measures or ()) - MEASURES.keys()):
            raise ValueError(f'OnlineEvaluationHook: measures={unknown} are unknown; use some of {list(MEASURES)}.')
        self.images, self.masks, self.clips = images, masks, clips
        self.class_masks, self.class_mask_folders = class_masks, tuple(class_mask_folders)
        self.pairs, self.measures, self.limit = pairs, measures, limit
        self.image_size, self.short_side = image_size, short_side
        self.card: Card | None = None
        self.by_image: dict[str, ImageScores] = {}  # of the last look

    def prepare(self, runner) -> None:
        """List all files, and check their headers."""
        images, labelled = self.read_images(runner)
        objects = self._masked(self.masks, ('JPEGImages', 'Annotations'))
        classes = self._masked(self.class_masks, self.class_mask_folders)
        clips = DAVISDataset(self.clips, year=2016).clips if self.clips else []
        pairs = read_pairs(Path(expanded(self.pairs, 'pairs'))) if self.pairs else None
        self.card = Card(images, labelled, objects, clips, self.image_size, self.short_side, classes, pairs)

    def read_images(self, runner) -> tuple[list[dict], Labelled | None]:
        """The samples of `images`, and their two parts if there are classes."""
        if not self.images:
            return [], None
        return read_images(Path(expanded(self.images, 'images')), None, self.limit)

    def _masked(self, folder: str, parts: Sequence[str]) -> list[ObjectImage]:
        if not folder:
            return []
        dataset = ObjectDataset(expanded(folder, 'masks'), *parts)
        return list(dataset)[:: max(1, -(-len(dataset) // self.limit))]

    def evaluate(self, runner, backbone: nn.Module) -> dict[str, float]:
        """All numbers; what could not be measured is logged."""
        everything = [measure_images(backbone, self.card, measures=self.measures) if is_main_process() else None]
        broadcast_object_list(everything)
        (found,) = everything
        for name, value in found.items():
            if isinstance(value, str):
                runner.logger.warning(f'{name} could not be measured: {value}')
        self.by_image = {name: value for name, value in found.items() if isinstance(value, ImageScores)}
        numbers = {name: value for name, value in found.items() if not isinstance(value, str)}
        return numbers | {name: value.score for name, value in self.by_image.items()}
