"""J and F as an mmengine metric."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from dino_plugin.evaluation.video.scores import global_results, write_tables


class DAVISMetric(BaseMetric):
    """J, F and their mean over all clips, in percent: `davis/J&F-Mean`, `davis/J-Recall` and so on.

    Predictions are dicts with `name`, `scores` (of `evaluate_clip`, or None) and `error`, as `ClipTestLoop` gives them.
    `davis/clips` is the number of scored clips, `davis/failed` the number of failed clips, which are not in the means.
    If `ClipTestLoop` sets `out_dir`, two tables are written there, see `write_tables`.
    """

    default_prefix = 'davis'

    def __init__(self) -> None:
        super().__init__(collect_device='gpu')  # by communication between the processes, not by files
        self.out_dir: str | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the scores of one batch.

        Raises:
            ValueError: If there are no scores: mmengine's own test loop was used.
        """
        if any('scores' not in sample for sample in data_samples):
            raise ValueError(
                "DAVISMetric needs the scores of clips: set test_cfg=dict(type='dino_plugin.ClipTestLoop')."
            )
        self.results.extend(data_samples)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The numbers by name; the tables are written, too."""
        scores = [sample['scores'] for sample in results if sample['scores'] is not None]
        scores.sort(key=lambda score: score.name)
        failed = sorted(f'{sample["name"]} ({sample["error"]})' for sample in results if sample['error'] is not None)
        if failed:
            print_log(
                f'{len(failed)} of {len(results)} clips failed and are not in the scores: {"; ".join(failed)}. '
                'The same command computes only these again.',
                logger='current',
                level=logging.ERROR,
            )
        if scores and self.out_dir is not None:
            write_tables(scores, Path(self.out_dir))
        shares = global_results(scores) if scores else {}
        return {**{name: 100 * share for name, share in shares.items()}, 'clips': len(scores), 'failed': len(failed)}
