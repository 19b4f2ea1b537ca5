"""Batches arrive whatever shared memory there is, and take their usual way where there is enough."""

import math
import os
import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_folders import PICTURES
from mmengine.structures import BaseDataElement, PixelData
from PIL import Image
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data import _utils as torch_utils

from dino_plugin.data.collate import image_collate, masked_collate, multi_crop_collate
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.workers import shared_memory
from dino_plugin.data.workers.shared_memory import (
    PickledBatch,
    PipeFallbackCollate,
    free_shared_memory,
    num_bytes,
    shared_flags,
    use_pipes_if_memory_is_short,
)

IMAGES = [np.array(Image.open(path)) for path in PICTURES[:8]]
MASKED = partial(masked_collate, patch_size=8)
LITTLE, MUCH = 2 * 2**20, math.inf


def samples_of(split):
    crop = MultiCrop(global_size=32, local_size=16, num_local=2, split=split)
    random.seed(0)
    return [crop.sample(image) for image in IMAGES]


@pytest.fixture
def lines(monkeypatch):
    """What is logged by the main process."""
    found, main = [], os.getpid()
    monkeypatch.setattr(shared_memory, '_warned', [])
    monkeypatch.setattr(shared_memory, 'print_log', lambda line, *_: found.append(line) or os.getpid() == main or 1 / 0)
    return found


def load(samples, collate, free, monkeypatch, **arguments):
    monkeypatch.setattr(shared_memory, 'free_shared_memory', lambda: free)
    arguments = dict(batch_size=2, num_workers=1, multiprocessing_context='fork') | arguments
    loader = DataLoader(samples, collate_fn=collate, **arguments)
    use_pipes_if_memory_is_short(loader)
    return list(loader)


def tensors(batch):
    if isinstance(batch, torch.Tensor):
        return [batch]
    return [tensor for part in batch for tensor in tensors(part)] if isinstance(batch, (list, tuple)) else []


@pytest.mark.parametrize('collate', [multi_crop_collate, MASKED], ids=['plain', 'masked'])
@pytest.mark.parametrize('split', ['worker', 'device', 'decode'])
def test_a_batch_is_the_same_through_a_pipe_and_through_shared_memory(split, collate, monkeypatch, lines):
    samples = samples_of(split)
    expected = list(map(collate, [samples[i : i + 2] for i in range(0, 8, 2)]))
    free = 2 * min(map(num_bytes, expected)) - 1  # of the one worker, one byte too little
    for room, through_pipes in ((MUCH, False), (max(free, LITTLE), False), (free, True)):
        monkeypatch.setattr(shared_memory, 'LOCKS', -(2**20))  # they fit
        batches = load(samples, collate, room, monkeypatch)
        assert len(batches) == 4
        for found, right in zip(batches, expected, strict=True):
            assert type(found) is type(right)
            ours, theirs = tensors(found), tensors(right)
            assert all(map(torch.equal, ours, theirs)) and len(ours) == len(theirs) >= 2
            assert [tensor.dtype for tensor in ours] == [tensor.dtype for tensor in theirs]
            assert any(tensor.is_shared() for tensor in ours if tensor.numel()) != through_pipes
        assert len(lines) == through_pipes
    assert 'docker run --shm-size=8g' in lines[0] and '--ipc=host' in lines[0]
    assert f'want {2 * num_bytes(expected[0]) / 2**20:.1f}' in lines[0]


def test_evaluation_batches_come_through_a_pipe_too(monkeypatch, lines):
    samples = [(image, label, f'{label}.jpg') for label, image in enumerate(IMAGES)]
    monkeypatch.setattr(shared_memory, 'LOCKS', -(2**20))
    for images, labels, paths in load(samples, image_collate, 100, monkeypatch):
        assert paths == [f'{label}.jpg' for label in labels]
        assert all(torch.equal(image, torch.from_numpy(IMAGES[label])) for image, label in zip(images, labels))
        assert not images.is_shared()
    assert len(lines) == 1


