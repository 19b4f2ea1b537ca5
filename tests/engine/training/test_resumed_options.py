"""A resumed run follows its own config; the same config is tested bit for bit in test_training.py."""

import pytest
from mmengine.hooks import Hook
from small_training import build_runner, small_config

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
