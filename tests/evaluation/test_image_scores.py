"""What each image adds to a score, and the bootstrap of a difference, against slow loops."""

import numpy as np
import pytest
import torch

from dino_plugin.evaluation.scorecard.image_scores import ImageScores, error_of_difference, mean_over_images
from dino_plugin.evaluation.scorecard.pairs import pairs_found, read_pairs
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


def test_a_pair_is_found_if_each_picture_is_nearest_to_its_partner():
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    second = torch.tensor([[2.0, 0.1], [0.8, 1.0], [1.0, 1.1]])
    # first to second: 0 finds 0, 1 finds 1, 2 finds 2; back: 0 finds 0, 1 and 2 find 2
    assert pairs_found(first, second).parts.flatten().tolist() == [1.0, 0.5, 1.0]
    assert pairs_found(torch.ones(50, 3), torch.ones(50, 3)).score < 10  # collapsed: by chance, not 100


def test_pairs_are_read_from_a_table_beside_the_pictures(tmp_path):
    for name in 'abcd':
        (tmp_path / f'{name}.jpg').touch()
    (tmp_path / 'pairs.csv').write_text('first,second\na.jpg,b.jpg\nc.jpg,d.jpg\n')
    found = read_pairs(tmp_path / 'pairs.csv')
    assert [[sample['img_path'][-5] for sample in part] for part in found] == [['a', 'c'], ['b', 'd']]
    (tmp_path / 'pairs.csv').write_text('first,second\na.jpg,b.jpg\nc.jpg,e.jpg\n')
    with pytest.raises(FileNotFoundError, match=r'1 pictures of .*pairs\.csv do not exist, the first: .*e\.jpg'):
        read_pairs(tmp_path / 'pairs.csv')
    (tmp_path / 'pairs.csv').write_text('a,b\n1,2\n3,4\n')
    with pytest.raises(ValueError, match='must have the columns first and second'):
        read_pairs(tmp_path / 'pairs.csv')
