import pytest
import torch
from processes import run_in_processes
from small_training import build_runner, small_config

from dino_plugin.weights.safe_loading import load_checkpoint

CHANGES = {
    'train_cfg__max_epochs': 1,
    'model__backbone__drop_path_rate': 0.0,
    'optim_wrapper__optimizer__type': 'SGD',
    'optim_wrapper__optimizer__lr': 0.5,
}


def distributed_config(work_dir, **changes):
    config = small_config(work_dir, **CHANGES, **changes)
    config.launcher = 'pytorch'
    config.model_wrapper_cfg = {'device_ids': None, 'broadcast_buffers': False}  # on CPU
    return config


def train_and_save(rank, work_dir, batch_size):
    runner = build_runner(distributed_config(work_dir, train_dataloader__batch_size=batch_size))
    start = {name: value.clone() for name, value in runner.model.module.state_dict().items()}
    runner.train()
    torch.save({'start': start, 'end': runner.model.module.state_dict()}, f'{work_dir}/rank{rank}.pth')


def load(work_dir, rank=0):
    return torch.load(work_dir / f'rank{rank}.pth', weights_only=True)


def test_two_processes_agree_and_equal_one_with_the_joint_batch(tmp_path):
    """Student, teacher and centre. mmpretrain's project dies in its first distributed step."""
    run_in_processes(train_and_save, str(tmp_path / 'two'), 8, start_method='spawn')
    run_in_processes(train_and_save, str(tmp_path / 'one'), 16, processes=1)
    first, second, alone = load(tmp_path / 'two'), load(tmp_path / 'two', 1), load(tmp_path / 'one')
    for name, value in first['end'].items():
        assert torch.equal(value, second['end'][name]), name
        torch.testing.assert_close(value, alone['end'][name], rtol=1e-4, atol=1e-5)
    moved = {name for name, value in alone['end'].items() if not torch.equal(value, alone['start'][name])}
    assert any('.student.' in name for name in moved)
    assert any('.teacher.' in name for name in moved)
    assert 'distillation.losses.dino.target.center' in moved


ONLY_NORMS = {'optim_wrapper__paramwise_cfg': {'custom_keys': {'backbone': {'lr_mult': 0}, 'backbone*norm': {}}}}


def train_norms(rank, work_dir, batch_size):
    """What stays and what moves, with the wrapper's knowledge that some parameters have no gradient."""
    config = distributed_config(work_dir, train_dataloader__batch_size=batch_size, **ONLY_NORMS)
    with pytest.raises(ValueError, match=r'Write find_unused_parameters=True into the config'):
        build_runner(config).train()
    config.model_wrapper_cfg.find_unused_parameters = True
    runner = build_runner(config)
    start = {name: value.clone() for name, value in runner.model.module.state_dict().items()}
    runner.train()
    torch.save({'start': start, 'end': runner.model.module.state_dict()}, f'{work_dir}/rank{rank}.pth')


def test_two_processes_that_train_norms_alone_equal_one(tmp_path):
    run_in_processes(train_norms, str(tmp_path / 'two'), 8)
    run_in_processes(train_norms, str(tmp_path / 'one'), 16, processes=1)
    first, second, alone = load(tmp_path / 'two'), load(tmp_path / 'two', 1), load(tmp_path / 'one')
    for name, value in first['end'].items():
        assert torch.equal(value, second['end'][name]), name
        torch.testing.assert_close(value, alone['end'][name], rtol=1e-4, atol=1e-5)
    for network in ('student', 'teacher'):
        backbone = {name for name in first['end'] if f'.{network}.backbone.' in name}
        moved = {name for name in backbone if not torch.equal(first['end'][name], first['start'][name])}
        assert moved == {name for name in backbone if 'norm' in name}


def train_then_resume(rank, work_dir):
    unbroken = build_runner(distributed_config(f'{work_dir}/unbroken', train_dataloader__batch_size=8))
    unbroken.train()
    resumed = build_runner(
        distributed_config(
            f'{work_dir}/resumed',
            train_dataloader__batch_size=8,
            resume=True,
            load_from=f'{work_dir}/unbroken/iter_4.pth',
        )
    )
    resumed.train()
    assert resumed.iter == unbroken.iter == 6
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_two_processes_resume_in_the_middle_of_an_epoch_bit_for_bit(tmp_path):
    run_in_processes(train_then_resume, str(tmp_path))
    assert load_checkpoint(tmp_path / 'resumed' / 'iter_6.pth')['meta']['iter'] == 6
