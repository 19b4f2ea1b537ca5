"""J and F: by hand, by a slow version of the published convention, and as the official evaluator counts them."""

import csv
import math

import numpy as np
import pytest
from bundled import DAVIS

from dino_plugin.data.images.label_masks import read_mask, write_mask
from dino_plugin.evaluation.video.clip import Clip
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
from dino_plugin.evaluation.video.scores import (
    ClipScores,
    boundary_accuracy,
    evaluate_clip,
    global_results,
    region_similarity,
    statistics,
    write_tables,
)
from dino_plugin.evaluation.video.segment_clip import copy_first_mask

EMPTY, FULL = np.zeros((100, 100), bool), np.ones((100, 100), bool)


def stripe(start, stop):
    mask = EMPTY.copy()
    mask[start:stop] = True
    return mask


# --- one mask ---------------------------------------------------------------------------------------------------------


def test_region_similarity_by_hand():
    assert region_similarity(stripe(0, 4), stripe(2, 6)) == pytest.approx(2 / 6)
    assert region_similarity(stripe(0, 4), stripe(0, 4)) == 1
    assert region_similarity(stripe(0, 4), stripe(4, 8)) == 0
    assert region_similarity(stripe(0, 4), EMPTY) == 0
    assert region_similarity(EMPTY, EMPTY) == 1


def test_boundary_accuracy_by_hand():
    """The boundary may be off by ceil(0.008 * 141.4) = 2 pixels; `stripe(0, 30)` has it in row 29 alone."""
    truth = stripe(0, 30)
    assert [boundary_accuracy(truth, stripe(0, stop)) for stop in (28, 32, 33, 27)] == [1, 1, 0, 0]
    # rows 29 and 59: half of what was found is right, all of what is true was found
    assert boundary_accuracy(truth, truth | stripe(60, 100)) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_accuracy(truth | stripe(60, 100), truth) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_accuracy(truth, EMPTY) == boundary_accuracy(EMPTY, truth) == 0
    assert boundary_accuracy(EMPTY, EMPTY) == 1
    assert boundary_accuracy(FULL, EMPTY) == 1, 'a full mask has no boundary'


def slow_boundary(mask):
    """A pixel that differs from its right, lower or lower right neighbour; in the last row and column, from the one."""
    rows, columns = mask.shape
    found = set()
    for y in range(rows):
        for x in range(columns):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if any(r < rows and c < columns and mask[r, c] != mask[y, x] for r, c in neighbours):
                found.add((y, x))
    return found


