"""Agreement of neighbours: the definition as loops, its limits, chance."""

import pytest
import torch
from torch.nn.functional import normalize

from dino_plugin.evaluation.without_labels.neighbour_agreement import neighbour_shares


def neighbour_agreement(features, k=10):
    return 100 * float(neighbour_shares(features, k).mean())


def by_loops(features, k):
    images, views, _ = features.shape
    neighbours = {}
    for view in range(views):
        unit = normalize(features[:, view].double(), dim=1)
        for i in range(images):
            order = sorted((j for j in range(images) if j != i), key=lambda j: -float(unit[i] @ unit[j]))
            neighbours[i, view] = set(order[:k])
    shares = [
        len(neighbours[i, v] & neighbours[i, w]) / k for i in range(images) for v in range(views) for w in range(v)
    ]
    return 100 * sum(shares) / len(shares)


def test_it_is_the_definition():
    features = torch.randn(23, 3, 5, generator=torch.Generator().manual_seed(0))
    assert neighbour_agreement(features, 4) == pytest.approx(by_loops(features, 4))


def test_equal_views_agree_wholly_and_unrelated_ones_by_chance():
    generator = torch.Generator().manual_seed(0)
    once = torch.randn(200, 16, generator=generator)
    assert neighbour_agreement(torch.stack([once, 3 * once], dim=1)) == 100
    unrelated = torch.randn(200, 6, 16, generator=generator)
    assert neighbour_agreement(unrelated) == pytest.approx(100 * 10 / 199, abs=0.5)


def test_a_collapsed_network_agrees_by_chance():
    """All features equal: without a draw for each view, the order of the images alone would give 100 %."""
    assert neighbour_agreement(torch.ones(200, 30, 3), 10) == pytest.approx(100 * 10 / 199, abs=1.0)


def test_rotation_and_length_change_nothing():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(50, 2, 8, generator=generator)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    longer = features * torch.rand(50, 2, 1, generator=generator).add(0.5)
    assert neighbour_agreement(longer @ rotation, 5) == pytest.approx(neighbour_agreement(features, 5))


def test_too_few_images_or_views_are_refused():
    with pytest.raises(ValueError, match='11 images with 2 views'):
        neighbour_agreement(torch.randn(11, 2, 3))
    with pytest.raises(ValueError, match='20 images with 1 views'):
        neighbour_agreement(torch.randn(20, 1, 3))
