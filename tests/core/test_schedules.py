import math
from itertools import pairwise

import pytest

from dino_plugin.core.schedules import Constant, Cosine, Linear, Switch, Warmup, as_schedule, schedule_between


def test_cosine_equals_the_closed_form_and_meets_its_ends():
    schedule = Cosine(0.996, 1.0)
    assert schedule(0.0) == pytest.approx(0.996)
    assert schedule(1.0) == pytest.approx(1.0)
    assert schedule(0.5) == pytest.approx(0.998)
    for progress in (0.1, 0.3, 0.77):
        assert schedule(progress) == pytest.approx(1.0 - 0.004 * 0.5 * (1 + math.cos(math.pi * progress)))


def test_linear_is_a_straight_line():
    assert [Linear(1, 3)(p) for p in (0, 0.25, 1)] == [1, 1.5, 3]


def test_warmup_then_cosine_equals_dinos_per_iteration_schedule_after_the_ramp():
    """DINO: base * (1 + cos(pi * i / n)) / 2 over the n iterations that are left after the warm-up."""
    total, warmup, base, final = 50, 10, 2e-3, 1e-6
    schedule = Warmup(0.0, warmup / total, Cosine(base, final))
    left = total - warmup
    for i in range(left):
        expected = final + 0.5 * (base - final) * (1 + math.cos(math.pi * i / left))
        assert schedule((warmup + i) / total) == pytest.approx(expected, rel=1e-9)
    ramp = [schedule(i / total) for i in range(warmup + 1)]
    assert ramp[0] == 0
    assert ramp[-1] == pytest.approx(base)
    steps = [b - a for a, b in pairwise(ramp)]
    assert max(steps) == pytest.approx(min(steps))


def test_warmup_to_a_number_stays_there():
    schedule = Warmup(0.04, 0.3, 0.07)
    assert schedule(0.15) == pytest.approx(0.055)
    assert schedule(0.3) == schedule(1.0) == pytest.approx(0.07)


def test_a_warmup_of_no_length_is_the_schedule_that_follows():
    assert Warmup(0.0, 0.0, Cosine(1, 0))(0.0) == 1


@pytest.mark.parametrize('share', [-0.1, 1.0, 30])
def test_a_share_outside_training_is_refused(share):
    with pytest.raises(ValueError, match='share of training'):
        Warmup(0.0, share, 1.0)


def test_numbers_are_constant_schedules_and_nonsense_is_refused():
    assert as_schedule(3) == Constant(3.0)
    assert as_schedule(Cosine(0, 1)) == Cosine(0, 1)
    with pytest.raises(TypeError, match='number or a function of progress'):
        as_schedule('fast')


def test_a_switch_keeps_its_value_until_the_point_and_then_follows_the_other_from_its_start():
    switch = Switch(before=0.25, share=0.8, then=Linear(1.0, 3.0))
    assert [switch(0.0), switch(0.799)] == [0.25, 0.25]
    assert [switch(0.8), switch(0.9), switch(1.0)] == pytest.approx([1.0, 2.0, 3.0])
    assert Switch(before=0.0, share=0.0, then=2.0)(0.0) == 2.0
    with pytest.raises(ValueError, match=r'share=1\.0'):
        Switch(before=0.0, share=1.0, then=2.0)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (0.0, r'heat must be in \[0\.01, 1\]; it is 0 after 0 % of training'),
        (Linear(0.5, 2.0), r'it is 1\.01 after 34 % of training'),
        (Warmup(0.5, 0.25, Cosine(0.5, -1.0)), r'it is -0\.0\d+ after \d\d % of training'),
        (float('nan'), 'it is nan after 0 %'),
    ],
)
def test_a_schedule_that_leaves_its_range_is_refused_with_the_point_where(value, message):
    with pytest.raises(ValueError, match=message):
        schedule_between(value, 'heat', 0.01, 1)


def test_a_schedule_within_its_range_stays_itself():
    schedule = Cosine(1.0, 0.01)
    assert schedule_between(schedule, 'heat', 0.01, 1) is schedule
    assert schedule_between(5, 'heat', 5)(0.3) == 5.0
