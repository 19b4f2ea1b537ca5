"""Clusters of heads: known groups, slow references, invariances, and refusals."""

import numpy as np
import pytest
import torch

from dino_plugin.evaluation.attention.clusters import (
    cluster_heads,
    map_distances,
    name_three_groups,
    positions_of_heads,
    silhouette,
)

RANDOM = np.random.default_rng(0)


def distances_of(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def three_groups(size=5, spread=0.1):
    centres = np.repeat(np.array([[0.0, 0], [5, 0], [0, 9]]), size, axis=0)
    return distances_of(centres + spread * RANDOM.standard_normal(centres.shape))


def test_map_distances_by_hand():
    maps = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]], [[3.0, 3.0]]])
    half = 1 - 2**-0.5
    expected = torch.tensor([[0, 1, half], [1, 0, half], [half, half, 0]], dtype=torch.double)
    torch.testing.assert_close(map_distances(maps), expected)


def test_distances_do_not_depend_on_the_scale_of_a_map_nor_on_the_place_of_the_patches():
    maps = torch.rand(4, 3, 5)
    found = map_distances(maps)
    torch.testing.assert_close(map_distances(maps * torch.tensor([1, 2, 3, 4.0])[:, None, None]), found)
    torch.testing.assert_close(map_distances(maps.flatten(1)[:, torch.randperm(15)].unflatten(1, (3, 5))), found)


def test_three_clear_groups_are_found_and_three_fits_best():
    found = cluster_heads(three_groups())
    labels = found.labels(3)
    assert [len(set(labels[start : start + 5])) for start in (0, 5, 10)] == [1, 1, 1] and len(set(labels)) == 3
    assert sorted(found.silhouette) == list(range(2, 11)) == sorted(found.cut_cophenetic)
    assert max(found.silhouette, key=found.silhouette.get) == 3
    assert found.silhouette[3] > 0.9 and found.cophenetic > 0.9


def test_without_groups_no_number_of_clusters_fits_well():
    found = cluster_heads(distances_of(RANDOM.standard_normal((24, 20))))
    assert max(found.silhouette.values()) < 0.2


def test_silhouette_is_that_of_its_definition():
    distances = distances_of(RANDOM.standard_normal((9, 2)))
    labels = np.array([1, 1, 2, 2, 2, 3, 1, 2, 1])
    values = []
    for i in range(9):
        means = {
            label: np.mean([distances[i, j] for j in range(9) if labels[j] == label and j != i])
            for label in (1, 2, 3)
            if any(labels[j] == label and j != i for j in range(9))
        }
        if labels[i] not in means:
            values.append(0.0)
            continue
        inside = means.pop(labels[i])
        values.append((min(means.values()) - inside) / max(inside, min(means.values())))
    assert silhouette(distances, labels) == pytest.approx(np.mean(values))


def test_cut_cophenetic_is_the_correlation_of_the_tree_above_the_cut():
    distances = distances_of(RANDOM.standard_normal((6, 2)))
    found = cluster_heads(distances)
    labels, members = found.labels(3), {i: [i] for i in range(6)}
    heights = np.zeros((6, 6))
    for step, (left, right, height, _) in enumerate(found.tree):
        for i in members[int(left)]:
            for j in members[int(right)]:
                heights[i, j] = heights[j, i] = height
        members[6 + step] = members[int(left)] + members[int(right)]
    pairs = [(i, j) for i in range(6) for j in range(i)]
    apart = [distances[pair] for pair in pairs]
    assert found.cophenetic == pytest.approx(np.corrcoef(apart, [heights[pair] for pair in pairs])[0, 1])
    cut = [heights[pair] if labels[pair[0]] != labels[pair[1]] else 0 for pair in pairs]
    assert found.cut_cophenetic[3] == pytest.approx(np.corrcoef(apart, cut)[0, 1])


def test_the_order_of_heads_does_not_matter():
    distances = three_groups()
    order = RANDOM.permutation(15)
    one, other = cluster_heads(distances), cluster_heads(distances[np.ix_(order, order)])
    assert one.silhouette == pytest.approx(other.silhouette)
    assert one.cophenetic == pytest.approx(other.cophenetic)
    same = one.labels(3)[order][:, None] == one.labels(3)[order]
    assert (same == (other.labels(3)[:, None] == other.labels(3))).all()


def test_few_heads_have_fewer_numbers_of_clusters():
    assert sorted(cluster_heads(distances_of(RANDOM.standard_normal((5, 2)))).silhouette) == [2, 3, 4]


def test_the_plane_keeps_distances_that_fit_into_a_plane():
    distances = distances_of(RANDOM.standard_normal((8, 2)))
    np.testing.assert_allclose(distances_of(positions_of_heads(distances)), distances, atol=1e-9)


def test_three_groups_get_their_names_by_the_rule():
    labels = np.array([1, 1, 2, 2, 3, 3])
    statistics = dict(
        figure_mass=np.array([0.1, 0.2, 0.6, 0.7, 0.5, 0.6]), entropy=np.array([0.2, 0.2, 0.9, 0.8, 0.4, 0.5])
    )
    names = name_three_groups(labels, statistics)
    assert names == {1: 'background (G3)', 2: 'whole figures (G2)', 3: 'parts of figures (G1)'}
    with pytest.raises(ValueError, match='three clusters, got 2'):
        name_three_groups(np.array([1, 2, 2, 1, 1, 1]), statistics)


@pytest.mark.parametrize(
    'distances, words',
    [
        (np.zeros((2, 2)), 'at least 3 heads, got 2'),
        (np.full((4, 4), np.nan), 'NaN'),
        (1 - np.eye(4), 'no clusters to find'),
    ],
)
def test_what_has_no_clusters_is_refused(distances, words):
    with pytest.raises(ValueError, match=words):
        cluster_heads(distances)
