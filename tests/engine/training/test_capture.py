"""A step that was not finite is kept, and running it again names the module that began it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from processes import run_in_processes
from small_training import build_runner, small_config

from dino_plugin.commands.module_watch import ModuleWatch
from dino_plugin.commands.replay import read_capture, replay
from dino_plugin.commands.replay_words import about_forward, about_share, not_finite_before
from dino_plugin.core.losses.base import Loss
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.training.hooks import capture as capture_module

BLOCK = 'distillation.student.backbone.model.blocks.1.mlp.fc1'


class Overflow(Hook):
    """From this iteration on, weights of one layer of the student are so large that its output overflows."""

    def __init__(self, iteration, size=3e38):
        self.iteration, self.size = iteration, size

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            weight = runner.model.get_submodule(BLOCK).weight
            self.healthy = weight.detach().clone()
            with torch.no_grad():
                weight.copy_(weight.sign() * self.size)


class RootOfZero(Loss):
    """Finite, with an infinite derivative."""

    def forward(self, step):
        vector = step.student_global.class_token
        return (vector - vector.detach()).square().sum().sqrt()


MODELS.register_module(module=RootOfZero, name='RootOfZero', force=True)


def train(work_dir, *hooks, most=3, **changes):
    config = small_config(work_dir, **{'train_cfg__max_epochs': 1, **changes})
    config.custom_hooks[1].max_in_a_row = 100
    config.custom_hooks.append(dict(type='dino_plugin.CaptureHook', most=most))
    runner = build_runner(config)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner, sorted((Path(work_dir) / 'not_finite').glob('*')) if (Path(work_dir) / 'not_finite').exists() else []


@pytest.fixture(scope='module')
def overflown(tmp_path_factory):
    folder = tmp_path_factory.mktemp('overflow')
    hook = Overflow(2)
    runner, files = train(folder, hook)
    return runner, files, hook.healthy


def test_a_healthy_training_writes_nothing(tmp_path):
    _, files = train(tmp_path)
    assert files == []


def test_the_first_steps_are_kept_and_no_more_than_asked(overflown):
    _, files, _ = overflown
    assert [path.name for path in files] == [f'iter_{number}_process_0.pth' for number in (3, 4, 5)]  # of 3, 4, 5, 6


def test_running_it_again_names_the_module_and_gives_the_same_numbers(overflown, tmp_path):
    _, files, weight = overflown
    capture = read_capture(files[0])
    outcome = replay(capture, 0, 'fp32', 'cpu')
    assert outcome.reproduced
    assert outcome.table[-1].name == BLOCK and outcome.table[-1].broke
    assert any(f'{BLOCK} (Linear)' in line for line in outcome.said)
    (batch,) = capture['batches']
    assert (batch['iteration'], batch['progress']) == (2, 2 / 6)
    assert not all(map(torch.isfinite, map(torch.tensor, batch['losses'].values())))
    # The same batch with the layer as it was is finite, and is what the training computes at that step.
    healthy = capture | dict(state_dict=capture['state_dict'] | {f'{BLOCK}.weight': weight})
    again = replay(healthy, 0, 'fp32', 'cpu')
    assert not again.reproduced and again.said == []
    runner, _ = train(tmp_path)
    in_training = runner.message_hub.get_scalar('train/loss_dino').data[0][2]
    assert again.losses['loss_dino'] == pytest.approx(float(in_training), rel=1e-6)


def test_the_images_of_the_batch_are_named(overflown):
    runner, files, _ = overflown
    (batch,) = read_capture(files[0])['batches']
    sampler = runner.train_loop.dataloader.sampler
    sampler.set_epoch(0)
    keys = list(sampler)[2 * 16 : 3 * 16]
    dataset = runner.train_loop.dataloader.dataset
    assert batch['images'] == [(dataset.path_of(index), seed) for index, seed in keys]
    views = dataset[keys[5]]  # the sixth image, made again from its key
    blocks = runner.model.data_preprocessor(dataset_collate([views]))['views']
    assert torch.equal(batch['views']['global_views'][:, 5], blocks.global_views[:, 0])


def dataset_collate(samples):
    from dino_plugin.data.collate import multi_crop_collate

    return multi_crop_collate(samples)


def test_a_derivative_that_is_not_finite_is_told_from_a_loss(tmp_path):
    _, files = train(tmp_path, model__losses__root=dict(type='RootOfZero'), most=1)
    outcome = replay(read_capture(files[0]), 0, 'fp32', 'cpu')
    assert outcome.reproduced and all(value == value for value in outcome.losses.values())
    assert 'The forward pass is finite, the backward pass is not' in outcome.said[0]


def test_fp16_overflows_where_fp32_does_not(tmp_path):
    _, files = train(tmp_path, Overflow(1, size=1e5), most=1, optim_wrapper__precision='fp16')
    capture = read_capture(files[0])
    assert capture['precision'] == 'fp16'
    half = replay(capture, 0, 'fp16', 'cpu')
    assert half.reproduced and 'fp16 ends at 65,504' in half.said[0] and BLOCK in half.said[0]
    assert not replay(capture, 0, 'fp32', 'cpu').reproduced


class SmallScale(Hook):
    """The gradient scaler has gone down to this."""

    def __init__(self, scale):
        self.scale = scale

    def before_train(self, runner):
        runner.optim_wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=self.scale)


def test_gradients_that_overflow_in_fp16_are_kept_once_the_scale_is_small(tmp_path):
    changes = dict(model__losses__root=dict(type='RootOfZero'), most=1, optim_wrapper__precision='fp16')
    assert train(tmp_path / 'usual', **changes)[1] == []  # six steps from 65,536 to 2,048
    _, (file,) = train(tmp_path / 'small', SmallScale(512.0), **changes)
    capture = read_capture(file)
    assert capture['scale'] == 512  # of the step, before it was halved
    said = replay(capture, 0, 'fp16', 'cpu').said
    assert 'the backward pass is not' in said[0] and '% of the gradient is not finite, in ' in said[1]


def test_the_loss_is_replayed_with_the_scale_of_the_step(overflown):
    _, files, weight = overflown
    capture = read_capture(files[0])
    healthy = capture | dict(state_dict=capture['state_dict'] | {f'{BLOCK}.weight': weight})
    assert not replay(healthy, 0, 'fp16', 'cpu').reproduced
    said = replay(healthy | dict(scale=1e20), 0, 'fp16', 'cpu').said
    assert 'the backward pass is not' in said[0]


def test_the_share_of_the_gradient_is_counted_in_numbers():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1, bias=False))
    assert about_share(model) == []
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert about_share(model) == []
    model[0].weight.grad[0] = float('inf')  # 3 of 6 + 2 + 2 numbers
    assert about_share(model) == ['30.0% of the gradient is not finite, in 1 of 3 parameters: 0.weight.']


def test_a_config_replaces_a_model_whose_code_has_moved(overflown, tmp_path, capsys):
    _, files, _ = overflown
    content = read_capture(files[0])
    right = content['model']['losses']['dino']['type']
    content['model']['losses']['dino']['type'] = 'gone.Loss'
    torch.save(content, tmp_path / 'moved.pth')
    with pytest.raises(SystemExit):
        replay(read_capture(tmp_path / 'moved.pth'), 0, 'fp32', 'cpu')
    assert 'Give --config' in capsys.readouterr().err
    content['model']['losses']['dino']['type'] = right
    again = replay(read_capture(tmp_path / 'moved.pth', dict(model=content['model'])), 0, 'fp32', 'cpu')
    assert again.table[-1].name == BLOCK


class Broken(Hook):
    """The loss of the second step is NaN, because the student's first layer is."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            next(runner.model.distillation.student.backbone.parameters()).data.fill_(float('nan'))