@pytest.mark.parametrize('arguments', [dict(persistent_workers=True), dict(num_workers=3, timeout=60)], ids=str)
def test_where_the_workers_locks_do_not_fit_the_main_process_loads(arguments, monkeypatch, lines):
    samples = samples_of('worker')
    expected = load(samples, multi_crop_collate, MUCH, monkeypatch, num_workers=0, multiprocessing_context=None)
    assert not lines
    started = []
    monkeypatch.setattr(torch_utils.worker, '_worker_loop', lambda *_: started.append(1))
    batches = load(samples, multi_crop_collate, 60 * 1024, monkeypatch, **arguments)
    assert all(map(torch.equal, tensors(batches), tensors(expected)))
    (line,) = lines
    assert line.startswith('/dev/shm has 60 KiB') and 'num_workers=0' in line and '--shm-size=8g' in line


def test_there_is_room_if_every_worker_of_the_machine_could_place_two_more_batches(monkeypatch):
    worker = SimpleNamespace(num_workers=3)
    monkeypatch.setattr(shared_memory, 'get_worker_info', lambda: worker)
    for name in shared_memory.NUM_PROCESSES:
        monkeypatch.delenv(name, raising=False)
    wanted = 2 * 3 * num_bytes(torch.zeros(5, 2, dtype=torch.float64))
    for variable, processes in ((None, 1), ('LOCAL_WORLD_SIZE', 4), ('SLURM_NTASKS_PER_NODE', 8)):
        if variable:
            monkeypatch.setenv('SLURM_NTASKS_PER_NODE', '8')
            monkeypatch.setenv(variable, str(processes))
        collate = PipeFallbackCollate(lambda samples: torch.zeros(5, 2, dtype=torch.float64))
        for free, kind in ((0, PickledBatch), (-1, PickledBatch), (0, torch.Tensor)):
            free += processes * wanted if kind is torch.Tensor or free else 0
            monkeypatch.setattr(shared_memory, 'free_shared_memory', lambda: free)  # noqa: B023
            assert type(collate([])) is kind
        monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)


def test_without_workers_nothing_is_changed():
    loader = DataLoader(IMAGES, num_workers=0)
    before = loader.collate_fn
    use_pipes_if_memory_is_short(loader)
    assert loader.collate_fn is before
    assert PipeFallbackCollate(list)((1, 2)) == [1, 2]


def test_free_memory_is_what_the_file_system_says(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory.sys, 'platform', 'linux')
    monkeypatch.setattr(shared_memory, 'FOLDER', str(tmp_path / 'none'))
    assert free_shared_memory() == 0
    for blocks, expected in ((16, 3 * 4096), (0, math.inf)):  # a tmpfs of size 0 has no limit
        found = SimpleNamespace(f_bavail=3, f_frsize=4096, f_blocks=blocks)
        monkeypatch.setattr(shared_memory.os, 'statvfs', lambda _: found)  # noqa: B023
        assert free_shared_memory() == expected
    monkeypatch.setattr(shared_memory.sys, 'platform', 'darwin')
    assert free_shared_memory() == math.inf


def test_all_tensors_of_a_batch_count():
    labels = BaseDataElement(gt=PixelData(data=torch.zeros(3, 5, dtype=torch.int64)), metainfo=dict(size=(3, 5)))
    batch = dict(inputs=[torch.zeros(3, 7, dtype=torch.uint8)], data_samples=[labels], paths=['a.jpg'])
    assert num_bytes(batch) == 3 * 7 + 3 * 5 * 8
    assert num_bytes((batch, (torch.zeros(2), None))) == 3 * 7 + 3 * 5 * 8 + 2 * 4


class Flagged(Dataset):
    def __init__(self):
        self.flags = shared_flags(8)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        assert get_worker_info() is not None
        self.flags[index] = index % 3 == 0
        return index


@pytest.mark.parametrize('free', [8, 2**20])
def test_flags_that_a_worker_sets_reach_the_main_process(free, monkeypatch):
    monkeypatch.setattr(shared_memory, 'free_shared_memory', lambda: free)
    dataset = Flagged()
    assert dataset.flags.tolist() == [False] * 8
    list(DataLoader(dataset, num_workers=2, multiprocessing_context='fork'))
    assert dataset.flags.tolist() == [True, False, False, True, False, False, True, False]
