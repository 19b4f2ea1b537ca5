"""Groups of heads that attend alike: a tree of clusters, and how well some number of them fits."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import cophenet, fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.evaluation.attention.mass import shares_of

NUMBERS = range(2, 11)  # of clusters that are compared


class HeadClusters(NamedTuple):
    """Ward's tree of heads, and how well each number of clusters fits.

    Args:
        tree: As scipy's `linkage` gives it, for `dendrogram`.
        cophenetic: Correlation of the distances with the heights in the tree, in [-1, 1].
        silhouette: By the number of clusters: mean over the heads of (b - a) / max(a, b), in [-1, 1], where a is the
            mean distance to the own cluster and b that to the nearest other one; 0 for a head alone.
        cut_cophenetic: By the number of clusters: `cophenetic` with height 0 inside a cluster, which is what remains of
            the tree if only the clusters and the joins above them are known.
        distances: The matrix that all of this is computed from.
    """

    tree: Float[np.ndarray, 'joins 4']
    cophenetic: float
    silhouette: dict[int, float]
    cut_cophenetic: dict[int, float]
    distances: Float[np.ndarray, 'heads heads']

    def labels(self, number: int) -> Int[np.ndarray, ' heads']:
        """The cluster of each head, from 1 on, if the tree is cut into this many."""
        return fcluster(self.tree, number, 'maxclust').astype(int)


def map_distances(maps: Float[Tensor, 'heads rows columns']) -> Float[Tensor, 'heads heads']:
    """Cosine distance between the maps of each two heads in one image, in [0, 1].

    d = 1 - a . b / (|a| |b|)

    Distances over a data set are the mean of those of its images, whatever their sizes.

    Args:
        maps: Attention of the class token to each patch.

    Raises:
        ValueError: As `shares_of`.
    """
    vectors = normalize(shares_of(maps).flatten(1), dim=1)
    distances = (1 - vectors @ vectors.T).clamp_min(0)
    return distances.fill_diagonal_(0)


def cluster_heads(distances: Float[np.ndarray, 'heads heads']) -> HeadClusters:
    """Ward's tree of heads by their distances, and how well 2 to 10 clusters fit.

    Ward's method is made for Euclidean distances; with cosine distances it is a heuristic, used here as published.

    Args:
        distances: Symmetric, 0 on the diagonal: the mean of `map_distances` over images.

    Raises:
        ValueError: If there are fewer than 3 heads, a distance is NaN, or all heads attend alike.

    References:
        Yamamoto, Akahoshi and Kitazawa 2025, Neural Networks 189:107595, arXiv:2410.22768. Their number of clusters
        came from R's NbClust; silhouette and cophenetic correlation are computed here instead.
    """
    if len(distances) < 3:
        raise ValueError(f'clusters of heads need at least 3 heads, got {len(distances)}: take more blocks.')
    if not np.isfinite(distances).all():
        raise ValueError('distances between heads must be finite, got NaN or infinity: are the weights damaged?')
    condensed = squareform(distances, checks=False)
    if np.ptp(condensed) < 1e-9:
        raise ValueError('all heads attend equally differently: there are no clusters to find.')
    tree = linkage(condensed, 'ward')
    correlation, heights = cophenet(tree, condensed)
    silhouettes, cut = {}, {}
    for number in NUMBERS:
        labels = fcluster(tree, number, 'maxclust')
        if number >= len(distances) or len(set(labels)) != number:
            break
        apart = squareform((labels[:, None] != labels).astype(float), checks=False)
        silhouettes[number] = silhouette(distances, labels)
        cut[number] = float(np.corrcoef(condensed, heights * apart)[0, 1])
    return HeadClusters(tree, float(correlation), silhouettes, cut, distances)


def silhouette(distances: Float[np.ndarray, 'heads heads'], labels: Int[np.ndarray, ' heads']) -> float:
    """Mean silhouette of all heads, see `HeadClusters`.

    Args:
        distances: Symmetric, 0 on the diagonal.
        labels: The cluster of each head; at least two clusters.

    References:
        Rousseeuw 1987, Journal of Computational and Applied Mathematics 20:53.
    """
    members = (labels == np.unique(labels)[:, None]).astype(float)
    sizes, own = members.sum(axis=1), members.argmax(axis=0)
    sums, heads = distances @ members.T, np.arange(len(labels))
    inside = sums[heads, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[heads, own] = np.inf
    outside = means.min(axis=1)
    larger = np.maximum(inside, outside)
    values = np.where((sizes[own] > 1) & (larger > 0), (outside - inside) / np.maximum(larger, 1e-300), 0.0)
    return float(values.mean())


def positions_of_heads(distances: Float[np.ndarray, 'heads heads']) -> Float[np.ndarray, 'heads 2']:
    """Places of the heads in a plane, near each other if they attend alike (classical multidimensional scaling).

    Args:
        distances: Symmetric, 0 on the diagonal.
    """
    centring = np.eye(len(distances)) - 1 / len(distances)
    values, vectors = np.linalg.eigh(-centring @ distances**2 @ centring / 2)
    places = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0))
    largest = np.take_along_axis(places, np.abs(places).argmax(axis=0)[None], axis=0)
    return places * np.where(largest < 0, -1.0, 1.0)  # else the sign would be arbitrary


def name_three_groups(
    labels: Int[np.ndarray, ' heads'], statistics: Mapping[str, Float[np.ndarray, ' heads']]
) -> dict[int, str]:
    """Names for three clusters by a rule: background, parts of figures (G1), whole figures (G2).

    The cluster with the least attention on figures is the background (G3). Of the other two, the one whose maps have
    less entropy looks at parts.

    Args:
        labels: Three clusters.
        statistics: `figure_mass` and `entropy` of each head.

    Raises:
        ValueError: If there are not three clusters.
    """
    clusters = sorted({int(label) for label in labels})
    if len(clusters) != 3:
        raise ValueError(f'the rule names three clusters, got {len(clusters)}.')
    means = {
        name: {cluster: float(statistics[name][labels == cluster].mean()) for cluster in clusters}
        for name in ('figure_mass', 'entropy')
    }
    background = min(clusters, key=means['figure_mass'].__getitem__)
    parts, whole = sorted((one for one in clusters if one != background), key=means['entropy'].__getitem__)
    return {parts: 'parts of figures (G1)', whole: 'whole figures (G2)', background: 'background (G3)'}
