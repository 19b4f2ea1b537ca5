"""Whoever makes the views, worker or device: the same parameters are drawn, and the same views come out."""

import os
import random

import numpy as np
import pytest
import torch
from bundled import DATA
from image_folders import copy_images
from mmengine.dataset import Compose
from PIL import Image
from torch.utils.data import DataLoader

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.collate import masked_collate, multi_crop_collate, views_to_lightly
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.multi_pipeline_dataset import MultiPipelineDataset
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.mmcv_transforms import LoadImage, MultiCropTransform, PackViews
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views import split_of_work as split_module
from dino_plugin.data.views.split_of_work import FEWEST_CORES, chosen_split
from dino_plugin.data.views.unfinished_views import UnfinishedSample, stack_unfinished
from dino_plugin.visualization.contact_sheet import views_of_sample, views_sheet

FRAMES = [np.array(Image.open(path)) for path in sorted((DATA / 'davis/JPEGImages/480p').glob('*/00000.jpg'))]
PHOTO = np.array(Image.open(next(iter(sorted((DATA / 'cifar10_mini/test').glob('*/*.jpg'))))))
RAGGED = [
    FRAMES[0][::2, ::2],
    PHOTO,
    FRAMES[1][:200, 300:],
    FRAMES[2][100:, :90],
    FRAMES[0][::2, ::2][:, ::-1],
    PHOTO[:9],
]
SMALL = dict(global_size=(64, 56), local_size=32, num_local=3)
ALL = ('worker', 'device', 'decode')
DEFERRED = pytest.mark.parametrize('split', ALL[1:])
LEVELS = dict(mean=[0, 0, 0], std=[1, 1, 1])


def samples_of(split, images=RAGGED, seed=0, **arguments):
    crop, samples = MultiCrop(**SMALL | arguments, split=split), []
    for number, image in enumerate(images):
        random.seed(f'{seed} {number}')  # for each: beartype, too, draws from this generator, to check what is returned
        samples.append(crop.sample(image))
    return samples


def finished(samples, collate=multi_crop_collate):
    return ViewPreprocessor(**LEVELS)(collate(samples))['views']


