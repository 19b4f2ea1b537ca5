"""Tables and a picture of a network's heads."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from dino_plugin.evaluation.attention.clusters import HeadClusters, name_three_groups, positions_of_heads
from dino_plugin.evaluation.attention.summary import HeadsSummary
from dino_plugin.visualization.head_clusters import plot_heads


def write_head_report(summary: HeadsSummary, heads: Sequence[str], folder: Path) -> None:
    """Write ``heads.csv`` and ``head_distances.csv``, and with 3 heads or more ``head_clusters.csv`` and its picture.

    - ``heads.csv``: a line for each head: mean and standard deviation over the images of each statistic, and the
      cluster among as many as fit best, and among three
    - ``head_distances.csv``: mean cosine distance between the maps of each two heads
    - ``head_clusters.csv``: a line for each number of clusters: silhouette, cophenetic correlation of the cut tree
    - ``head_clusters.png``: the tree, the heads in a plane, and the silhouettes

    Args:
        summary: Of all images.
        heads: Name of each head, `block.head`.
        folder: Is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Sequence] = dict(head=heads)
    for name, means in summary.means.items():
        columns |= {name: means.round(6), f'{name}_std': summary.deviations[name].round(6)}
    clusters = summary.clusters
    if clusters is not None and clusters.silhouette:
        best = max(clusters.silhouette, key=clusters.silhouette.__getitem__)
        columns |= {f'cluster_of_{number}': clusters.labels(number) for number in dict.fromkeys((best, 3))}
        fits = dict(
            clusters=list(clusters.silhouette),
            silhouette=[round(value, 6) for value in clusters.silhouette.values()],
            cophenetic=[round(value, 6) for value in clusters.cut_cophenetic.values()],
        )
        _write_csv(folder / 'head_clusters.csv', fits)
        names = three_groups(clusters, summary)
        plot_heads(
            clusters.tree, positions_of_heads(summary.distances), clusters.labels(3), names, heads,
            clusters.silhouette, folder / 'head_clusters.png',
        )  # fmt: skip
    _write_csv(folder / 'heads.csv', columns)
    distances = dict(zip(heads, summary.distances.round(6).T))
    _write_csv(folder / 'head_distances.csv', dict(head=heads) | distances)
    print_log(f'tables and picture of {len(heads)} heads: {folder}/head*', logger='current')


def three_groups(clusters: HeadClusters, summary: HeadsSummary) -> dict[int, str]:
    """A name of each of three clusters: by `name_three_groups` with masks, else its number; and its share of heads."""
    labels = clusters.labels(3)
    numbers = sorted({int(label) for label in labels})
    names = {number: f'cluster {number}' for number in numbers}
    if 'figure_mass' in summary.means and len(numbers) == 3:
        names = name_three_groups(labels, summary.means)
    return {number: f'{name}, {100 * np.mean(labels == number):.0f} %' for number, name in names.items()}


def _write_csv(path: Path, columns: dict[str, Sequence]) -> None:
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
