"""Copies that learn one batch, and rising learning rates."""

import math
from itertools import pairwise

import pytest
import torch
from doctor_levels import levels, watch
from small_distillation import make, make_views

from dino_plugin.doctor.experiments import Range, judge_overfit, judge_range, overfit, range_of, rising_rates


def test_one_batch_is_learnt_by_a_copy_and_the_model_stays_as_it_is():
    torch.manual_seed(0)
    model, views = make(), make_views()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = overfit(model, views, 1e-2, 40, watch)
    assert levels(judge_overfit(losses)) == {'one batch': 'ok'}  # at least 2 % lower
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert levels(judge_overfit(overfit(model, views, 1e-9, 10, watch))) == {'one batch': 'fault'}  # it stands still


def test_one_batch_whose_loss_rises_or_is_nan_is_a_fault():
    assert levels(judge_overfit([5.0] * 5 + [6.0] * 5)) == {'one batch': 'fault'}
    assert levels(judge_overfit([5.0, math.nan])) == {'one batch': 'fault'}


def test_rising_learning_rates_rise_by_a_constant_factor_and_find_where_it_breaks():
    torch.manual_seed(0)
    model, views = make(), make_views()
    rates, losses = rising_rates(model, [views], 1e-5, 1e3, 40, watch)
    factors = [after / before for before, after in pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert losses[0] > min(losses) and 1e-4 < range_of(rates, losses).best < 10


def test_the_range_is_where_the_loss_is_lowest_and_where_half_of_the_gain_is_lost():
    rates = [10.0**exponent for exponent in range(-6, 3)]
    losses = [7.0, 7.0, 6.0, 4.0, 3.0, 3.0, 4.0, 6.0, math.inf]
    assert range_of(rates, losses, memory=0.0) == Range(1e-2, 10.0)
    said = {rate: levels(judge_range(Range(1e-2, 10.0), rate))['learning rate'] for rate in (1e-6, 1e-3, 20.0, 200.0)}
    assert list(said.values()) == ['notice', 'ok', 'warning', 'fault']