def slow_accuracy(truth, found):
    radius = math.ceil(0.008 * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
    edges = [np.array(sorted(slow_boundary(mask))) for mask in (truth, found)]
    squared = ((edges[0][:, None] - edges[1][None]) ** 2).sum(axis=-1)
    recall, precision = ((squared.min(axis=axis) <= radius**2).mean() for axis in (1, 0))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize('name', ['blackswan', 'car-shadow', 'libby'])
def test_real_masks_score_as_in_a_slow_version(name):
    paths = sorted((DAVIS / 'Annotations/480p' / name).iterdir())
    truth, found = (read_mask(path)[::4, ::4] > 0 for path in paths[1:3])
    intersection = sum(bool(a and b) for a, b in zip(truth.ravel(), found.ravel()))
    union = sum(bool(a or b) for a, b in zip(truth.ravel(), found.ravel()))
    assert region_similarity(truth, found) == pytest.approx(intersection / union, abs=1e-9)
    assert boundary_accuracy(truth, found) == pytest.approx(slow_accuracy(truth, found), abs=1e-9)
    assert 0 < boundary_accuracy(truth, found) < 1


def test_an_object_at_the_rim_has_no_boundary_there():
    """Rim and corner are where conventions differ: outside of the image nothing differs from its pixels."""
    rng = np.random.default_rng(0)
    for shape in ((12, 17), (1, 9), (9, 1)):
        truth, found = rng.random((2, *shape)) > 0.6
        assert boundary_accuracy(truth, found) == pytest.approx(slow_accuracy(truth, found), abs=1e-9)


# --- one object -------------------------------------------------------------------------------------------------------


def test_recall_counts_frames_above_one_half():
    assert statistics(np.array([0.5, 0.51, 0.9, 0.1])).recall == 0.5


def test_decay_is_first_quarter_less_last_and_quarters_share_their_bounds():
    values = np.array([1.0, 0.8, 0.6, 0.5, 0.5, 0.5, 0.2, 0.1, 0.0])  # bounds 0 2 4 6 8
    assert statistics(values).decay == pytest.approx((1 + 0.8 + 0.6) / 3 - (0.2 + 0.1 + 0) / 3)
    assert statistics(np.array([0.7])).decay == 0


@pytest.mark.parametrize('number', [2, 3, 4, 5, 6, 7, 10, 38, 84, 255])
def test_the_bounds_of_the_quarters_are_rounded_as_published(number):
    values = np.random.default_rng(number).random(number)
    bounds = (np.round(np.linspace(1, number, 5) + 1e-10) - 1).astype(int)
    first, last = (values[bounds[quarter] : bounds[quarter + 1] + 1].mean() for quarter in (0, 3))
    assert statistics(values).decay == pytest.approx(first - last, abs=1e-12)


def test_the_decay_of_a_long_clip_is_that_of_its_quarters():
    """The official evaluator stores the bounds in 8 bits and goes wrong here."""
    assert statistics(np.linspace(1, 0, 1001)).decay == pytest.approx(0.75)


# --- clips ------------------------------------------------------------------------------------------------------------


def halves(path_in, path_out):
    """Two objects: what is left of column 427, and the rest."""
    mask = read_mask(path_in)
    mask[:, 427:] *= 2
    write_mask(mask, path_out)


@pytest.fixture(scope='module')
def two_objects(tmp_path_factory):
    root = tmp_path_factory.mktemp('two_objects')
    for clip in sorted((DAVIS / 'Annotations/480p').iterdir()):
        (root / 'Annotations/480p' / clip.name).mkdir(parents=True)
        (root / 'JPEGImages/480p').mkdir(parents=True, exist_ok=True)
        (root / 'JPEGImages/480p' / clip.name).symlink_to(DAVIS / 'JPEGImages/480p' / clip.name)
        for path in clip.iterdir():
            halves(path, root / 'Annotations/480p' / clip.name / path.name)
    return DAVISDataset(root)


def lose_the_second(clip: Clip):
    for number, mask in enumerate(copy_first_mask(clip)):
        yield mask * (mask != 2) if number >= 4 else mask


def assert_official(scores, expected, per_object):
    found = global_results(scores)
    assert found == {name: pytest.approx(value, abs=1e-6) for name, value in expected.items()}
    assert [float(value) for score in scores for value in (*score.regions.mean(1), *score.boundaries.mean(1))] == (
        pytest.approx(per_object, abs=1e-6)
    )


def test_one_object_scores_as_in_the_official_evaluator():
    """The first mask for every frame; numbers of davisvideochallenge/davis2017-evaluation at ac7c43f, run by us."""
    scores = [evaluate_clip(clip, copy_first_mask(clip)) for clip in DAVISDataset(DAVIS)]
    expected = {
        'J&F-Mean': (0.4051793973363374 + 0.28124339985505503) / 2,
        'J-Mean': 0.4051793973363374, 'J-Recall': 0.3047619047619048, 'J-Decay': 0.09557459448290385,
        'F-Mean': 0.28124339985505503, 'F-Recall': 0.0, 'F-Decay': 0.0020271133700110557,
    }  # fmt: skip
    J = [0.5185879023516481, 0.3938033025117579, 0.3031469871456062]
    F = [0.3028936705068516, 0.21601157897941342, 0.3248249500789]
    assert_official(scores, expected, [value for pair in zip(J, F) for value in pair])


def test_two_objects_one_of_them_missing_score_as_in_the_official_evaluator(two_objects):
    """As above; object 2 is in no mask from the fifth on."""
    scores = [evaluate_clip(clip, lose_the_second(clip)) for clip in two_objects]
    assert [score.objects for score in scores] == [(1, 2)] * 3
    expected = {
        'J&F-Mean': (0.325319496362838 + 0.23713025327087933) / 2,
        'J-Mean': 0.325319496362838, 'J-Recall': 0.3666666666666667, 'J-Decay': 0.19801568791009982,
        'F-Mean': 0.23713025327087933, 'F-Recall': 0.05714285714285714, 'F-Decay': 0.17241397025428848,
    }  # fmt: skip
    per_object = [
        0.5970995117121908, 0.11585294852186102, 0.2340063269751794, 0.15301356281430165,
        0.5855124900089216, 0.24040713690130278, 0.41278588485709744, 0.19850757327794047,
        0.2581243914320127, 0.15492049960073917, 0.30843657694545124, 0.11603159475530576,
    ]  # fmt: skip
    assert_official(scores, expected, per_object)


def test_the_annotation_itself_scores_one_whatever_the_first_and_last_frame_hold(two_objects):
    clip = two_objects[2]
    masks = [clip.read_mask(index) for index in range(len(clip.frames))]
    masks[0], masks[-1] = masks[0] * 0, masks[-1] * 0
    scores = evaluate_clip(clip, masks)
    assert scores.regions.shape == (2, len(clip.frames) - 2)
    assert np.all(scores.regions == 1)
    assert np.all(scores.boundaries == 1)


def test_masks_that_do_not_fit_the_clip_are_refused(two_objects, tmp_path):
    clip = two_objects[0]
    masks = list(copy_first_mask(clip))
    with pytest.raises(ValueError, match='has 9 frames, but got 8 masks'):
        evaluate_clip(clip, masks[:-1])
    with pytest.raises(ValueError, match='has 9 frames, but got 10 masks'):
        evaluate_clip(clip, [*masks, masks[0]])
    with pytest.raises(ValueError, match=r'frame 00006: labels \[3\] in the mask are none of the objects \[1, 2\]'):
        evaluate_clip(clip, [mask + (mask == 2).astype(np.uint8) for mask in masks])
    with pytest.raises(ValueError, match='frame 00006: the mask has'):
        evaluate_clip(clip, [mask[:-1] for mask in masks])
    first_only = Clip(clip.name, clip.frames, clip.masks[:1], clip.objects, clip.label_map)
    with pytest.raises(ValueError, match='only the mask of its first frame'):
        evaluate_clip(first_only, masks)


def test_every_object_weighs_the_same_in_the_global_numbers():
    one = ClipScores('one', (1,), np.full((1, 3), 0.2), np.full((1, 3), 0.4))
    three = ClipScores('three', (1, 2, 3), np.full((3, 9), 0.6), np.full((3, 9), 0.8))
    assert global_results([one, three])['J-Mean'] == pytest.approx((0.2 + 3 * 0.6) / 4)
    assert global_results([one, three])['J&F-Mean'] == pytest.approx((0.5 + 0.7) / 2)


def test_tables_have_the_official_columns_and_digits(tmp_path):
    scores = ClipScores('swan', (1, 3), np.array([[0.25, 0.75], [1, 1]]), np.array([[0.5, 0.5], [0.1234, 0.1234]]))
    write_tables([scores], tmp_path / 'out')
    total = list(csv.reader((tmp_path / 'out/global_results.csv').open()))
    assert total[0] == ['J&F-Mean', 'J-Mean', 'J-Recall', 'J-Decay', 'F-Mean', 'F-Recall', 'F-Decay']
    assert total[1] == ['0.531', '0.750', '0.750', '-0.250', '0.312', '0.000', '0.000']
    rows = list(csv.reader((tmp_path / 'out/per-sequence_results.csv').open()))
    assert rows == [['Sequence', 'J-Mean', 'F-Mean'], ['swan_1', '0.500', '0.500'], ['swan_3', '1.000', '0.123']]
