"""What a user sees of a run: on a terminal a bar, elsewhere a short line an interval; the log file has everything."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from small_training import small_config
from torch import nn

from dino_plugin.commands import progress_hook
from dino_plugin.commands.console import import_quietly
from dino_plugin.commands.progress_hook import estimate
from dino_plugin.commands.runner import Runner
from dino_plugin.engine.training.hooks.stop import TrainingStopped


class Trouble(Hook):
    """Warns in three ways, and reports an evaluation, after the seventh of twelve steps."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 6:
            runner.message_hub.update_scalar('knn/top1_k20', 37.94)
            runner.logger.info('knn of the teacher: top1_k20 37.9')
            runner.logger.warning('a warning of the monitor')
            print('a print of somebody')
            sys.stderr.write('a warning of Python\n')


class Interrupt(Hook):
    """Sends a signal to this process in the fifth step."""

    def __init__(self, number) -> None:
        self.number = number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 4:
            if self.number is None:
                raise ZeroDivisionError
            os.kill(os.getpid(), self.number)


def train(folder: Path, *hooks: Hook, **changes) -> Runner:
    """Two epochs of six steps, a log every four steps."""
    cfg = small_config(folder, log_level='INFO', experiment_name=f'console_{time.monotonic_ns()}', **changes)
    cfg.default_hooks.throughput = dict(type='dino_plugin.ThroughputHook')
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def log_file(folder: Path) -> str:
    (file,) = folder.glob('*/*.log')
    return file.read_text()


TROUBLE = [
    'knn of the teacher: top1_k20 37.9',
    'a warning of the monitor',
    'a print of somebody',
    'a warning of Python',
]


def everything_is_in_the_log_file_and_the_curves(folder: Path) -> None:
    lines = [line for line in log_file(folder).splitlines() if 'Epoch(train)' in line]
    assert [re.search(r'\[\d\]\[\d/6\]', line).group() for line in lines] == ['[1][4/6]', '[2][4/6]']
    for name in ('base_lr', 'time', 'data_time', 'loss', 'loss_dino', 'images_per_second', 'target_entropy'):
        assert all(f' {name}: ' in line for line in lines), name
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    assert [json.loads(line)['step'] for line in scalars.read_text().splitlines()] == [4, 10]
    assert 'Exp name: ' in log_file(folder) and 'Saving checkpoint at ' in log_file(folder)


def test_without_a_terminal_an_interval_is_one_short_line(tmp_path, capfd):
    train(tmp_path, Trouble())
    said = capfd.readouterr()
    lines = said.out.splitlines()
    short = [line for line in lines if ', step ' in line]
    assert [
        re.sub(r'[\d.]+ images/s', 'N images/s', re.sub('loss [0-9.]+', 'loss L', line))[15:] for line in short
    ] == [
        re.sub(r', \S+ s left', f', {left} left', line)
        for line, left in zip(
            (
                'epoch 1/2, step 4/12, X s left, loss L, N images/s',
                'epoch 2/2, step 10/12, X s left, loss L, N images/s, k-NN 37.9',
            ),
            re.findall(r'step \d+/12, (.*?) left', '\n'.join(short)),
        )
    ]
    assert all(len(line) < 100 for line in short)
    assert [words for line in lines for words in TROUBLE if line.endswith(words)] == TROUBLE[:3]
    assert TROUBLE[3] in said.err.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.endswith('Training begins.'))
    assert begin <= 2 and len(lines) == begin + 9 + 2 + 3 + 1, said.out
    assert re.search(rf'Training ends after 12 steps in .*\. The checkpoint: {tmp_path}/iter_12\.pth$', lines[-1])
    everything_is_in_the_log_file_and_the_curves(tmp_path)


def test_on_a_terminal_a_bar_shows_each_step_and_swallows_nothing(tmp_path, terminal):
    screen = terminal(columns=120)
    train(tmp_path, Trouble())
    lines = screen.lines()
    assert [words for line in lines for words in TROUBLE if line.endswith(words)] == TROUBLE
    assert not any('━' in line or 'step ' in line for line in lines), 'no rest of the bar'
    begin = next(number for number, line in enumerate(lines) if line.endswith('Training begins.'))
    assert len(''.join(lines[begin + 9 :])) < 400 and 'Training ends after 12 steps' in ''.join(lines)
    bars = screen.bars()
    for done in range(1, 13):
        assert any(f' {done}/12 ' in bar and bar.startswith(f'epoch {1 + (done > 6)}/2 ') for bar in bars), done
    assert re.search(r' 12/12  0 s left  loss [\d.]+  [\d.]+ images/s  k-NN 37\.9$', bars[-1])
    everything_is_in_the_log_file_and_the_curves(tmp_path)