def errors(batch, expected):
    """Mean absolute difference of each view, in grey levels."""
    for name in ('global_views', 'local_views', 'anchor_views'):
        ours, theirs = getattr(batch, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            yield from (ours - theirs).abs().mean(dim=(2, 3, 4)).flatten().tolist()


@DEFERRED
@pytest.mark.parametrize('photometric', ['paper', 'as_trained', 'none'])
def test_the_views_are_those_of_the_worker(split, photometric):
    for seed in range(3):
        batch, expected = (finished(samples_of(s, photometric=photometric, seed=seed)) for s in (split, 'worker'))
        found = list(errors(batch, expected))
        assert np.mean(found) < 0.5
        assert max(found) < (2.5 if photometric != 'none' else 1), 'solarisation at the threshold, of tiny images'


def test_cut_and_resized_in_the_worker_they_are_equal_without_colours():
    batch, expected = (finished(samples_of(split, photometric='none')) for split in ('device', 'worker'))
    assert max(errors(batch, expected)) == 0


@pytest.mark.parametrize('anchor_size', [None, 96])
def test_the_same_numbers_are_drawn_in_the_same_order(monkeypatch, anchor_size):
    drawn, states = [], []
    original = MultiCrop.draw

    def spy(self, rows, columns):
        views = list(original(self, rows, columns))
        drawn[-1].append(views)
        return iter(views)

    monkeypatch.setattr(MultiCrop, 'draw', spy)
    for split in ALL:
        source = random.Random(7)  # of their own: the tests' type checker draws from the global generator
        for module in ('views.crop_boxes', 'multi_crop', 'views.photometric'):
            monkeypatch.setattr(f'dino_plugin.data.{module}.random', source)
        drawn.append([])
        samples_of(split, anchor_size=anchor_size)
        states.append(source.getstate())
    assert drawn[0] == drawn[1] == drawn[2]
    assert states[0] == states[1] == states[2]


@DEFERRED
def test_anchor_views_have_no_colours(split):
    arguments = dict(anchor_size=(96, 80))
    batch, expected = (finished(samples_of(s, **arguments)) for s in (split, 'worker'))
    assert batch.anchor_views.shape == (2, len(RAGGED), 3, 96, 80)
    anchors = (ViewBatch(views.anchor_views) for views in (batch, expected))
    assert max(errors(*anchors)) < 0.6
    assert np.mean(list(errors(batch, expected))) < 0.5


@DEFERRED
def test_without_local_views_there_are_none(split):
    batch, expected = (finished(samples_of(s, num_local=0)) for s in (split, 'worker'))
    assert batch.local_views is None
    assert np.mean(list(errors(batch, expected))) < 0.5


@DEFERRED
def test_after_the_preprocessor_nothing_tells_who_made_them(split):
    batch, expected = finished(samples_of(split)), finished(samples_of('worker'))
    assert batch.unfinished is None
    for ours, theirs in ((batch.global_views, expected.global_views), (batch.local_views, expected.local_views)):
        assert ours.stride() == theirs.stride()
    views, _, _ = views_to_lightly(batch)
    assert len(views) == 5


def test_a_batch_carries_bytes_and_one_table_of_numbers():
    device, decode = (multi_crop_collate(samples_of(split)) for split in ('device', 'decode'))
    assert device.global_views.dtype == device.local_views.dtype == torch.uint8
    assert device.unfinished.images is None
    assert device.unfinished.colours.shape[:2] == (5, len(RAGGED))
    assert decode.global_views.shape == (2, len(RAGGED), 0, 0, 3), 'the number of images is known, not a pixel is there'
    assert decode.unfinished.images.pixels.dtype == torch.uint8


@DEFERRED
def test_masks_fit_the_finished_views_and_are_a_function_of_the_samples(split):
    def collate(samples):
        return masked_collate(samples, patch_size=8, share=1.0)

    batch = finished(samples_of(split), collate)
    assert batch.masks.shape == (2, len(RAGGED), 8, 7)
    assert torch.equal(batch.mask_indices, batch.masks.flatten().nonzero()[:, 0])
    torch.manual_seed(99)
    assert torch.equal(collate(samples_of(split)).masks, batch.masks)
    assert not torch.equal(collate(samples_of(split, seed=1)).masks, batch.masks)
    assert not torch.equal(collate(samples_of(split, images=RAGGED[::-1])).masks, batch.masks)


class Pictures:
    def __init__(self, split):
        self.crop = MultiCrop(**SMALL, split=split, anchor_size=64)

    def __len__(self):
        return len(RAGGED)

    def __getitem__(self, index):
        return self.crop.sample(RAGGED[index])


def first_batch(split, num_workers):
    (batch,) = DataLoader(
        SeededDataset(Pictures(split)),
        len(RAGGED),
        sampler=[(index, 100 + index) for index in range(len(RAGGED))],
        num_workers=num_workers,
        collate_fn=multi_crop_collate,
    )
    return batch


@DEFERRED
def test_from_a_worker_process_the_batch_is_the_same_and_arrives_in_shared_memory(split):
    batch = first_batch(split, 1)
    assert isinstance(batch, ViewBatch)
    assert (batch.global_views if split == 'device' else batch.unfinished.images.pixels).is_shared()
    ours, theirs = (ViewPreprocessor(**LEVELS)(loaded)['views'] for loaded in (batch, first_batch(split, 0)))
    assert max(errors(ours, theirs)) == 0
    worker = ViewPreprocessor(**LEVELS)(first_batch('worker', 1))['views']
    assert np.mean(list(errors(ours, worker))) < 0.5


def test_mixed_precision_around_the_step_does_not_reach_the_levels():
    for split in ALL[1:]:
        expected = finished(samples_of(split))
        with torch.autocast('cpu', torch.bfloat16):
            assert max(errors(finished(samples_of(split)), expected)) == 0


@DEFERRED
def test_everything_moves_to_the_device_of_the_model(split):
    batch = multi_crop_collate(samples_of(split, anchor_size=96))
    views = ViewPreprocessor().to('meta')(batch)['views']
    for block in (views.global_views, views.local_views, views.anchor_views):
        assert block.device.type == 'meta'
    assert views.global_views.shape == (2, len(RAGGED), 3, 64, 56)


@pytest.fixture
def folder(tmp_path):
    copy_images(tmp_path, 'a/1.jpg', 'b/2.jpg', 'c/3.jpg')
    return tmp_path


def pipeline_of(split, **arguments):
    return [LoadImage(), MultiCropTransform(**SMALL | arguments, split=split), PackViews()]


@DEFERRED
def test_the_pipeline_gives_unfinished_samples_and_a_sheet_shows_finished_views(split, folder):
    datasets = [ImageDataset(data_root=str(folder), pipeline=pipeline_of(s, anchor_size=64)) for s in (split, 'worker')]
    ours, theirs = (SeededDataset(dataset)[0, 5] for dataset in datasets)
    assert isinstance(ours, UnfinishedSample)
    shown, expected = views_of_sample(ours), views_of_sample(theirs)
    assert [view.shape for view in shown] == [view.shape for view in expected]
    assert max(np.abs(a.astype(float) - b).mean() for a, b in zip(shown, expected)) < 1.5
    sheets = [views_sheet(dataset, 2) for dataset in datasets]
    assert sheets[0].shape == sheets[1].shape
    assert np.abs(sheets[0].astype(float) - sheets[1]).mean() < 0.5


@DEFERRED
def test_pipelines_of_several_sizes_each_make_their_batches(split, folder):
    pipelines = [pipeline_of(split), pipeline_of(split, global_size=96, local_size=48)]
    dataset = SeededDataset(
        MultiPipelineDataset(dict(type='dino_plugin.ImageDataset', data_root=str(folder)), pipelines)
    )
    for choice, sizes in enumerate([((64, 56), (32, 32)), ((96, 96), (48, 48))]):
        views = finished([dataset[3 * choice + number, number] for number in range(3)])
        assert (views.global_views.shape[-2:], views.local_views.shape[-2:]) == sizes
    with pytest.raises(ValueError, match='different numbers or sizes of views'):
        multi_crop_collate([dataset[0, 0], dataset[3, 0]])


def test_samples_of_two_splits_in_one_batch_are_refused():
    with pytest.raises(ValueError, match='or splits, in one batch'):
        stack_unfinished([samples_of(split)[0] for split in ALL[1:]])


@DEFERRED
def test_the_callable_of_lightlys_loops_refuses_unfinished_views(split):
    with pytest.raises(ValueError, match=f"finished views, got split='{split}': leave split out, or use"):
        MultiCrop(split=split)(PHOTO)


@DEFERRED
def test_blocks_are_finished_views_whatever_the_split(split):
    crops = [MultiCrop(**SMALL, split=s) for s in (split, 'worker')]
    found = []
    for crop in crops:
        random.seed(4)
        found.append(crop.blocks(PHOTO))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize('split', ['gpu', '', 'Worker'])
def test_an_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match="'auto' or one of 'worker', 'device', 'decode', got"):
        MultiCrop(split=split)


