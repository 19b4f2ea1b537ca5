"""A bar on a terminal that swallows nothing; lines from time to time elsewhere."""

import logging
import os
import sys

import pytest
from mmengine.logging import MMLogger, print_log
from terminal_screen import without_codes

from dino_plugin.evaluation import progress as module
from dino_plugin.evaluation.progress import Task, in_words, progress


def test_what_is_written_meanwhile_stays_above_the_bar_in_order_and_the_bar_leaves_nothing(terminal):
    screen = terminal()
    with Task('training', 4, details=lambda: 'loss 1.5') as task:
        for done in range(1, 5):
            print(f'printed {done}')
            print_log(f'logged {done}', 'current')
            print(f'warned {done}', file=sys.stderr)
            print_log(f'told {done}', 'current', logging.WARNING)
            task.update(done)
    print('after')
    lines = screen.lines()
    kinds = ['printed', 'logged', 'warned', 'told']
    words = [f'{kind} {done}' for done in range(1, 5) for kind in kinds] + ['after']
    assert [word for line in lines for word in words if line.endswith(word)] == words
    assert len(lines) == len(words)
    assert len(screen.bars()) > 4
    assert screen.bars()[-1].startswith('training ') and '4/4' in screen.bars()[-1] and 'loss 1.5' in screen.bars()[-1]


def test_a_line_that_is_longer_than_the_terminal_is_not_cut_or_broken_into_words(terminal):
    screen = terminal(columns=40)
    text = 'a warning with --cfg-options train_dataloader.dataset.dataset.data_root=' + 'x' * 60
    with Task('training', 2) as task:
        print(text)
        task.update(1)
    assert ''.join(screen.lines()) == text.replace('\n', '')


@pytest.mark.parametrize('columns', [20, 45, 80, 200])
def test_the_bar_takes_one_line_whatever_the_width(terminal, columns):
    screen = terminal(columns)
    details = 'loss 6.04  334 images/s  k-NN 37.9'
    with Task('epoch 3/22', 1716, details=lambda: details) as task:
        for done in range(1, 4):
            task.update(done * 100)
    assert screen.lines() == ['']
    shown = screen.written()
    assert '\x1b[1A' not in shown.split('\x1b[?25h')[1], 'only a bar of several lines moves the cursor up'
    assert ('━' in shown) == (columns > 45)
    assert (details in shown) == (columns > 45)


def test_a_task_in_a_task_is_shown_in_its_place_and_the_outer_one_comes_back(terminal):
    screen = terminal()
    with Task('epoch 1/3', 10) as outer:
        outer.update(4)
        for _ in progress(range(3), 'bank'):
            pass
        outer.update(5)
    drawn = screen.bars()
    assert any(line.startswith('epoch 1/3 4/10  bank ') and '3/3' in line for line in drawn)
    assert drawn[-1].startswith('epoch 1/3 ━') and '5/10' in drawn[-1]
    assert screen.lines() == ['']


def test_an_error_inside_ends_all_tasks_and_its_message_is_below_nothing(terminal):
    screen = terminal()
    before = sys.stdout, sys.stderr
    with pytest.raises(ValueError), Task('training', 10):
        for _ in progress(range(3), 'bank'):
            raise ValueError
    assert (sys.stdout, sys.stderr) == before
    print('the message')
    assert screen.lines() == ['the message']


def test_a_forked_worker_writes_without_the_bar(terminal):
    """It would draw a bar of its own, or wait for a lock."""
    screen = terminal()
    with Task('training', 10) as task:
        task.update(1)
        child = os.fork()
        if not child:
            print('from a worker', flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        task.update(2)
    assert sum('from a worker' in line for line in screen.lines()) == 1


@pytest.mark.parametrize(('env', 'bar', 'colour'), [
    ({}, True, True), (dict(NO_COLOR='1'), True, False), (dict(TERM='dumb'), False, False),
    (dict(TTY_INTERACTIVE='0'), False, False),
])  # fmt: skip
def test_no_color_and_a_dumb_terminal_are_respected(terminal, env, bar, colour):
    screen = terminal(**env)
    with Task('training', 2) as task:
        task.update(1)
    assert bool(screen.bars()) == bar
    assert ('\x1b[38' in screen.written() or '\x1b[3' in screen.written().replace('\x1b[39', '')) == colour


def test_colours_that_are_forced_into_a_pipe_bring_no_bar(monkeypatch, capsys):
    monkeypatch.setenv('FORCE_COLOR', '1')
    assert list(progress(range(3), 'images')) == [0, 1, 2]
    assert capsys.readouterr().out == ''


def test_without_a_terminal_a_line_comes_from_time_to_time(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(module.time, 'monotonic', lambda: now)
    MMLogger.get_instance('no_terminal')
    for _ in progress(range(5), 'images'):
        now += 20
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(' - ')[-1] for line in lines] == [
        'images: 2 of 5 done, about 1 min left',
        'images: 4 of 5 done, about 20 s left',
    ]


def test_other_processes_than_the_first_show_nothing(monkeypatch, terminal):
    screen = terminal()
    monkeypatch.setattr(module, 'is_main_process', lambda: False)
    assert list(progress(range(3), 'images')) == [0, 1, 2]
    assert (screen.lines(), screen.written()) == ([''], '')


def test_a_task_without_a_total_counts(terminal):
    screen = terminal()
    for _ in progress(iter('abc'), 'clips'):
        pass
    assert screen.lines() == ['']
    assert 'clips 3' in without_codes(screen.written()) and 'left' not in screen.written()


@pytest.mark.parametrize(('seconds', 'words'), [
    (0.4, '0 s'), (50, '50 s'), (59.7, '1 min'), (200, '3 min 20 s'), (3600, '1 h'), (12_000, '3 h 20 min'),
    (86_400, '1 day'), (90_000, '1 day 1 h'), (187_200, '2 days 4 h'),
])  # fmt: skip
def test_a_length_of_time_is_said_with_its_two_largest_units(seconds, words):
    assert in_words(seconds) == words
