"""A resumed run follows its own config; the same config is tested bit for bit in test_training.py."""

import pytest
from mmengine.hooks import Hook
from small_training import build_runner, small_config
from test_optim import Fine, make_wrapper, step

from dino_plugin.core.schedules import Cosine

ITERATIONS = dict(type='dino_plugin.ResumableIterLoop', _delete_=True)
COSINE = dict(type='dino_plugin.Cosine', start=1, end=0)
MMENGINES = dict(type='CosineAnnealingLR', T_max=4, end=4, eta_min=0.0, by_epoch=False)


class Options(Hook):
    """Largest learning rate and weight decay of each step, and the base that mmengine logs."""

    def __init__(self):
        self.rates, self.decays, self.bases = [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rates.append(max(group['lr'] for group in groups))
        self.decays.append(max(group['weight_decay'] for group in groups))
        self.bases.append(runner.optim_wrapper.base_param_settings['lr'])


def options(work_dir, length, scheduler=None, **changes):
    """Of a training of so many steps, whose learning rate falls and whose weight decay is constant."""
    schedule = scheduler or dict(type='dino_plugin.ProgressScheduler', param_name='lr', by_epoch=False, schedule=COSINE)
    changes = dict(train_cfg={**ITERATIONS, 'max_iters': length}, param_scheduler=[schedule]) | changes
    runner, seen = build_runner(small_config(work_dir, **changes)), Options()
    runner.register_hook(seen, 'VERY_LOW')
    runner.train()
    return seen


@pytest.mark.parametrize('scheduler', [None, MMENGINES])
def test_learning_rate_and_weight_decay_of_the_config_count_at_once_and_the_log_says_so(tmp_path, scheduler):
    first = options(tmp_path, 2, scheduler)
    changes = dict(optim_wrapper__optimizer__lr=1e-5, optim_wrapper__optimizer__weight_decay=0.4)
    rest = options(tmp_path, 4, scheduler, resume=True, **changes)
    assert first.rates[0] == pytest.approx(1e-3)
    place = Cosine(1.0, 0.0)
    assert rest.rates == pytest.approx([1e-5 * place(step / 4) for step in range(2, 4)])
    assert rest.bases == pytest.approx(rest.rates)
    assert rest.decays == [0.4] * 2
    log = ''.join(file.read_text() for file in tmp_path.glob('*/*.log'))
    assert log.count('differs from the checkpoint: lr 0.001 -> 1e-05, weight_decay 0.04 -> 0.4.') == 1


def test_a_resumed_run_with_a_smaller_batch_has_the_learning_rate_of_that_batch(tmp_path):
    changes = dict(auto_scale_lr=dict(enable=True, base_batch_size=16))
    options(tmp_path, 2, **changes)
    rest = options(tmp_path, 4, resume=True, train_dataloader__batch_size=4, **changes)
    assert rest.rates == pytest.approx([1e-3 / 4 * Cosine(1.0, 0.0)(step / 4) for step in range(2, 4)])


SGD = dict(type='SGD', lr=0.1, weight_decay=0.0, momentum=0.9, fused=False)


class Trained(Fine):
    """A small network, of whose outputs only the size matters."""

    def forward(self, x):
        return sum((value**2).sum() for value in self.parameters() if value.requires_grad) * x.mean()


def state_after_a_step(**config):
    model = Trained()
    wrapper = make_wrapper(model, **config)
    step(model, wrapper)
    return wrapper.state_dict()


@pytest.mark.parametrize(
    ('first', 'second', 'said'),
    [
        ({}, dict(optimizer=SGD), 'another: betas, eps, dampening, momentum are options of one of them alone'),
        (dict(optimizer=SGD), {}, 'another: dampening, momentum, betas, eps are options of one of them alone'),
        ({}, dict(paramwise_cfg=dict(layer_decay=0.5)), '44 tensors in 4 groups, this run has 44 tensors in 11 groups'),
        (
            {},
            dict(paramwise_cfg=dict(custom_keys={'patch_embed': dict(lr_mult=0)})),
            'it has 44 tensors in 4 groups, this run has 42 tensors in 4 groups',
        ),
    ],
)
def test_another_optimiser_is_refused_with_a_cure(first, second, said):
    state = state_after_a_step(**first)
    with pytest.raises(ValueError, match=f'{said}.*load_from=PATH'):
        make_wrapper(Trained(), **second).load_state_dict(state)


def test_other_options_of_the_same_optimiser_count(log):
    wrapper = make_wrapper(Trained(), dict(betas=(0.9, 0.95), eps=1e-6))
    state = state_after_a_step()
    del state['param_groups'][0]['fused']  # as from another version of PyTorch
    wrapper.load_state_dict(state)
    assert {(group['betas'], group['eps']) for group in wrapper.param_groups} == {((0.9, 0.95), 1e-6)}
    assert 'betas (0.9, 0.999) -> (0.9, 0.95), eps 1e-08 -> 1e-06.' in log()
