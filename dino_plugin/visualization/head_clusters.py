"""A picture of heads: their tree, their places in a plane, and how well each number of clusters fits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00')  # told apart by most colour-blind people


def plot_heads(
    tree: Float[np.ndarray, 'joins 4'],
    places: Float[np.ndarray, 'heads 2'],
    labels: Int[np.ndarray, ' heads'],
    names: Mapping[int, str],
    heads: Sequence[str],
    silhouette: Mapping[int, float],
    out: Path,
) -> None:
    """Write the picture; clusters have the same colour in tree and plane.

    Args:
        tree: As scipy's `linkage` gives it.
        places: Of each head in the plane.
        labels: The cluster of each head.
        names: Of each cluster.
        heads: Name of each head.
        silhouette: By the number of clusters.
        out: File of the picture.
    """
    colour = {cluster: COLOURS[place % len(COLOURS)] for place, cluster in enumerate(sorted(names))}
    figure = Figure(figsize=(13, 7.5), layout='constrained')
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    axis = top.subplots()
    dendrogram(tree, ax=axis, labels=list(heads), leaf_font_size=9 if len(heads) <= 40 else 5,
               leaf_rotation=90, link_color_func=_colours_of_joins(tree, labels, colour).__getitem__)  # fmt: skip
    axis.set_title("Ward's tree of heads (block.head)", loc='left', fontsize=12)
    axis.set_ylabel('height')
    plane, fits = bottom.subplots(1, 2, width_ratios=(2, 1))
    for cluster, name in sorted(names.items()):
        own = labels == cluster
        plane.scatter(*places[own].T, s=60, color=colour[cluster], label=name, edgecolors='white')
    for name, place in zip(heads, places):
        plane.annotate(name, place, xytext=(4, 4), textcoords='offset points', fontsize=7, color='#444444')
    plane.set_title('Heads that attend alike are near each other', loc='left', fontsize=12)
    plane.set_xticks([])
    plane.set_yticks([])
    plane.legend(frameon=False)
    numbers = list(silhouette)
    best = max(silhouette, key=silhouette.__getitem__)
    shades = ['#0072B2' if number == best else '#A6A6A6' for number in numbers]
    fits.bar(numbers, list(silhouette.values()), color=shades)
    fits.set_title(f'Silhouette: {best} clusters fit best', loc='left', fontsize=12)
    fits.set_xlabel('number of clusters')
    fits.set_xticks(numbers)
    for one in (axis, plane, fits):
        one.spines[['top', 'right']].set_visible(False)
    figure.savefig(out, dpi=110)


def _colours_of_joins(tree: np.ndarray, labels: np.ndarray, colour: Mapping[int, str]) -> dict[int, str]:
    """By the number of a join: the colour of its cluster, or grey above the clusters."""
    of_node: dict[int, str] = {head: colour[int(label)] for head, label in enumerate(labels)}
    for step, (left, right) in enumerate(tree[:, :2].astype(int)):
        same = of_node[left] == of_node[right]
        of_node[len(labels) + step] = of_node[left] if same else to_hex('grey')
    return of_node