@DEFERRED
def test_what_is_no_image_is_refused_in_every_split(split):
    with pytest.raises(ValueError, match='greyscale'):
        MultiCropTransform(split=split)(dict(img=PHOTO[..., 0]))
    with pytest.raises(TypeError, match='got float'):
        MultiCrop(split=split).sample(PHOTO / 255)


class TestAuto:
    @pytest.mark.parametrize(
        ('device', 'cores', 'processes', 'expected'),
        [
            ('cpu', 64, '1', 'worker'),
            ('cuda', FEWEST_CORES, None, 'device'),
            ('cuda', 64, '8', 'device'),
            ('cuda', FEWEST_CORES - 1, None, 'decode'),
            ('cuda', 16, '4', 'decode'),
        ],
    )
    def test_gpu_and_cores_for_each_process_decide_and_the_log_says_why(
        self, monkeypatch, log, device, cores, processes, expected
    ):
        monkeypatch.setattr(split_module, 'get_device', lambda: device)
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(cores)))
        monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
        if processes:
            monkeypatch.setenv('LOCAL_WORLD_SIZE', processes)
        assert MultiCropTransform(split='auto').multi_crop.split == expected
        (line,) = (line for line in log().splitlines() if 'auto' in line)
        assert f"split='{expected}'" in line
        assert ('no GPU' if device == 'cpu' else f'{cores // int(processes or 1)} CPU cores') in line

    def test_a_split_by_name_is_taken_without_a_word(self, log):
        assert [chosen_split(split) for split in ALL] == list(ALL)
        assert 'split' not in log()

    def test_without_being_asked_the_worker_does_it_all(self):
        assert MultiCrop().split == 'worker'
        assert isinstance(Compose(pipeline_of('worker'))(dict(img_path=str(folder_picture()))), tuple)


def folder_picture():
    return next(iter(sorted((DATA / 'cifar10_mini/test').glob('*/*.jpg'))))
