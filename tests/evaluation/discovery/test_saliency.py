"""F-beta, intersection over union and accuracy of maps, counted by hand and threshold by threshold."""

import numpy as np
import pytest

from dino_plugin.evaluation.discovery.saliency import image_saliency, mean_saliency

TRUTH = np.array([[True, True, False, False]] * 2)


def test_a_mask_is_scored_as_counted_by_hand():
    """Three pixels of four are found, and one that is not in the object: precision 3/4, recall 3/4."""
    found = np.array([[1.0, 1, 0, 0], [1, 0, 1, 0]])
    scores = image_saliency(found, TRUTH)
    assert np.allclose(scores.f_beta, 1.3 * 0.75 * 0.75 / (0.3 * 0.75 + 0.75))
    assert scores.iou == 3 / 5
    assert scores.accuracy == 6 / 8


def test_precision_counts_more_than_recall():
    half = np.array([[1.0, 0, 0, 0], [1, 0, 0, 0]])  # precision 1, recall 1/2
    double = np.ones((2, 4))  # precision 1/2, recall 1
    assert np.allclose(image_saliency(half, TRUTH).f_beta, 1.3 * 0.5 / (0.3 + 0.5))
    assert np.allclose(image_saliency(double, TRUTH).f_beta, 1.3 * 0.5 / (0.15 + 1))


def test_a_map_equals_a_loop_over_all_thresholds():
    generator = np.random.default_rng(0)
    found = (generator.random((20, 30)) * 255).round() / 255  # many values are thresholds themselves
    truth = generator.random((20, 30)) < found
    expected = []
    for threshold in np.arange(255) / 255:
        mask = found > threshold
        precision = (mask & truth).sum() / mask.sum() if mask.any() else 1.0
        recall = (mask & truth).sum() / truth.sum()
        below = 0.3 * precision + recall
        expected.append(1.3 * precision * recall / below if below else 0.0)
    assert np.allclose(image_saliency(found, truth).f_beta, expected)
    assert len(set(np.round(expected, 6))) > 200


def test_void_pixels_do_not_count():
    found = np.array([[1.0, 1, 0, 0], [1, 0, 1, 0]])
    void = np.zeros((2, 4), bool)
    void[1] = True
    scores = image_saliency(found, TRUTH, void)
    assert (scores.f_beta.max(), scores.iou, scores.accuracy) == (1.0, 1.0, 1.0)


def test_empty_masks_have_documented_scores():
    nothing, everything = np.zeros((2, 4)), np.ones((2, 4))
    no_object = np.zeros((2, 4), bool)
    assert image_saliency(nothing, no_object).iou == 1
    assert image_saliency(nothing, no_object).f_beta.max() == 1
    assert image_saliency(everything, no_object)[1:] == (0, 0)
    assert image_saliency(everything, no_object).f_beta.max() == 0
    assert image_saliency(nothing, TRUTH).f_beta.max() == 0
    assert image_saliency(nothing, TRUTH)[1:] == (0, 0.5)


def test_the_threshold_is_the_best_for_all_images_together():
    dark, bright = np.array([[0.3, 0.1]]), np.array([[0.9, 0.5]])
    truth = np.array([[True, False]])
    each = [image_saliency(found, truth) for found in (dark, bright)]
    assert [score.f_beta.max() for score in each] == [1, 1]
    both = mean_saliency(each)
    # The dark one needs a threshold below 0.3 (precision 1 from 0.1 on), where the bright one has precision 1/2.
    assert both.max_f == pytest.approx((1 + 1.3 * 0.5 / (0.3 * 0.5 + 1)) / 2)
    assert (both.iou, both.accuracy) == (0.5, 0.75)


def test_maps_outside_their_range_and_no_images_are_refused():
    for value in (-0.1, 1.1, float('nan')):
        with pytest.raises(ValueError, match=r'lies in \[0, 1\]'):
            image_saliency(np.full((2, 4), value), TRUTH)
    with pytest.raises(ValueError, match='no image with a mask'):
        mean_saliency([])
