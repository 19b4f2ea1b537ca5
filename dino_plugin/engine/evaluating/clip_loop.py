"""A test loop over video clips."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log

from dino_plugin.engine.evaluating.object_loop import ObjectTestLoop
from dino_plugin.evaluation.progress import progress
from dino_plugin.evaluation.video.clip import Clip
from dino_plugin.evaluation.video.clip_results import ClipResults, run_clip


class ClipTestLoop(ObjectTestLoop):
    """mmengine's test loop for a `ClipSegmenter`: the masks of each clip are written to the work directory and scored.

    Finished clips of the same weights and settings are not computed again. A clip that fails is logged and counted, and
    the loop goes on. In a distributed run each process takes a part of the clips.

    Args:
        runner: The runner; mmengine fills it in, as well as `dataloader` and `evaluator`.
        **kwargs: Arguments of mmengine's `TestLoop`.

    Raises:
        ValueError: If the sampler gives a clip to two processes.
    """

    items = 'clips'

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[Clip]) -> None:
        """The clips of one batch, one after the other."""
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        outputs = [self._run_clip(sample) for sample in self.runner.model.test_step(data_batch)]
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def _run_clip(self, sample: dict[str, Any]) -> dict[str, Any]:
        clip = sample['clip']
        masks = progress(sample['masks'], clip.name, total=len(clip.frames))
        try:
            scores = run_clip(ClipResults(self.runner.work_dir, clip, sample['settings']), masks)
        except Exception as error:  # of any kind: the results of hours must not be lost with it
            print_log(f'{clip.name} failed: {type(error).__name__}: {error}', logger='current', level=logging.ERROR)
            return dict(name=clip.name, scores=None, error=str(error))
        return dict(name=clip.name, scores=scores, error=None)
