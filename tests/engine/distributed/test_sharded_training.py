"""Two processes with half of each network: memory, checkpoints, and what one process does with these."""

import pickle
import time
from concurrent.futures import Future
from threading import Thread

import pytest
import torch
from mmengine.model import BaseModel
from processes import run_in_processes
from small_training import small_config
from torch.distributed.tensor import DTensor

from dino_plugin import registry
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.reduce import own_part
from dino_plugin.engine.distributed.conversion import convert
from dino_plugin.engine.distributed.folders import put_in_place
from dino_plugin.engine.distributed.fully_shard import FullyShard
from dino_plugin.engine.distributed.safe_reader import SafeReader
from dino_plugin.engine.distributed.sharded_runner import ShardedRunner
from dino_plugin.engine.training.model import unwrapped
from dino_plugin.weights.safe_loading import load_checkpoint


class UserModel(BaseModel):
    def forward(self, *args, **kwargs):
        return {}


CHANGES = dict(
    train_cfg__max_epochs=1,
    train_dataloader__dataset__dataset__indices=96,
    model__backbone__drop_path_rate=0.0,
    default_hooks__checkpoint=dict(type='dino_plugin.CheckpointHook', by_epoch=False, interval=3),
)
OTHER_ROUNDING = 1e-7  # in float64


def in_float64(views):
    return views._replace(global_views=views.global_views.double(), local_views=views.local_views.double())


def train(work_dir, processes, **changes):
    """The runner and the whole state after six iterations in float64."""
    config = small_config(work_dir, **CHANGES, train_dataloader__batch_size=16 // processes, **changes)
    config.experiment_name = work_dir.name
    if processes > 1:
        config.launcher, config.model_wrapper_cfg = 'pytorch', dict(type='dino_plugin.FullyShard')
    runner = ShardedRunner.from_cfg(config)
    network = unwrapped(runner.model.double()).distillation
    network.register_forward_pre_hook(lambda _, inputs: (in_float64(inputs[0]), inputs[1]))
    runner.train()
    state = unwrapped(runner.model).state_dict()
    return runner, {key: value.full_tensor() if isinstance(value, DTensor) else value for key, value in state.items()}


def train_halves(rank, folder):
    runner, state = train(folder / 'unbroken', 2, model__defer_weights=True)
    optimizer = runner.optim_wrapper.optimizer
    held = [*runner.model.parameters(), *(value for entry in optimizer.state.values() for value in entry.values())]
    own, whole = (sum(tensor.numel() for tensor in tensors) for tensors in (map(own_part, held), held))
    assert 0.45 < own / whole < 0.55
    _, resumed = train(folder / 'resumed', 2, resume=True, load_from=str(folder / 'unbroken/iter_3.pth'))
    for key, value in state.items():
        assert torch.equal(resumed[key], value), key
    if rank == 0:
        torch.save(state, folder / 'state.pth')


def train_alone(rank, folder):
    state, half_way = torch.load(folder / 'state.pth', weights_only=True), folder / 'unbroken/iter_3.pth'
    for source in (half_way, convert(half_way, folder / 'one_file.pth')):
        runner, alone = train(folder / f'alone_{source.name}', 1, resume=True, load_from=str(source))
        assert runner.iter == 6
        for key, value in state.items():
            torch.testing.assert_close(alone[key], value, rtol=0, atol=OTHER_ROUNDING)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of the trainings, and the state at the end."""
    folder = tmp_path_factory.mktemp('halves')
    run_in_processes(train_halves, folder)
    return folder, torch.load(folder / 'state.pth', weights_only=True)


def test_one_process_goes_on_from_the_folder_of_two_and_from_the_file_of_it(trained):
    folder, state = trained
    run_in_processes(train_alone, folder, processes=1)
    before = load_checkpoint(folder / 'unbroken/iter_3.pth')
    moved = max((value - before['state_dict'][key]).abs().max() for key, value in state.items())
    assert moved > 1e-3
    again = load_checkpoint(convert(folder / 'one_file.pth', folder / 'folder'))
    assert again['meta'] == before['meta']
    assert all(torch.equal(value, again['state_dict'][key]) for key, value in before['state_dict'].items())


def test_a_folder_is_a_checkpoint_like_any_other(trained):
    folder, state = trained
    last = folder / 'unbroken' / (folder / 'unbroken/last_checkpoint').read_text().rpartition('/')[2]
    assert not list(folder.rglob('*.partial'))
    found = load_checkpoint(last)['state_dict']
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())
    backbone = TimmBackbone(checkpoint=str(last))  # which network it is, the folder says
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, state[f'distillation.teacher.backbone.model.{key}'].float())


def test_a_description_that_would_run_code_is_refused(tmp_path):
    (tmp_path / '.metadata').write_bytes(pickle.dumps(print))
    with pytest.raises(ValueError, match=r'it imports builtins\.print, which no description needs'):
        SafeReader(tmp_path).read_metadata()


def test_parameters_in_fp16_are_refused_with_the_cure():
    model = registry.MODELS.build(small_config('').model)
    with pytest.raises(ValueError, match="precision='fp16', expected 'fp32' or 'bf16'"):
        FullyShard(model, precision='fp16')


def test_a_model_that_does_not_name_its_parts_is_not_sharded():
    with pytest.raises(
        ValueError, match=r'UserModel does not say by a method parts_to_shard .* leave out model_wrapper'
    ):
        FullyShard(UserModel())


@pytest.mark.parametrize('kind', ['nothing', 'file', 'folder'])
def test_a_whole_checkpoint_takes_the_place_of_whatever_had_its_name(tmp_path, kind):
    partial, place = tmp_path / 'iter_3.pth.partial', tmp_path / 'iter_3.pth'
    for folder in [partial, *([place] if kind == 'folder' else [])]:
        folder.mkdir()
        (folder / 'part').write_text(folder.name)
    if kind == 'file':  # of a training without FullyShard
        place.write_text('weights')
    put_in_place(partial, place)
    assert [path.name for path in tmp_path.iterdir()] == ['iter_3.pth']
    assert (place / 'part').read_text() == partial.name


def test_whoever_waits_for_a_checkpoint_waits_for_what_follows_it_and_sees_its_error():
    runner, writing, done = object.__new__(ShardedRunner), Future(), []
    runner._writing = writing
    runner.when_saved(lambda: (time.sleep(0.1), done.append('named')))
    runner.when_saved(lambda: done.append('pointed to'))
    Thread(target=writing.set_result, args=[None]).start()
    runner.wait_for_checkpoint()
    assert done == ['named', 'pointed to']
    runner._writing = writing
    runner.when_saved(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner.wait_for_checkpoint()
