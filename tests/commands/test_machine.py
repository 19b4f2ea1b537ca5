"""The facts that the recipe `auto` depends on; a million files are listed and not read."""

import shutil
import time

import pytest
import torch
from bundled import CIFAR, DAVIS
from PIL import Image

from dino_plugin.commands import machine
from dino_plugin.commands.machine import HEADERS, count_classes, list_images, look, median_side
from dino_plugin.data.views.split_of_work import num_cores


def test_the_side_is_the_median_of_the_shorter_sides_and_damaged_files_are_skipped(tmp_path):
    for number, size in enumerate([(10, 50), (60, 20), (30, 30), (40, 90), (99, 50)]):
        Image.new('RGB', size).save(tmp_path / f'{number}.png')
    (tmp_path / '9.jpg').write_bytes(b'no image')
    assert median_side(list_images(str(tmp_path))) == 30
    assert median_side(sorted(map(str, DAVIS.rglob('*.jpg')))) == 480


def test_files_that_are_no_images_are_refused(tmp_path):
    for number in range(3):
        (tmp_path / f'{number}.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'None of 3 images can be read.*0\.jpg'):
        look([str(tmp_path)])


def test_folders_of_the_first_level_are_classes_at_any_depth_below_and_loose_images_are_none(tmp_path):
    image = next(CIFAR.rglob('*.jpg'))
    for folder in ('one/deep/er', 'one', 'two'):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / folder)
    (tmp_path / 'without').mkdir()
    assert count_classes(list_images(str(tmp_path)), str(tmp_path)) == 2
    assert count_classes(list_images(str(tmp_path)), f'{tmp_path}/') == 2
    assert count_classes(list_images(str(tmp_path / 'one')), str(tmp_path / 'one')) == 0
    shutil.copy(image, tmp_path / 'loose.jpg')
    assert count_classes(list_images(str(tmp_path)), str(tmp_path)) == 0


def test_of_a_million_images_two_hundred_headers_are_read(monkeypatch, tmp_path):
    paths = [f'{tmp_path}/{number // 1000:04}/{number:07}.jpg' for number in range(1_000_000)]
    opened = []
    monkeypatch.setattr(machine, 'find_images', lambda folder: (paths, 0))
    monkeypatch.setattr(machine, 'check_header', lambda path: opened.append(path) or (375, 500))
    began = time.process_time()
    facts = look([str(tmp_path)])
    assert time.process_time() - began < 20
    assert (facts.images, facts.side, facts.classes) == (1_000_000, 375, 1000)
    assert len(opened) == HEADERS
    assert len({path.split('/')[-2] for path in opened}) == HEADERS, 'spread over the folders'


def test_the_gpus_are_those_of_this_training_and_the_smallest_counts(monkeypatch):
    class Properties:
        def __init__(self, memory: float) -> None:
            self.total_memory = memory

    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    assert look([str(CIFAR)]).gpus == 0
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: Properties([80e9, 24e9][device]))
    facts = look([str(CIFAR)])
    assert (facts.gpus, facts.gpu_memory, facts.cores) == (1, 24.0, num_cores())
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert look([str(CIFAR)]).gpus == 1, 'nobody has started two processes'
    assert look([str(CIFAR)], 'pytorch').gpus == 2
    monkeypatch.setenv('SLURM_NTASKS', '16')
    assert look([str(CIFAR)], 'slurm').gpus == 16
