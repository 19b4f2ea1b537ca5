"""Workers that stand still end the run, with the worker and the file in the message; slow ones do not."""

import contextlib
import gc
import multiprocessing
import os
import re
import signal
import threading
import time

import pytest
import torch
from bundled import CIFAR
from image_folders import PICTURES
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader, Dataset

from dino_plugin.commands.runner import Runner
from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.workers.dataloaders import TIMEOUT, WatchedLoader, prepare_workers
from dino_plugin.data.workers.reading_notes import ROOM, ReadingNotes, write_note
from dino_plugin.data.workers.shared_memory import shared_bytes
from dino_plugin.data.workers.watchdog import Watchdog


class Pictures(Dataset):
    """Reads a file, then does something at some index; the item is the worker's process."""

    def __init__(self, number=8, what=None, where=()):
        self.number, self.what, self.where = number, what, where

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        read_image(PICTURES[index])
        if index in self.where:
            self.what()
        return os.getpid()


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def sleep():
    time.sleep(3)


def loader(dataset, timeout, **changes):
    settings = dict(batch_size=2, num_workers=2, timeout=timeout, persistent_workers=False) | changes
    built = DataLoader(dataset, **settings)
    prepare_workers(built)
    return built


def processes():
    return {child.pid for child in multiprocessing.active_children()}


@pytest.mark.parametrize('persistent_workers', [False, True])
def test_a_stopped_worker_ends_the_run_with_its_number_process_and_file_and_can_end_itself(persistent_workers):
    built = loader(Pictures(what=stop, where=[3]), 1.0, persistent_workers=persistent_workers)
    before, began = processes(), time.monotonic()
    batches = iter(built)
    assert len(next(batches)) == 2
    with pytest.raises(RuntimeError, match=r'for 1 seconds: worker 0 .*; worker 1 \(process \d+, stopped\)') as error:
        list(batches)
    assert f'reads {PICTURES[3]}' in str(error.value)
    assert '--resume' in str(error.value)
    assert 0.9 < time.monotonic() - began < 10
    del batches, error, built  # the traceback holds the iterator
    gc.collect()
    deadline = time.monotonic() + 20
    while processes() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes() <= before


def test_a_worker_that_waits_for_a_file_is_named_and_one_without_work_is_not_blamed():
    built = loader(Pictures(what=sleep, where=[1]), 1.0, num_workers=1)
    with pytest.raises(RuntimeError, match=rf'worker 0 \(process \d+\) reads {re.escape(str(PICTURES[1]))}\. Look'):
        next(iter(built))
    built = loader(Pictures(what=sleep, where=[1]), 1.0)
    with pytest.raises(RuntimeError, match=r'worker 0 .*reads .*; worker 1 \(process \d+\) is between two batches\.'):
        next(iter(built))


def test_a_batch_may_take_longer_than_the_timeout_while_its_files_arrive():
    built = loader(Pictures(6, lambda: time.sleep(0.4), range(6)), 1.0, num_workers=1, batch_size=6)
    began = time.monotonic()
    assert len(list(built)) == 1
    assert time.monotonic() - began > 2


def stop_soon():
    threading.Timer(0.5, stop).start()


def test_a_worker_that_is_stopped_after_its_batch_is_ready_ends_the_run_too():
    """Then the main process asks it for the memory of the batch, and waits without a limit of PyTorch's."""
    built = loader(Pictures(2, stop_soon, [1]), 1.0, num_workers=1, collate_fn=torch.tensor)
    batches = iter(built)
    time.sleep(1.5)
    with pytest.raises(RuntimeError, match=r'worker 0 \(process \d+, stopped\) is between two batches'):
        next(batches)


def test_a_run_that_was_suspended_as_a_whole_goes_on(monkeypatch):
    """Then one tick lasts for hours, and counts as one."""
    killed, ticks = [], iter([False] * 9 + [True])
    monkeypatch.setattr(os, 'kill', lambda *arguments: killed.append(arguments))
    notes = ReadingNotes(shared_bytes(ROOM))
    notes.rows[0, 0] = 77
    for num_ticks, expected in ((9, []), (10, [(77, signal.SIGKILL)])):
        watchdog, ticks = Watchdog(notes, 9.0), iter([False] * num_ticks + [True])
        monkeypatch.setattr(watchdog._ended, 'wait', lambda _, ticks=ticks: next(ticks))
        with contextlib.suppress(RuntimeError), watchdog.waiting():
            watchdog.run()
        assert killed == expected


def test_the_time_of_the_main_process_between_two_batches_does_not_count():
    batches = iter(loader(Pictures(), 0.6))
    for _ in range(2):
        assert len(next(batches)) == 2
        time.sleep(1)
    assert len(list(batches)) == 2


def test_no_thread_outlives_its_batches():
    before = threading.active_count()
    unused = iter(loader(Pictures(), 1.0))
    assert len(list(loader(Pictures(), 1.0))) == 4
    first = next(iter(loader(Pictures(), 1.0)))
    assert len(first) == 2
    del unused
    gc.collect()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before  # others may have ended meanwhile


def test_all_batches_arrive_in_order_epoch_after_epoch_and_other_errors_stay():
    built = loader(Pictures(), 30.0, persistent_workers=True)
    workers = [batch.tolist() for batch in built]
    assert [len(set(batch)) for batch in workers] == [1] * 4
    assert [batch.tolist() for batch in built] == workers  # the same processes

    def fail():
        raise RuntimeError('of the data set')

    with pytest.raises(RuntimeError, match='of the data set'):
        list(loader(Pictures(what=fail, where=[5]), 30.0))


def test_every_loader_of_the_runner_has_a_timeout_and_the_configs_own_is_kept():
    dataset = DATASETS.build(dict(type='dino_plugin.ImageDataset', data_root=str(CIFAR)))
    config = dict(dataset=dataset, batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False))
    assert Runner.build_dataloader(dict(config, num_workers=2)).timeout == TIMEOUT
    assert Runner.build_dataloader(dict(config, num_workers=2, timeout=7)).timeout == 7
    alone = Runner.build_dataloader(dict(config, num_workers=0, timeout=7))
    assert (type(alone), alone.timeout) == (DataLoader, 0)
    built = Runner.build_dataloader(dict(config, num_workers=2))
    prepare_workers(built)
    assert type(built) is WatchedLoader
    assert not isinstance(built.worker_init_fn.then, ReadingNotes)


def test_a_note_is_the_last_file_and_the_loaders_own_start_of_workers_runs():
    started = []
    notes = ReadingNotes(shared_bytes(2 * ROOM), started.append)
    write_note('nobody reads this')  # not in a worker
    assert [note.process for note in notes.read()] == [0, 0]
    notes(1)
    assert started == [1]
    try:
        write_note('first')
        write_note('/a/' + 'long/' * 300 + 'ñame.jpg')
        written = notes.read()[1]
        assert (written.process, written.number) == (os.getpid(), 2)
        assert written.text.endswith('long/ñame.jpg')
        write_note('short')
        assert notes.read()[1].text == 'short'
        assert notes.read()[0].number == 0
    finally:
        from dino_plugin.data.workers import reading_notes

        reading_notes._own.clear()
