"""What the console shows first: what is about to happen, in words that are true."""

import logging
import re
import warnings

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from small_training import small_config
from torch import nn

from dino_plugin.commands.console import SILENCED_WARNINGS, ConsoleFilter
from dino_plugin.commands.first_log import _batch, _count
from dino_plugin.commands.runner import Runner
from dino_plugin.engine.distributed.mean_log import MeanLogProcessor


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


@pytest.mark.parametrize(
    ('told', 'doubt'), [(43, ''), (5000, '; the recipe is for 5,000: --cfg-options model.num_images=40')]
)
def test_a_recipe_for_another_number_of_images_is_named(told, doubt, tmp_path, capsys):
    short = dict(train_dataloader__dataset__dataset__indices=40, train_cfg__max_epochs=1)
    said = described(loud(tmp_path, 'told', model__num_images=told, **short), capsys)
    assert said['images    '] == f'40 in batches of 16{doubt}'


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
        'continue': 'after a stop: the same command with --resume',
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


def test_a_test_is_described_by_metric_samples_and_network(tmp_path, capsys):
    class Mean(BaseMetric):
        def process(self, batch, samples) -> None:
            self.results += samples

        def compute_metrics(self, results) -> dict:
            return dict(mean=float(torch.stack(results).mean()))

    class Identity(Plain):
        def test_step(self, data) -> list:
            return list(data)

    runner = Runner(
        Identity(),
        str(tmp_path),
        test_dataloader=torch.utils.data.DataLoader([torch.full((3,), 2.0)] * 5),
        test_cfg=dict(),
        test_evaluator=[Mean(prefix='all')],
        experiment_name=f'test_{tmp_path.name}',
    )
    assert runner.test() == {'all/mean': 2.0}
    device = 'cpu' if not torch.cuda.is_available() else torch.cuda.get_device_name()
    said = f'Mean: 5 samples; Linear, 8 parameters, on {device}.'
    assert f'{said}\n    Results go to {tmp_path}' in capsys.readouterr().out


def test_only_the_warnings_that_are_named_are_silenced(tmp_path):
    with warnings.catch_warnings(record=True) as shown:
        loud(tmp_path, 'warnings')
        for message in (*SILENCED_WARNINGS, 'another', f'another, about: {SILENCED_WARNINGS[0]}'):
            warnings.warn(f'{message} and so on', stacklevel=1)
    said = [str(warning.message) for warning in shown if str(warning.message).endswith('and so on')]
    assert said == ['another and so on', f'another, about: {SILENCED_WARNINGS[0]} and so on']


@pytest.mark.parametrize('number', [99_999, 100_000, 21_665_664])
def test_a_number_of_parameters_is_exact_where_it_is_small(number):
    said = _count([torch.empty(number)])
    assert said == (f'{number:,}' if number < 100_000 else f'{number / 1e6:.1f} million')


def test_the_size_of_batches_is_told_where_a_sampler_makes_them():
    sampler = torch.utils.data.BatchSampler(range(6), batch_size=3, drop_last=False)
    loader = torch.utils.data.DataLoader(list(range(6)), batch_sampler=sampler)
    runner = object.__new__(Runner)
    runner.optim_wrapper = None
    assert _batch(runner, loader) == '3'


def test_numbers_of_training_are_logged_as_means_over_the_processes(tmp_path):
    own = small_config(tmp_path, experiment_name=f'mean_{tmp_path.name}', log_processor=dict(window_size=7))
    processor = Runner.from_cfg(own).log_processor
    assert (type(processor), processor.window_size) == (MeanLogProcessor, 7)


def test_a_config_in_the_working_directory_stays_as_it_was_written(tmp_path):
    config = small_config(tmp_path, experiment_name=f'own_{tmp_path.name}')
    text = '# my words\n' + config.pretty_text
    for folder in (tmp_path, tmp_path / 'elsewhere'):
        folder.mkdir(exist_ok=True)
        (folder / 'mine.py').write_text(text)
        own = Config.fromfile(folder / 'mine.py')
        own.work_dir, own.experiment_name = str(tmp_path / 'work'), f'{folder.name}_{tmp_path.name}'
        if folder == tmp_path:
            own.work_dir = str(tmp_path)
        Runner.from_cfg(own)
        assert (folder / 'mine.py').read_text() == text
    assert (tmp_path / 'work/mine.py').read_text() != text  # the resolved one, as always
