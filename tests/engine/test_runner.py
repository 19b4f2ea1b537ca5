"""What the console shows first: what is about to happen, in words that are true."""

import logging
import re

import pytest
import torch
from mmengine.config import Config
from small_training import small_config
from torch import nn

from dino_plugin.engine.runner import ConsoleFilter, Runner


def record(text: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord('mmengine', level, __file__, 0, text, (), None)


def test_long_messages_are_left_out_until_the_beginning_and_warnings_never():
    console = ConsoleFilter()
    assert not console.filter(record('Config:\na = 1'))
    assert console.filter(record('24 images in photos\n'))
    assert console.filter(record('missing keys:\na', logging.WARNING))
    console.starting = False
    assert console.filter(record('per class results:\n| a | 3 |'))
    assert not console.filter(record('"FileClient" will be deprecated in future. Please use', logging.WARNING))


def loud(work_dir, name: str, **changes) -> Runner:
    """A small training that logs; mmengine keeps runners by name."""
    return Runner.from_cfg(
        small_config(work_dir, log_level='INFO', experiment_name=f'{name}_{work_dir.name}', **changes)
    )


def described(runner: Runner, capsys) -> dict[str, str]:
    capsys.readouterr()
    runner.train()
    lines = capsys.readouterr().out.split('Training begins.\n')[1].splitlines()
    return dict(re.fullmatch(r'    (.{10}) (.*)', line).groups() for line in lines if line.startswith('    '))


def test_a_training_is_described_by_what_was_built(tmp_path, capsys):
    short = dict(train_dataloader__dataset__dataset__indices=40, train_cfg__max_epochs=1)
    runner = loud(tmp_path, 'described', optim_wrapper__accumulative_counts=2, **short)
    said = {key.strip(): value for key, value in described(runner, capsys).items()}
    model = runner.model.distillation
    size = sum(parameter.numel() for parameter in model.student.backbone.parameters())
    fixed = 32  # lengths of the prototypes
    trained = sum(parameter.numel() for parameter in model.student.parameters()) - fixed
    assert said == {
        'losses': 'dino (DINOLoss)',
        'network': f'vit_tiny_patch16_224, {size:,} parameters',
        'trained': f'{trained:,} parameters',
        'images': '40 in batches of 16 × 2 batches before a step',
        'computes': f'in fp32 on {"cpu" if not torch.cuda.is_available() else torch.cuda.get_device_name()}',
        'length': '2 iterations',
        'writes to': f'{runner.work_dir} (checkpoints), {runner.log_dir} (whole log, config, curves)',
        'to go on': 'after a stop: the same command with --resume',
    }


def test_a_training_that_goes_on_says_where_it_is(tmp_path, capsys):
    loud(tmp_path, 'first', train_cfg__max_epochs=1).train()
    runner = loud(tmp_path, 'second', train_cfg__max_epochs=2, resume=True)
    assert described(runner, capsys)['length    '] == '2 epochs, 12 iterations, of which 6 are done'


class Plain(nn.Module):
    """A model of somebody else."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 2)
        self.head = nn.Linear(2, 1)

    def train_step(self, data, optim_wrapper) -> dict:
        loss = self.head(self.backbone(torch.stack(tuple(data)))).mean()
        optim_wrapper.update_params(loss)
        return dict(loss=loss.detach())


def test_any_model_of_mmengine_is_described(tmp_path, capsys):
    runner = Runner(
        Plain(),
        str(tmp_path),
        train_dataloader=torch.utils.data.DataLoader([torch.rand(3) for _ in range(6)], batch_size=2),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=3),
        optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=0.1))
        if torch.cuda.is_available()
        else dict(optimizer=dict(type='SGD', lr=0.1)),
        cfg=Config(dict(default_scope='mmengine')),
        experiment_name=f'any_{tmp_path.name}',
    )
    said = described(runner, capsys)
    assert said['model     '] == 'Plain'
    assert said['network   '] == 'Linear, 8 parameters'
    assert said['trained   '] == '11 parameters'
    assert said['images    '] == '6 in batches of 2'
    assert said['length    '] == '3 iterations'


@pytest.mark.parametrize('number', [99_999, 100_000, 21_665_664])
def test_a_number_of_parameters_is_exact_where_it_is_small(number):
    from dino_plugin.engine.runner import _count

    said = _count([torch.empty(number)])
    assert said == (f'{number:,}' if number < 100_000 else f'{number / 1e6:.1f} million')
