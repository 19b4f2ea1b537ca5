"""Whether a training helped: best, table, chance and verdict, computed by hand."""

import math

import pytest
import torch

from dino_plugin.engine.training.before_after import BeforeAfter, Look
from dino_plugin.evaluation.scorecard.image_scores import error_of_difference, mean_over_images


def looks(*scores: float, watch: str = 'k-NN', images: int | None = None) -> BeforeAfter:
    found = [Look(10 * number, {watch: score}) for number, score in enumerate(scores)]
    return BeforeAfter(found, watch, {} if images is None else {watch: images})


def test_the_bound_is_twice_the_standard_error_of_a_difference_of_shares():
    bound = 2 * math.sqrt(50 * 50 / 400 + 55 * 45 / 400)  # 7.05 points
    assert looks(50, 55, images=400).verdict() == (
        f'No difference beyond the {bound:.1f} points that chance explains: k-NN went from 50.0 to 55.0 at best and '
        '55.0 at the end.'
    )
    assert looks(50, 57.0, images=400).verdict().startswith('No difference')
    assert looks(50, 57.1, images=400).verdict().startswith('It helped')


@pytest.mark.parametrize(
    ('scores', 'said'),
    [((50, 53, 51), 'It helped'), ((50, 51, 50), 'No difference'), ((50, 51, 47), 'It did harm'), ((50,), 'No diff')],
)
def test_where_the_error_is_not_known_two_points_are_assumed(scores, said):
    verdict = looks(*scores).verdict()
    assert verdict.startswith(said) and '2.0 points that we assume for chance' in verdict


def test_an_improvement_says_among_how_many_looks_it_was_chosen():
    said = 'more than the 2.0 points that we assume for chance. The best was chosen among 4 looks and lies above the'
    assert f'{said} truth: ask unseen images.' in looks(50, 53, 51, 52).verdict()
    assert not any('unseen' in looks(*scores).verdict() for scores in ((50, 51, 50), (50, 51, 40)))


def test_the_first_of_equal_looks_is_the_best():
    assert looks(40, 50, 50).best.step == 10


def test_the_table_compares_the_best_look_with_the_first():
    found = [
        Look(0, {'k-NN': 50.0, 'linear': 90.0, 'RankMe': 20.0}),
        Look(10, {'k-NN': 60.0, 'linear': 80.0, 'RankMe': 30.5}),
        Look(20, {'k-NN': 59.0, 'linear': 91.0, 'RankMe': 31.0}),
    ]
    of_400 = {'k-NN': 400, 'linear': 400}
    chance = 2 * math.sqrt((50 * 50 + 60 * 40) / 400), 2 * math.sqrt((90 * 10 + 80 * 20) / 400)
    assert BeforeAfter(found, 'k-NN', of_400).table().splitlines() == [
        '| measure | before | best, step 10 | last, step 20 | best - before | chance | result |',
        '| --- | --- | --- | --- | --- | --- | --- |',
        f'| **k-NN** | 50.0 | 60.0 | 59.0 | +10.0 | ± {chance[0]:.1f} | better |',
        f'| linear | 90.0 | 80.0 | 91.0 | -10.0 | ± {chance[1]:.1f} | worse |',
        '| RankMe | 20.0 | 30.5 | 31.0 | +10.5 |  |  |',
    ]


@pytest.mark.parametrize(
    ('scores', 'tolerance', 'below'),
    [((60, 55, 54), 5, 1), ((60, 54, 54), 5, 2), ((60, 54, 55), 5, 0), ((54, 54, 60), 5, 0), ((60, 57, 59), None, 0)],
)
def test_looks_in_a_row_below_the_best(scores, tolerance, below):
    assert looks(*scores).looks_below(tolerance) == below


NAN = math.nan


@pytest.mark.parametrize(
    ('scores', 'best', 'below', 'said'),
    [
        ((50, NAN, NAN, NAN), 0, 3, 'It did harm: k-NN went from 50.0 to 50.0 at best and not a number at the end.'),
        ((NAN, 50, 60), 20, 0, 'It helped: k-NN went from not a number to 60.0 at best'),
        ((50, math.inf, 60, NAN), 20, 1, 'It helped: k-NN went from 50.0 to 60.0 at best and not a number at the end'),
        ((NAN, NAN), 0, 2, 'k-NN was not a number in any look'),
    ],
)
@pytest.mark.parametrize('images', [None, 1000])
def test_what_is_not_a_number_is_the_worst_look(scores, best, below, said, images):
    found = looks(*scores, images=images)
    assert (found.best.step, found.looks_below()) == (best, below) and found.verdict().startswith(said)
    assert '| **k-NN** |' in found.table()


def test_without_a_tolerance_it_is_twice_the_standard_error_of_the_difference():
    allowed = 2 * math.sqrt((60 * 40 + 46.4 * 53.6) / 100)  # 14.0 points
    assert looks(60, 60 - allowed + 0.5, images=100).looks_below() == 0
    assert looks(60, 60 - allowed - 0.5, images=100).looks_below() == 1


def test_what_each_image_adds_makes_the_bound_narrower():
    """50 and 54 of 100 images: by the shares alone 14.1 points are chance, but four images are all that changed."""
    right = (torch.arange(100) < 50).float(), (torch.arange(100) < 54).float()
    found = [Look(step, {'k-NN': 100 * float(part.mean())}, {'k-NN': mean_over_images(part)}) for step, part in
             enumerate(right)]  # fmt: skip
    by_images = BeforeAfter(found, 'k-NN', {'k-NN': 100})
    chance = 2 * error_of_difference(*(look.by_image['k-NN'] for look in found))
    assert chance < 4 and by_images.verdict().startswith('It helped')
    assert (
        f'± {chance:.1f} | better |' in by_images.table() and by_images._replace(looks=found[::-1]).looks_below() == 1
    )
    assert looks(50, 54, images=100).verdict().startswith('No difference')
