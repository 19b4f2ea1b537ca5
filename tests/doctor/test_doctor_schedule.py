"""What changes over a training, and the size of the learning rate."""

import pytest
import torch
from doctor_levels import levels

from dino_plugin.doctor.rates import RULES, judge_rates, judge_size
from dino_plugin.doctor.schedule import POINTS, judge_schedule


def schedule(momentum=0.99, peak=0.1, rate=1e-3, temperature=0.04, decay=0.04):
    at = int(peak * (POINTS - 1))
    rates = [rate * (point / at if point < at else 1.0) for point in range(POINTS)]
    constant = {'teacher momentum': momentum, 'teacher temperature of dino': temperature, 'weight_decay': decay}
    return {'lr': rates} | {name: [value] * POINTS for name, value in constant.items()}


@pytest.mark.parametrize(
    ('changes', 'frozen', 'subject', 'level'),
    [
        (dict(momentum=0.9999), {}, 'teacher momentum', 'warning'),  # 10,000 steps of 1,000
        (dict(peak=0.8), {}, 'warm-up', 'warning'),
        (dict(rate=0.0), {}, 'learning rate', 'fault'),
        (dict(temperature=0.1), {}, 'temperatures of dino', 'warning'),
        (dict(momentum=0.0), {}, 'teacher momentum', 'warning'),
        (dict(decay=4.0), {}, 'weight decay', 'warning'),
        (dict(), {'last layer': 0.9}, 'freeze', 'warning'),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told(changes, frozen, subject, level):
    assert set(levels(judge_schedule(schedule(), 1000, {'backbone': 0.1}, {'dino': 0.1})).values()) == {'ok'}
    assert levels(judge_schedule(schedule(**changes), 1000, frozen, {'dino': 0.1}))[subject] == level


def test_the_rates_of_groups_are_told():
    groups = [
        dict(lr=0.0, initial_lr=1e-3, module='backbone'),
        dict(lr=1e-4, module='backbone'),
        dict(lr=2e-3, last_layer=True),
    ]
    assert judge_rates(groups)[0].found == 'backbone 0.0001 to 0.001, last layer 0.002'


def test_nothing_is_said_of_a_teacher_that_no_loss_uses():
    curves = schedule(momentum=0.0)
    del curves['teacher momentum']
    assert set(levels(judge_schedule(curves, 1000, {}, {'dino': 0.1})).values()) == {'ok'}


def test_the_highest_rate_is_compared_with_the_published_rules_for_the_batch():
    assert [rule(1024) for rule in RULES] == pytest.approx([2e-3, 2e-4, 4e-3])  # a power of 1, 1/2 and 1/2 of the batch
    assert [rule(256) for rule in RULES] == pytest.approx([5e-4, 1e-4, 2e-3])

    def said(rate, kind=torch.optim.AdamW, released=False):
        optimizer = kind([torch.zeros(1)], lr=rate)
        optimizer.param_groups[0].update(initial_lr=rate, lr=rate / 100)  # in the warm-up
        return [finding.level for finding in judge_size(optimizer, 256, released)]

    assert [said(rate) for rate in (0.9e-5, 1.1e-5, 1.9e-2, 2.1e-2)] == [['warning'], ['ok'], ['ok'], ['warning']]
    assert said(1e-6, released=True) == ['notice'] and said(0.1, released=True) == ['warning']
    assert said(1.0, torch.optim.SGD) == said(0.0) == []
