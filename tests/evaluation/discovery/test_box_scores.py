"""CorLoc, recall and precision, counted by hand."""

import numpy as np
import pytest

from dino_plugin.evaluation.discovery.box_scores import overlaps, score_boxes


def boxes(*values):
    return np.array(values, dtype=np.float64).reshape(-1, 4)


def test_overlaps_are_counted_by_hand():
    found = boxes((0, 0, 10, 10), (20, 20, 30, 40))
    truth = boxes((0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10), (20, 30, 30, 40))
    expected = [[1, 50 / 150, 0, 0], [0, 0, 0, 0.5]]
    assert np.allclose(overlaps(found, truth), expected)


def test_corloc_asks_whether_the_first_box_fits_any_true_one():
    found = [
        boxes((0, 0, 10, 10)),  # is the second true box
        boxes((0, 0, 10, 5)),  # exactly half of the true box: enough
        boxes((0, 0, 10, 4.9)),  # less than half
        boxes((90, 90, 99, 99), (0, 0, 10, 10)),  # only the second box fits
        boxes(),
    ]
    truth = [boxes((50, 50, 60, 60), (0, 0, 10, 10))] + [boxes((0, 0, 10, 10))] * 4
    scores = score_boxes(found, truth)
    assert scores.corloc == 2 / 5
    assert scores.recall == 3 / 6
    assert scores.precision == 3 / 5


def test_each_true_box_is_matched_once_and_as_many_as_possible():
    """The first found box fits both true ones, the second only the first."""
    truth = boxes((0, 0, 10, 10), (0, 0, 10, 8))
    found = boxes((0, 0, 10, 9), (0, 0, 10, 14))
    assert (overlaps(found, truth) >= 0.5).tolist() == [[True, True], [True, True]]
    found = boxes((0, 0, 10, 9), (0, 0, 10, 19))
    assert (overlaps(found, truth) >= 0.5).tolist() == [[True, True], [True, False]]
    assert score_boxes([found], [truth])[1:] == (1, 1)
    twice = boxes((0, 0, 10, 10), (0, 0, 10, 10))
    assert score_boxes([twice], [boxes((0, 0, 10, 10))])[1:] == (1, 0.5)


def test_without_any_found_box_there_is_no_precision():
    scores = score_boxes([boxes()], [boxes((0, 0, 1, 1))])
    assert scores[:2] == (0, 0)
    assert np.isnan(scores.precision)


def test_the_order_of_images_does_not_matter():
    generator = np.random.default_rng(0)

    def some(number):
        corners = generator.uniform(0, 10, (number, 2))
        return np.concatenate([corners, corners + generator.uniform(5, 15, (number, 2))], axis=1)

    found, truth = [some(3) for _ in range(20)], [some(2) for _ in range(20)]
    order = generator.permutation(20)
    scores = score_boxes(found, truth)
    assert 0 < scores.corloc < 1
    assert score_boxes([found[i] for i in order], [truth[i] for i in order]) == scores


def test_images_without_true_boxes_are_refused():
    one = boxes((0, 0, 1, 1))
    for found, truth in (([], []), ([one], [boxes()]), ([one, one], [one])):
        with pytest.raises(ValueError, match='leave out images without a true box'):
            score_boxes(found, truth)