def test_a_network_that_is_not_from_timm_is_replayed_from_its_config(tmp_path):
    network = dict(type='torchvision.ops.Conv2dNormActivation', in_channels=3, out_channels=8)
    backbone = dict(_delete_=True, type='dino_plugin.FeatureMapBackbone', network=network)
    _, files = train(tmp_path, Broken(), most=1, model__backbone=backbone)
    outcome = replay(read_capture(files[0]), 0, 'fp32', 'cpu')
    assert outcome.reproduced and 'tensors of the model were not finite before this batch' in outcome.said[0]


def test_what_cannot_be_written_ends_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(capture_module, '_content', lambda *_: {}['model'])  # a runner that was built without a config
    runner, files = train(tmp_path, Overflow(2))
    assert runner.iter == 6 and files == []


def test_all_batches_of_an_accumulated_step_are_kept(tmp_path):
    _, files = train(tmp_path, Overflow(0), most=1, optim_wrapper__accumulative_counts=3)
    assert [batch['iteration'] for batch in read_capture(files[0])['batches']] == [0, 1, 2]


def test_what_was_not_finite_before_is_named():
    views = torch.zeros(2, 3, 3, 8, 8)
    views[1, 2, 0, 0, 0] = float('nan')
    said = not_finite_before(
        ViewBatch(views), [('a.tif', 1), ('b.tif', 2), ('c.tif', 3)], {'head.weight': torch.tensor([1.0, float('inf')])}
    )
    assert said[0].startswith('global_views of c.tif hold NaN or infinity')
    assert said[1].startswith('1 tensors of the model were not finite before this batch: head.weight.')


def test_a_full_disk_ends_no_training(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(capture_module, '_save_whole', full)
    runner, files = train(tmp_path, Overflow(2))
    assert runner.iter == 6 and files == []


def _two_processes(rank: int, folder: str) -> None:
    runner, files = train(folder, Overflow(2), most=1)
    assert runner.iter == 3
    assert [path.name for path in files if path.name.endswith(f'{rank}.pth')] == [f'iter_3_process_{rank}.pth']
    assert read_capture(Path(folder) / f'not_finite/iter_3_process_{rank}.pth')['rank'] == rank


def test_each_process_keeps_its_own_batch(tmp_path):
    run_in_processes(_two_processes, str(tmp_path))


def test_the_program_says_it_in_words_and_by_its_status(overflown, repository):
    _, files, _ = overflown
    command = [sys.executable, str(repository / 'tools/replay.py'), str(files[0])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f'The first module that gave something not finite is {BLOCK} (Linear)' in done.stdout


def test_another_file_is_refused(tmp_path, capsys):
    torch.save({'state_dict': {}}, tmp_path / 'other.pth')
    with pytest.raises(SystemExit):
        read_capture(tmp_path / 'other.pth')
    assert 'is no captured batch, it has no backbone, batches' in capsys.readouterr().err


def test_the_watch_sees_functions_between_modules():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.after = torch.nn.Linear(2, 2), torch.nn.ReLU()

        def forward(self, x):
            return self.after(self.inner(x) / 0)

    model = torch.nn.Sequential(Odd(), torch.nn.ReLU())
    with ModuleWatch(model) as watch:
        model(torch.ones(1, 2))
    assert [passed.name for passed in watch.forward] == ['0.inner', '0.after', '0', '1']
    assert watch.first_broken == 1
    said = about_forward(watch.forward, 1, 'fp32')
    assert said.startswith('What 0.after (ReLU) was given is not finite; 0.inner (Linear) before it gave numbers up to')
