"""Go on from released weights without losing them: measure, keep the best, stop, say whether it helped."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from torch import nn

from dino_plugin.engine.training.hooks.online_evaluation import OnlineEvaluationHook
from dino_plugin.engine.training.whole_files import WHOLE_FILES, write_whole
from dino_plugin.evaluation.scorecard_data import Labelled, drawn, read_images

BEST = 'best.pth'
# What decides if nothing else is named: the first that the data allow.
ORDER = ('k-NN', 'patches mIoU', 'figure of patches mIoU', 'video J&F', 'neighbours that agree')
_LOOKS = 'dino_plugin/looks'  # of mmengine's message hub, so a resumed run knows them
_TRAINING = 'the images of the training'
_OF_QUERIES = ('k-NN', 'linear')  # shares of the images that are asked about


class GuardHook(OnlineEvaluationHook):
    """`OnlineEvaluationHook` that keeps the best network and stops a training that makes it worse.

    The network is measured before training, every ``interval`` and at the end. The best one, by the measure that
    decides, is in ``best.pth`` of the working directory, which every program takes as CHECKPOINT; before training that
    is the network of the start, so the result is never worse by that measure. Training ends when ``patience`` looks in
    a row lie more than ``tolerance`` below the best.

    The table of all measures, before, best and last, is ``scorecard.json`` of the working directory, which the page of
    the run shows, and the end of the log. With k-NN and the linear classifier it says whether a difference is more than
    chance: twice its standard error, with s = sqrt(p (100 - p) / n) for p per cent of n images,

        |after - before| > 2 sqrt(s_before^2 + s_after^2)

    The images are the same ones both times, so this is a careful bound. The best of many looks is chosen by the same
    measure, and lies above the truth; to be sure, measure ``best.pth`` on images that this hook has not seen.

    Args:
        images: Folder of images, with classes or without; None: the training's own, where sub-folders of its one folder
            count as classes.
        watch: The measure that decides, such as 'linear' or 'patches mIoU'. None: the first of `ORDER` that there is.
        tolerance: How far below the best a look may lie, in points of that measure. None: twice its standard error if
            that is known, else 2.
        patience: Looks in a row below that before training ends; 0: it never ends early.
        **measured: Arguments of `OnlineEvaluationHook`.

    Raises:
        ValueError: If tolerance or patience is negative, as in `OnlineEvaluationHook`, and, before training, if the
            measure that decides is not among those found.
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
        self.looks: list[dict[str, Any]] = []
        self.scores: dict[str, float] = {}

    def before_train(self, runner) -> None:
        """Measure the network of the start, or take up what an earlier run has measured."""
        self.looks = list(runner.message_hub.runtime_info.get(_LOOKS, [])) if runner.iter else []
        super().before_train(runner)

    def read_images(self, runner) -> tuple[list[dict], Labelled | None]:
        """Those of the training, if no others are named; class folders directly below its one folder are classes."""
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
        self.looks.append(dict(step=step, scores=self.scores))
        runner.message_hub.update_info(_LOOKS, self.looks)
        if self.best is self.looks[-1]:
            save = dict(save_optimizer=False, save_param_scheduler=False, backend_args=dict(backend=WHOLE_FILES))
            runner.save_checkpoint(runner.work_dir, BEST, **save)
        if is_main_process():
            write_whole(Path(runner.work_dir) / 'scorecard.json', json.dumps(dict(measures=self.columns())).encode())
        if self.patience and self._looks_below() >= self.patience and step < runner.max_iters:
            runner.logger.warning(
                f'{self.watch} is {self._value(self.looks[-1]):.1f}, and was {self._value(self.best):.1f} after '
                f'{self.best["step"]} iterations: training ends here. {BEST} is the network of that time. To go on: a '
                'lower learning rate, or patience=0.'
            )
            runner.train_loop.stop_training = True

    def after_train(self, runner) -> None:
        """Say whether it helped."""
        if self.looks:
            runner.logger.info(f'\n{self.table()}\n{self.verdict()}')

    @property
    def best(self) -> dict[str, Any]:
        """The look with the best score of the measure that decides, the first of equal ones."""
        return max(self.looks, key=self._value)

    def columns(self) -> dict[str, dict[str, float]]:
        """Scores before training, of the best and of the last look."""
        found = {'before': self.looks[0]['scores'], f'best, step {self.best["step"]}': self.best['scores']}
        return found | {f'last, step {self.looks[-1]["step"]}': self.looks[-1]['scores']}

    def table(self) -> str:
        """The columns in Markdown, with the difference of the best to before."""
        columns = self.columns()
        lines = [f'| measure | {" | ".join(columns)} | best - before |', f'|---|{"---|" * (len(columns) + 1)}']
        before, best, *_ = columns.values()
        for name, score in before.items():
            values = ' | '.join(f'{column.get(name, math.nan):.1f}' for column in columns.values())
            mark = '**' if name == self.watch else ''
            lines.append(f'| {mark}{name}{mark} | {values} | {best.get(name, math.nan) - score:+.1f} |')
        return '\n'.join(lines)

    def verdict(self) -> str:
        """One sentence: helped, not more than chance, or worse."""
        before, last = self._value(self.looks[0]), self._value(self.looks[-1])
        best = self._value(self.best)
        bound = self._bound(before, best)
        of = f'{self.watch} went from {before:.1f} to {best:.1f} at best and {last:.1f} at the end'
        if best - before > bound:
            said = f'It helped: {of}, more than the {bound:.1f} points that chance explains. Take {BEST}.'
        elif last - before < -bound:
            said = f'It did harm: {of}. {BEST} is the network before training, or near it.'
        else:
            said = f'No difference beyond chance ({bound:.1f} points): {of}.'
        return said if self._standard_error(before) is not None else f'{said} (Its error is not known; 2 are assumed.)'

    def _choose_what_decides(self, scores: Mapping[str, float]) -> None:
        if self.watch is None:
            self.watch = next((name for name in ORDER if name in scores), None)
        if self.watch not in scores:
            raise ValueError(f'GuardHook: watch={self.watch!r} is not among the measures found: {sorted(scores)}.')

    def _value(self, look: Mapping[str, Any]) -> float:
        return look['scores'][self.watch]

    def _looks_below(self) -> int:
        """Looks in a row, up to the last, that lie below the best by more than the tolerance."""
        best = self._value(self.best)
        error = self._standard_error(best)
        allowed = self.tolerance if self.tolerance is not None else 2.0 if error is None else 2 * error
        below = [best - self._value(look) > allowed for look in self.looks]
        return next((number for number, each in enumerate(reversed(below)) if not each), len(below))

    def _standard_error(self, percent: float) -> float | None:
        """Of a share of the queries; None if the measure is something else."""
        if self.watch not in _OF_QUERIES or self.card is None or self.card.labelled is None:
            return None
        return math.sqrt(percent * (100 - percent) / len(self.card.labelled.queries))

    def _bound(self, before: float, after: float) -> float:
        errors = self._standard_error(before), self._standard_error(after)
        return 2.0 if None in errors else 2 * math.hypot(*errors)


def images_of_training(runner, limit: int) -> tuple[list[dict], Labelled | None]:
    """At most so many samples of the training's data set, with their classes if they lie in one folder of class folders.

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
    return drawn([dataset.get_data_info(index) for index in range(len(dataset))], limit, seed=0), None
