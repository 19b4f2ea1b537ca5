"""What each image adds to a score, and the bootstrap of a difference, against slow loops."""

import numpy as np
import pytest
import torch

from dino_plugin.evaluation.scorecard.image_scores import ImageScores, error_of_difference, mean_over_images
from dino_plugin.evaluation.scorecard.patches import intersection_and_union
from dino_plugin.evaluation.segmentation.patch_labels import confusion, mean_iou


def test_intersections_and_unions_of_images_give_the_mean_iou_of_all():
    random = np.random.default_rng(0)
    truth, answer = random.integers(0, 4, (2, 6, 50))  # class 4 does not occur
    counts = [intersection_and_union(*map(torch.from_numpy, pair), classes=5) for pair in zip(truth, answer)]
    scores = ImageScores(*(torch.stack(part).float() for part in zip(*counts)))
    assert scores.score == pytest.approx(mean_iou(confusion(truth.astype(np.uint8), answer.astype(np.uint8))))


def test_the_error_is_the_deviation_of_the_difference_over_draws_of_images():
    torch.manual_seed(0)
    wholes = torch.randint(1, 9, (2, 12, 3))
    wholes[:, 1:, 2] = 0  # a class of one image, which some draws lack
    both = [ImageScores((whole * torch.rand(12, 3)).floor(), whole.float()) for whole in wholes]
    drawn = torch.randint(12, (200, 12), generator=torch.Generator().manual_seed(5))
    differences = []
    for images in drawn.tolist():
        values = []
        for parts, whole in both:
            ratios = []
            for column in range(3):
                below = sum(float(whole[image, column]) for image in images)
                if below:
                    ratios.append(sum(float(parts[image, column]) for image in images) / below)
            values.append(100 * sum(ratios) / len(ratios))
        differences.append(values[1] - values[0])
    assert error_of_difference(*both, draws=200, seed=5) == pytest.approx(np.std(differences, ddof=1))
    assert error_of_difference(both[0], both[0]) == 0  # the same draw for both


def test_of_a_mean_of_shares_it_is_the_known_standard_error():
    """Without a common part, the variance of a mean of n shares is p (1 - p) / n."""
    nothing, half = mean_over_images(torch.zeros(400)), mean_over_images(torch.arange(400) % 2)
    assert half.score == 50
    assert error_of_difference(nothing, half, draws=4000) == pytest.approx(100 * (0.25 / 400) ** 0.5, rel=0.05)
    with pytest.raises(ValueError, match='measure both networks on the same images'):
        error_of_difference(nothing, mean_over_images(torch.zeros(3)))
