"""The first steps: their numbers, and the bands of healthy trainings."""

import math

import pytest
import torch
from doctor_levels import levels
from small_distillation import make

from dino_plugin.doctor.first_steps import FirstSteps
from dino_plugin.doctor.healthy_steps import HEALTHY, judge_first_steps


@pytest.mark.parametrize(
    ('numbers', 'subject', 'level'),
    [
        (dict(loss=[7.0, math.nan]), 'first steps', 'fault'),
        ({'information of dino': [0.5, 0.001]}, 'information of dino', 'warning'),
        ({'information of dino': [0.5, 0.1]}, 'information of dino', 'notice'),
        ({'sharpness of ibot': [0.5, 0.99]}, 'sharpness of ibot', 'notice'),
        (dict(distance=[0.0, 0.0, 0.0]), 'distance', 'warning'),
        (dict(pace=[0.0, 0.1, 0.5]), 'pace', 'notice'),
        (dict(pace=[1e-4]), 'pace', 'notice'),
        (dict(effective_rank=[20.0, 1.1]), 'features', 'warning'),
        (dict(grad_norm=[31.0] * 20), 'clipping', 'notice'),
        (dict(time=[1.0] * 5, data_time=[0.5] * 5), 'waiting for images', 'notice'),
    ],
)
def test_what_the_first_steps_show_is_told(numbers, subject, level):
    well = dict(loss=[7.0, 6.5], effective_rank=[20.0, 21.0], time=[1.0] * 5, data_time=[0.01] * 5)
    well |= {f'{name} of dino' if name not in ('pace', 'grad_norm') else name: [(band.low + band.high) / 2] * 3
             for name, band in HEALTHY.items()}  # fmt: skip
    assert set(levels(judge_first_steps(well, 3.0, 5)).values()) == {'ok'}
    assert levels(judge_first_steps(well | numbers, 3.0, 5))[subject] == level


def test_a_band_reaches_from_half_of_the_least_to_twice_the_most_that_was_measured():
    for band in HEALTHY.values():
        assert 0 < band.low < band.high
        assert band.least in (0, pytest.approx(band.low / 2, rel=0.05), pytest.approx(band.low / 48))
        assert band.most in (math.inf, 0.92, pytest.approx(2 * band.high, rel=0.05))  # a sharpness is at most 1


def test_numbers_of_the_first_steps_are_their_equations():
    model = make()
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.mul_(1.5)  # |1.5 t - t| / |t| = 0.5
    first = FirstSteps(model, views=4)
    first.note(dict(loss_dino=3.0, target_entropy=math.log(8) / 2, target_information=math.log(4) / 4), 0.0, 0.25)
    first.note(dict(loss=1.0), 0.5, 0.0)
    assert {name: values[0] for name, values in first.numbers.items()} == pytest.approx({
        'distance': 0.5, 'pace': 2.0, 'sharpness of dino': 0.5, 'information of dino': 0.25,
        'divergence of dino': 3 / math.log(8) - 0.5, 'loss': 1.0,
    })  # fmt: skip
    assert [len(first.numbers[name]) for name in ('distance', 'pace', 'sharpness of dino')] == [2, 1, 1]
    model.losses['dino'].uses_teacher = False
    (without := FirstSteps(model, views=4)).note(dict(loss=1.0), 0.0, 1.0)
    assert without.numbers == dict(loss=[1.0])  # no distance where no loss uses the teacher
