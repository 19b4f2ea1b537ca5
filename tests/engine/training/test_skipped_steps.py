"""Steps that must not count: they leave no trace, and the log says what caused them."""

import pytest
import torch
from mmengine.hooks import Hook
from processes import run_in_processes
from small_training import build_runner, hook, small_config

from dino_plugin.engine.training.hooks.skipped_steps import _cause


class BrokenImages(Hook):
    """The networks see NaN in the iterations of these numbers, from 1 on."""

    priority = 'VERY_HIGH'

    def __init__(self, iterations):
        self.iterations = iterations
        self.buffers = {}

    def before_train(self, runner):
        def poisoned(network, inputs):
            views, *rest = inputs
            if runner.iter + 1 in self.iterations:
                views = views._replace(global_views=views.global_views * float('nan'))
            return (views, *rest)

        for network in (runner.model.distillation.student, runner.model.distillation.teacher):
            network.register_forward_pre_hook(poisoned)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.buffers[runner.iter + 1] = {name: buffer.clone() for name, buffer in runner.model.named_buffers()}


def warnings_of(runner):
    messages = []
    runner.logger.warning = messages.append
    return messages


@pytest.mark.parametrize(('accumulated', 'broken', 'next_step'), [(1, 3, 4), (3, 2, 4)])
def test_images_of_nan_ruin_no_statistics(tmp_path, accumulated, broken, next_step):
    """With batch norms in the heads; the second of three accumulated batches spoils all three."""
    config = small_config(tmp_path, train_cfg__max_epochs=1, optim_wrapper__accumulative_counts=accumulated)
    config.model.heads.cls.batch_norm = True
    runner, images = build_runner(config), BrokenImages({broken})
    messages = warnings_of(runner)
    runner.register_hook(images)
    runner.train()
    first = next_step - accumulated  # iteration of the skipped step's first batch
    before, after = images.buffers[first], images.buffers[next_step]
    assert any('running_var' in name for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    told = [message for message in messages if message.startswith('Skipped')]
    assert told == [f'Skipped 1 step(s) (1 in all), teacher included; not finite: loss_dino (iteration {broken}).']


def test_a_monitor_that_is_due_at_a_skipped_step_ends_no_training(tmp_path):
    config = small_config(tmp_path, train_cfg__max_epochs=1)
    hook(config, 'CollapseMonitorHook').interval = 1
    runner = build_runner(config)
    runner.register_hook(BrokenImages({2, 5}))
    runner.train()
    assert runner.iter == 6
    measured = runner.message_hub.get_scalar('train/effective_rank')
    assert len(measured.data[0]) == 4


def test_the_number_of_skipped_steps_survives_a_resume(tmp_path):
    for resume, broken in ((False, 2), (True, 8)):
        runner = build_runner(small_config(tmp_path, train_cfg__max_epochs=2 if resume else 1, resume=resume))
        messages = warnings_of(runner)
        runner.register_hook(BrokenImages({broken}))
        runner.train()
    assert [message for message in messages if '(2 in all)' in message and 'iteration 8' in message]


def check_cause(rank):
    finite = {7: {'loss_a': torch.tensor(True), 'loss_b': torch.tensor(rank != 1)}}
    assert _cause(finite) == 'not finite: loss_b (iteration 7 of process 1)'


def test_a_loss_of_another_process_is_named_with_that_process():
    run_in_processes(check_cause)


def test_gradients_alone_are_named_as_such():
    assert 'their gradients were not' in _cause({3: {'loss_a': torch.tensor(True)}})
