"""Go on from released weights without losing them: measure, keep the best, stop, say whether it helped."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from torch import nn

from dino_plugin.engine.training.before_after import BeforeAfter, Look
from dino_plugin.engine.training.hooks.online_evaluation import OnlineEvaluationHook
from dino_plugin.engine.training.measured_images import hash_of_card
from dino_plugin.engine.training.whole_files import WHOLE_FILES, write_whole
from dino_plugin.evaluation.scorecard.data import Labelled, read_images
from dino_plugin.evaluation.scorecard.image_scores import ImageScores
from dino_plugin.evaluation.scorecard.measures import images_of_shares

BEST = 'best.pth'
# What decides if nothing else is named: the first that the data allow.
ORDER = ('k-NN', 'pairs found', 'patches mIoU', 'figure of patches mIoU', 'video J&F', 'neighbours that agree')
_LOOKS = 'dino_plugin/looks'  # of mmengine's message hub, so a resumed run knows them
_TRAINING = 'the images of the training'


class GuardHook(OnlineEvaluationHook):
    """`OnlineEvaluationHook` that keeps the best network and stops a training that makes it worse.

    The network is measured before training, every ``interval`` and at the end. The best one, by the measure that
    decides, is in ``best.pth`` of the working directory, which every program takes as CHECKPOINT; before training that
    is the network of the start, so the result is never worse by that measure. Training ends when ``patience`` looks in
    a row lie more than ``tolerance`` below the best. A network that cannot be measured any more lies below.

    ``before_after.md`` has all measures, before, best and last, and whether a difference is more than chance, as
    `BeforeAfter` says; it is the end of the log, too. The page of the run shows the same numbers, ``scorecard.json``.
    The best of many looks is chosen by the same measure, and lies above the truth; to be sure, measure ``best.pth`` on
    images that this hook has not seen. ``neighbours that agree``, which decides where there are no labels, is close to
    what the losses ask for: it says that training goes well rather than that the features are of more use.

    Args:
        watch: The measure that decides, such as 'linear' or 'patches mIoU'. None: the first of `ORDER` that there is.
        tolerance: How far below the best a look may lie, in points of that measure. None: twice the standard error of
            the difference if that is known, else 2.
        patience: Looks in a row below that before training ends; 0: it never ends early.
        images: Folder of images, with classes or without; None: the training's own, where sub-folders of its one folder
            count as classes.
        **measured: Other arguments of `OnlineEvaluationHook`.

    Raises:
        ValueError: If tolerance or patience is negative, as in `OnlineEvaluationHook`, and, before training, if the
            measure that decides is not among those found, or the training's data set has no files.
    """

    def __init__(
        self,
        watch: str | None = None,
        tolerance: float | None = None,
        patience: int = 3,
        images: str | None = None,
        **measured: Any,
    ) -> None:
        self.of_training = images is None
        super().__init__(images=_TRAINING if images is None else images, **measured)
        if patience < 0 or (tolerance is not None and tolerance < 0):
            raise ValueError(f'GuardHook: tolerance={tolerance} and patience={patience} must be 0 or more.')
        if not self.before_training:
            raise ValueError('GuardHook: before_training=False; it compares with the network before training.')
        self.watch, self.tolerance, self.patience = watch, tolerance, patience
        self.looks: list[Look] = []
        self.scores: dict[str, float] = {}

    def before_train(self, runner) -> None:
        """Measure the network of the start, or take up what an earlier run has measured."""
        kept = runner.message_hub.runtime_info.get(_LOOKS, []) if runner.iter else []
        self.looks = [
            Look(step, scores, {name: ImageScores(*parts) for name, parts in by_image.items()}, *images)
            for step, scores, by_image, *images in kept
        ]
        super().before_train(runner)
        if self.looks and self.looks[-1].images not in ('', self.measured_on):
            runner.logger.warning(
                'GuardHook: the images measured on are others than before. Earlier scores stay in the table, and a '
                'part of a difference from them may be theirs. Training ends early only by scores from here on.'
            )

    def prepare(self, runner) -> None:
        """List all files, check their headers, and note which they are."""
        super().prepare(runner)
        self.measured_on = '' if self.card is None else hash_of_card(self.card)

    def read_images(self, runner) -> tuple[list[dict], Labelled | None]:
        """Those of the training, if no others are named."""
        found = images_of_training(runner, self.limit) if self.of_training else super().read_images(runner)
        classes = len({sample['gt_label'] for sample in found[1].bank}) if found[1] else 0
        runner.logger.info(f'GuardHook: measures on {len(found[0])} images of {classes or "no"} classes')
        return found

    def evaluate(self, runner, backbone: nn.Module) -> dict[str, float]:
        """All numbers, which are kept."""
        self.scores = super().evaluate(runner, backbone)
        return self.scores

    def look(self, runner, backbone: nn.Module, step: int) -> None:
        """Measure, keep the best, stop if it gets worse."""
        super().look(runner, backbone, step)
        self._choose_what_decides(self.scores)
        self.looks.append(Look(step, self.scores, self.by_image, self.measured_on))
        found = self.found
        compared = {look.step for look in (self.looks[0], found.best, found.at_the_same_images.best, self.looks[-1])}
        self.looks[:] = [look if look.step in compared else look._replace(by_image={}) for look in self.looks]
        runner.message_hub.update_info(_LOOKS, [_plain(look) for look in self.looks])
        if found.best is self.looks[-1]:
            save = dict(save_optimizer=False, save_param_scheduler=False, backend_args=dict(backend=WHOLE_FILES))
            runner.save_checkpoint(runner.work_dir, BEST, **save)
        if is_main_process():
            self._write(Path(runner.work_dir), found)
        if self.patience and found.looks_below(self.tolerance) >= self.patience and step < runner.max_iters:
            runner.logger.warning(
                f'{self.watch} is {found.words(self.looks[-1])}, and was {found.words(found.best)} after '
                f'{found.best.step} iterations: training ends here. {BEST} is the network of that time. To go on: a '
                'lower learning rate, or patience=0.'
            )
            runner.train_loop.stop_training = True

    def after_train(self, runner) -> None:
        """Say whether it helped."""
        if self.looks:
            best = Path(runner.work_dir) / BEST
            runner.logger.info(f'\n{self.found.table()}\n{self.found.verdict()} The best network: {best}')

    @property
    def found(self) -> BeforeAfter:
        """All looks until now."""
        assert self.watch is not None  # after the first look
        return BeforeAfter(self.looks, self.watch, {} if self.card is None else images_of_shares(self.card))

    def _write(self, folder: Path, found: BeforeAfter) -> None:
        write_whole(folder / 'scorecard.json', json.dumps(dict(measures=found.columns())).encode())
        write_whole(folder / 'before_after.md', f'{found.table()}\n\n{found.verdict()}\n'.encode())

    def _choose_what_decides(self, scores: Mapping[str, float]) -> None:
        if self.looks:  # a later network that cannot be measured has diverged, which is a bad look and no mistake
            scores = self.looks[0].scores
        if self.watch is None:
            self.watch = next((name for name in ORDER if name in scores), None)
        if self.watch not in scores:
            raise ValueError(f'GuardHook: watch={self.watch!r} is not among the measures found: {sorted(scores)}.')


def _plain(look: Look) -> tuple[int, dict, dict, str]:
    """As a checkpoint may hold it, which is read without running code."""
    return look.step, dict(look.scores), {name: tuple(parts) for name, parts in look.by_image.items()}, look.images


def images_of_training(runner, limit: int) -> tuple[list[dict], Labelled | None]:
    """At most so many samples of the training's data set, with their classes if it is one folder of class folders.

    Raises:
        ValueError: If the data set does not say where its images are.
    """
    dataset = runner.train_dataloader.dataset
    while hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if getattr(dataset, 'data_root', '') and not getattr(dataset, 'ann_file', ''):
        return read_images(Path(dataset.data_root), None, limit)
    if not hasattr(dataset, 'get_data_info'):
        raise ValueError(
            f'GuardHook: {type(dataset).__name__} does not say where its images are; give images=FOLDER to measure on.'
        )
    # Of a billion images a list of all would not fit into memory.
    some = sorted(random.Random(0).sample(range(len(dataset)), min(limit, len(dataset))))
    return [dataset.get_data_info(index) for index in some], None
