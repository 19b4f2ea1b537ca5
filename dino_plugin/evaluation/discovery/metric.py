"""Found objects against boxes and masks, as an mmengine metric that also draws them."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from dino_plugin.evaluation.discovery.box_scores import score_boxes
from dino_plugin.evaluation.discovery.drawing import picture_row
from dino_plugin.evaluation.discovery.find import Found, refine_masks
from dino_plugin.evaluation.discovery.saliency import ImageSaliency, image_saliency, mean_saliency
from dino_plugin.evaluation.objects.images import VOID, ObjectImage
from dino_plugin.visualization.contact_sheet import save_image
from dino_plugin.visualization.overlay import mask_sheet


class DiscoveryMetric(BaseMetric):
    """What `ObjectFinder` finds against what is known of the images, in percent. Without boxes and masks it only draws.

    With boxes, or masks, of images with at least one object:

    - `discovery/corloc`, `discovery/box_recall`, `discovery/box_precision`: see `score_boxes`
    - `discovery/corloc_whole_image`: if the box was the whole image, to compare

    With masks, of all objects together:

    - `discovery/max_f`, `discovery/iou`, `discovery/accuracy`: see `image_saliency`
    - the same with `refined_` in front, of the map of the bilateral solver; `discovery/iou_whole_image` to compare

    Always `discovery/images`; `discovery/without_cut`, images in which all patches were alike or none, so that the
    whole image or nothing was found; `discovery/objects_per_image`. Into `out_dir`, which `ObjectTestLoop` sets, go the
    boxes of all images (`boxes.csv`) and a sheet of the first images (`objects.png`): image, found, refined, true.

    Args:
        refine: Follow the edges of the image by the bilateral solver: some tenths of a second an image.
        num_pictures: Images on the sheet of each process.
    """

    default_prefix = 'discovery'

    def __init__(self, refine: bool = False, num_pictures: int = 12) -> None:
        super().__init__(collect_device='gpu')  # by communication between the processes, not by files
        self.refine = refine
        self.num_pictures = num_pictures
        self.out_dir: str | None = None
        self._rows: list[tuple[str, Sequence]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score and draw the images of a batch."""
        for sample in data_samples:
            item, image, found = sample['item'], sample['image'], sample['found']
            soft, refined = refine_masks(image, found.masks) if self.refine else (None, None)
            result = dict(name=item.name, size=item.size, boxes=found.boxes, whole=found.whole)
            result['truth'] = item.read_boxes() if item.has_boxes else None
            if item.mask_path is not None:
                result['saliency'] = _saliency(item, found, soft, refined)
            self.results.append(result)
            if len(self._rows) < self.num_pictures:
                self._rows.append((item.name, self._pictures(item, image, found, refined)))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The numbers by name; table and sheet are written, too."""
        results = sorted(results, key=lambda result: result['name'])
        numbers = _box_numbers([result for result in results if result['truth'] is not None and len(result['truth'])])
        numbers |= _saliency_numbers([result['saliency'] for result in results if 'saliency' in result])
        whole = sum(result['whole'] for result in results) / len(results)
        if whole > 0.5:
            print_log(
                f'In {whole:.0%} of the images all patches are alike, or none are, so that nothing can be told apart. '
                'Try model.features=values, or patches, or model.centred=True, or another threshold.',
                logger='current',
                level=logging.WARNING,
            )
        if self.out_dir is not None:
            _write_boxes(results, Path(self.out_dir) / 'boxes.csv')
        per_image = sum(len(result['boxes']) for result in results) / len(results)
        percents = {name: 100 * share for name, share in (numbers | dict(without_cut=whole)).items()}
        return percents | dict(objects_per_image=per_image, images=len(results))

    def evaluate(self, size: int) -> dict[str, float]:
        """The numbers with the metric's prefix; each process first writes its sheet."""
        if self.out_dir is not None and self._rows:
            name = 'objects.png' if get_rank() == 0 else f'objects_{get_rank()}.png'
            save_image(mask_sheet(self._rows), Path(self.out_dir) / name)
        self._rows.clear()
        return super().evaluate(size)

    @staticmethod
    def _pictures(
        item: ObjectImage, image: UInt8[np.ndarray, 'rows columns 3'], found: Found, refined: Any
    ) -> Sequence:
        masks = item.read_masks() if item.mask_path is not None else None
        truth = (masks, item.read_boxes()) if item.has_boxes else None
        return picture_row(image, (found.masks, found.boxes), refined, truth)


def _saliency(item: ObjectImage, found: Found, soft: Any, refined: Any) -> dict[str, Any]:
    labels = item.read_labels()
    void, truth = labels == VOID, (labels > 0) & (labels != VOID)
    scores = dict(found=image_saliency(found.masks.any(axis=0).astype(np.float64), truth, void))
    if soft is not None:
        mask = image_saliency(refined.any(axis=0).astype(np.float64), truth, void)
        scores['refined'] = mask._replace(f_beta=image_saliency(soft, truth, void).f_beta)
    scores['whole_image'] = image_saliency(np.ones(truth.shape), truth, void)
    return scores


def _box_numbers(results: list[dict]) -> dict[str, float]:
    if not results:
        return {}
    truth = [result['truth'] for result in results]
    scores = score_boxes([result['boxes'] for result in results], truth)
    whole = score_boxes([np.array([[0.0, 0.0, *result['size'][::-1]]]) for result in results], truth)
    return dict(
        corloc=scores.corloc,
        corloc_whole_image=whole.corloc,
        box_recall=scores.recall,
        box_precision=scores.precision,
    )


def _saliency_numbers(scores: list[dict]) -> dict[str, float]:
    if not scores:
        return {}
    # mmengine has made plain tuples of them.
    means = {kind: mean_saliency([ImageSaliency(*score[kind]) for score in scores]) for kind in scores[0]}
    numbers = dict(iou_whole_image=means['whole_image'].iou)
    for kind, prefix in (('found', ''), ('refined', 'refined_')):
        if kind in means:
            mean = means[kind]
            numbers |= {f'{prefix}max_f': mean.max_f, f'{prefix}iou': mean.iou, f'{prefix}accuracy': mean.accuracy}
    return numbers


def _write_boxes(results: list[dict], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(['image', 'left', 'top', 'right', 'bottom'])
        table.writerows(
            [result['name'], *(f'{edge:g}' for edge in box)] for result in results for box in result['boxes']
        )