@pytest.mark.parametrize(('number', 'error'), [
    (signal.SIGTERM, TrainingStopped), (signal.SIGINT, TrainingStopped), (None, ZeroDivisionError),
])  # fmt: skip
def test_a_training_that_is_stopped_or_fails_leaves_the_terminal_as_it_was(tmp_path, terminal, number, error):
    screen = terminal()
    before = sys.stdout, sys.stderr
    with pytest.raises(error):
        train(tmp_path, Interrupt(number))
    assert (sys.stdout, sys.stderr) == before
    print('the shell writes here')
    assert screen.lines()[-1] == 'the shell writes here'
    assert not any('━' in line for line in screen.lines())
    assert any(' 4/12 ' in bar for bar in screen.bars())
    assert screen.written().rindex('\x1b[?25h') > screen.written().rindex('\x1b[?25l'), 'the cursor is there again'


class Slow(nn.Module):
    """Answers with what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def test_step(self, data) -> list:
        return list(data)


def test_a_test_shows_a_bar_and_hides_what_the_table_of_results_says(tmp_path, terminal):
    class Mean(BaseMetric):
        def process(self, batch, samples) -> None:
            self.results += samples

        def compute_metrics(self, results) -> dict:
            return dict(mean=float(torch.stack(results).mean()))

    screen = terminal()
    runner = Runner(
        Slow(),
        str(tmp_path),
        test_dataloader=torch.utils.data.DataLoader([torch.full((3,), 2.0)] * 5),
        test_cfg=dict(),
        test_evaluator=[Mean(prefix='all')],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        experiment_name=f'console_{time.monotonic_ns()}',
    )
    assert runner.test() == {'all/mean': 2.0}
    assert [any(bar.startswith('test ') and f' {done}/5' in bar for bar in screen.bars()) for done in range(6)] == [
        True
    ] * 6
    assert not any('━' in line or 'Epoch(test)' in line for line in screen.lines())
    said = log_file(tmp_path)
    assert said.count('Epoch(test)') == 6 and 'all/mean: 2.0' in said


@pytest.mark.parametrize(('steps', 'seconds', 'words'), [
    (41_000, 1 / 3.4, 'about 3 h 20 min: 41,000 steps at 3.4 steps a second; ends at about 17:40'),
    (100, 2.5, 'about 4 min 10 s: 100 steps at 2.5 seconds a step; ends at about 14:23'),
    (100_000, 2.5, 'about 2 days 21 h: 100,000 steps at 2.5 seconds a step; ends at about Tuesday, 11:45'),
    (1_000_000, 2.5, 'about 28 days 22 h: 1,000,000 steps at 2.5 seconds a step; ends at about 27 December'),
])  # fmt: skip
def test_how_long_training_takes_is_said_in_words(monkeypatch, steps, seconds, words):
    now = time.mktime((2026, 11, 28, 14, 19, 10, 0, 0, -1))
    monkeypatch.setattr(time, 'time', lambda: now)
    assert estimate(steps, seconds) == words


def test_the_estimate_comes_once_after_some_steps_of_a_run_and_only_where_as_many_are_left(
    tmp_path, capfd, monkeypatch
):
    assert (progress_hook._SETTLED, progress_hook._MEASURED) == (10, 50)
    monkeypatch.setattr(progress_hook, '_SETTLED', 2)
    monkeypatch.setattr(progress_hook, '_MEASURED', 10)

    def estimates(folder: str, epochs: int, **changes) -> list[str]:
        train(tmp_path / folder, train_cfg__max_epochs=epochs, **changes)
        return re.findall(r'about .*: ([\d,]+) steps at .* ends at about ', capfd.readouterr().out)

    assert estimates('short', 3) == []  # 18 steps
    assert estimates('long', 4) == ['14']
    assert estimates('long', 8, resume=True) == ['14']  # 24 of 48 are done


def test_what_packages_print_at_import_is_shown_unless_no_user_can_act_on_it(tmp_path, monkeypatch, capsys):
    for package in ('mmseg', 'unknown'):
        (tmp_path / package).mkdir()
        (tmp_path / package / '__init__.py').write_text('')
        (tmp_path / package / 'datasets.py').write_text('print("Could not import OneDL")\nprint("install me")')
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split('.')[0] == 'mmseg']:
        monkeypatch.delitem(sys.modules, name)
    for scope in ('mmseg', 'unknown', None):
        import_quietly(scope)
    for name in [name for name in sys.modules if name.split('.')[0] == 'mmseg']:
        del sys.modules[name]
    assert capsys.readouterr().out == 'install me\n'
