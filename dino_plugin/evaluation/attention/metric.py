"""Attention against masks, and statistics of heads, as mmengine metrics."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from dino_plugin.evaluation.attention.heads import figure_statistics
from dino_plugin.evaluation.attention.jaccard import ImageJaccard, image_jaccard, summarise_jaccard
from dino_plugin.evaluation.attention.reports import write_head_report
from dino_plugin.evaluation.attention.summary import ImageHeads, describe_heads, figure_of, summarise_heads
from dino_plugin.evaluation.objects.images import VOID

_OF_FIGURES = ('figure_ground_auc', 'peak_in_figure', 'figure_mass')


class AttentionJaccardMetric(BaseMetric):
    """Attention of the class token against masks of objects, in percent; predictions come from `AttentionExtractor`.

    - `attention/jaccard_best_head`: DINO's protocol, see `summarise_jaccard`; the masks choose a head for each object
    - `attention/jaccard_best_fixed_head`: one head for all images, `attention/fixed_head`, which the masks choose, too
    - `attention/jaccard_mean_map`: the mean of all heads; nothing is chosen
    - `attention/jaccard_whole_image`: if all patches were in the mask, to compare
    - `attention/figure_ground_auc`, `attention/peak_in_figure`, `attention/figure_mass`: of the mean map, see
      `figure_statistics`; chance is 50 for the first, `attention/figure_share` for the others
    - `attention/images`: images with objects; the others do not count

    Args:
        threshold: Share of the mass in a mask.

    Raises:
        ValueError: In `process`, if an image has no mask.
    """

    default_prefix = 'attention'

    def __init__(self, threshold: float = 0.6) -> None:
        super().__init__(collect_device='gpu')  # by communication between the processes, not by files
        self.threshold = threshold

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the numbers of each image."""
        for sample in data_samples:
            if sample['labels'] is None:
                raise ValueError(f'{sample["name"]} has no mask: give masks=FOLDER in test_dataloader.dataset.')
            labels, maps = torch.from_numpy(sample['labels']), sample['maps'].cpu()
            figure, void = figure_of(sample['labels'])
            objects = [labels == label for label in labels.unique() if label not in (0, VOID)]
            objects = torch.stack(objects) if objects else figure[:0].reshape(0, *figure.shape)
            result = dict(heads=sample['heads'], jaccard=image_jaccard(maps, objects, void, self.threshold))
            whole = torch.ones(1, *maps.shape[1:])
            result['whole'] = image_jaccard(whole, objects, void, threshold=1.0).mean_map.mean()
            if figure.any() and (~figure & ~void).any():
                mean = figure_statistics(maps.mean(dim=0, keepdim=True), figure, void)
                result['figure'] = {name: mean[name].item() for name in _OF_FIGURES}
                result['figure']['figure_share'] = (figure.sum() / (~void).sum()).item()
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The numbers by name."""
        images = [ImageJaccard(*result['jaccard']) for result in results]  # mmengine makes plain tuples of them
        found = summarise_jaccard(images)
        whole = [result['whole'].item() for result, image in zip(results, images) if len(image.mean_map)]
        figures = [result['figure'] for result in results if 'figure' in result]
        means = {name: sum(one[name] for one in figures) / len(figures) for name in (figures[0] if figures else ())}
        shares = dict(
            jaccard_best_head=found.best_head,
            jaccard_best_fixed_head=found.best_fixed_head,
            jaccard_mean_map=found.mean_map,
            jaccard_whole_image=sum(whole) / len(whole),
            **means,
        )
        percents = {name: 100 * share for name, share in shares.items()}
        return percents | dict(fixed_head=results[0]['heads'][found.fixed_head], images=found.images)


class HeadMetric(BaseMetric):
    """Statistics of heads over a data set and their clusters; predictions come from `AttentionExtractor`.

    The results are the means over all heads, in percent (`heads/entropy` …), and `heads/head_distance`, the mean cosine
    distance between two heads. Then how well two to ten clusters fit: `heads/best_number` of clusters by the
    silhouette, `heads/silhouette_best`, `heads/silhouette_3` and `heads/cophenetic`. Tables and a picture go to
    `out_dir`, which `ObjectTestLoop` sets; see `write_head_report`.

    Args:
        threshold: Share of the mass in a mask.
    """

    default_prefix = 'heads'

    def __init__(self, threshold: float = 0.6) -> None:
        super().__init__(collect_device='gpu')
        self.threshold = threshold
        self.out_dir: str | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the statistics of each image."""
        for sample in data_samples:
            maps, labels, distances = (sample[name] for name in ('maps', 'labels', 'attended_distances'))
            self.results.append((sample['heads'], describe_heads(maps, labels, distances, self.threshold)))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """The numbers by name; tables and picture are written, too."""
        summary = summarise_heads([ImageHeads(*found) for _, found in results])
        if self.out_dir is not None:
            write_head_report(summary, results[0][0], Path(self.out_dir))
        numbers = {name: 100 * float(values.mean()) for name, values in summary.means.items()}
        numbers['head_distance'] = 100 * summary.mean_distance
        numbers |= dict(images=summary.images, with_figures=summary.with_figures)
        if summary.clusters is not None and summary.clusters.silhouette:
            silhouette = summary.clusters.silhouette
            best = max(silhouette, key=silhouette.__getitem__)
            numbers |= dict(best_number=best, silhouette_best=silhouette[best])
            numbers |= {f'silhouette_{number}': silhouette[number] for number in (3,) if number in silhouette}
            numbers['cophenetic'] = summary.clusters.cophenetic
        return numbers
