"""The pictures of heads: joins have the colour of their cluster, and all that is given is drawn."""

import cv2
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from dino_plugin.visualization.head_clusters import COLOURS, _colours_of_joins, plot_heads
from dino_plugin.visualization.heads_over_time import plot_heads_over_time

POINTS = np.array([[0.0], [0.1], [5.0], [5.1], [9.0], [9.2]])
TREE = linkage(POINTS, 'ward')
LABELS = fcluster(TREE, 3, 'maxclust').astype(int)
COLOUR = {cluster: COLOURS[cluster - 1] for cluster in (1, 2, 3)}


def test_joins_inside_a_cluster_have_its_colour_and_those_above_are_grey():
    found = _colours_of_joins(TREE, LABELS, COLOUR)
    members = {head: {head} for head in range(6)}
    for step, (left, right) in enumerate(TREE[:, :2].astype(int)):
        members[6 + step] = members[left] | members[right]
        clusters = {int(LABELS[head]) for head in members[6 + step]}
        assert found[6 + step] == (COLOUR[clusters.pop()] if len(clusters) == 1 else '#808080')


def pixels(path, colour):
    """How many pixels of the picture have a colour."""
    blue_green_red = [int(colour[place : place + 2], 16) for place in (5, 3, 1)]
    return int((cv2.imread(str(path)) == blue_green_red).all(axis=-1).sum())


def test_tree_plane_and_silhouettes_are_in_the_picture(tmp_path):
    names = {1: 'one', 2: 'two', 3: 'three'}
    heads = [f'0.{head}' for head in range(6)]
    places = np.concatenate([POINTS, POINTS[::-1]], axis=1)
    plot_heads(TREE, places, LABELS, names, heads, {2: 0.5, 3: 0.8, 4: 0.1}, tmp_path / 'a.png')
    for colour in COLOURS[:3]:
        assert pixels(tmp_path / 'a.png', colour) > 100
    assert pixels(tmp_path / 'a.png', COLOURS[3]) == 0
    grey = '#A6A6A6'  # bars of numbers that fit less well
    plot_heads(TREE, places, LABELS, names, heads, {2: 0.8, 3: 0.8, 4: 0.8}, tmp_path / 'b.png')
    assert pixels(tmp_path / 'b.png', grey) > 1.5 * pixels(tmp_path / 'a.png', grey) > 100


def test_each_statistic_over_time_has_a_panel_with_its_mean(tmp_path):
    values = [np.array([0.0, 1.0]), np.array([1.0, 3.0])]
    sizes = []
    for number in (1, 3):
        statistics = {f'statistic_{place}': values for place in range(number)}
        plot_heads_over_time(statistics, ['1', '2'], tmp_path / 'a.png')
        sizes.append((cv2.imread(str(tmp_path / 'a.png')).shape[0], pixels(tmp_path / 'a.png', COLOURS[1])))
    assert sizes[1][0] == 2 * sizes[0][0]  # two panels beside each other
    assert sizes[1][1] > 2.5 * sizes[0][1] > 100
