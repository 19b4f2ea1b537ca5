"""Anchor views show what the global views show, without their colours; on their way, nothing else changes."""

import random

import numpy as np
import pytest
import torch
from bundled import DATA
from mmengine.dataset import Compose
from PIL import Image
from view_samples import block, block_samples, list_samples

from dino_plugin.data.collate import masked_collate, multi_crop_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.mmcv_transforms import LoadImage, MultiCropTransform, PackViews
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.photometric import ColourChange
from dino_plugin.visualization.contact_sheet import GAP, LABEL_HEIGHT, views_of_sample, views_sheet

FRAME = np.array(Image.open(next(iter(sorted(DATA.glob('davis/JPEGImages/480p/*/00000.jpg'))))).convert('RGB'))
SIZES = [(32, 32), (48, 24)]


def views_of(seed, anchor_size=None, global_size=(32, 32), **arguments):
    crop = MultiCrop(global_size, local_size=(16, 8), num_local=3, anchor_size=anchor_size, **arguments)
    random.seed(seed)
    return crop.blocks(FRAME)


@pytest.mark.parametrize('size', SIZES)
def test_of_the_same_size_and_without_colour_changes_they_are_the_global_views_bit_for_bit(size):
    for seed in range(5):
        global_block, _, anchor_block = views_of(seed, size, size, photometric='none')
        assert torch.equal(anchor_block, global_block)


@pytest.mark.parametrize('size', SIZES)
def test_they_are_the_global_views_without_their_colours(size, monkeypatch):
    """The same numbers are drawn, boxes and flips; then the drawn colours are left out."""
    with monkeypatch.context() as patch:
        draw = MultiCrop.draw
        patch.setattr(
            MultiCrop,
            'draw',
            lambda self, *shape: (view._replace(colour=ColourChange()) for view in draw(self, *shape)),
        )
        uncoloured = [views_of(seed, None, size)[0] for seed in range(5)]
    for seed, expected in enumerate(uncoloured):
        global_block, _, anchor_block = views_of(seed, size, size)
        assert torch.equal(anchor_block, expected)
        assert not torch.equal(anchor_block, global_block)


@pytest.mark.parametrize(('size', 'anchor_size'), [((32, 32), (64, 64)), ((24, 40), (48, 80)), ((20, 20), (30, 60))])
def test_larger_ones_show_the_same_boxes_with_the_same_flips(size, anchor_size):
    for seed in range(5):
        global_block, _, anchor_block = views_of(seed, anchor_size, size, photometric='none')
        assert anchor_block.shape == (2, *anchor_size, 3)
        channels_first = anchor_block.permute(0, 3, 1, 2).float()
        shrunk = torch.nn.functional.interpolate(channels_first, size, mode='bicubic', antialias=True)
        difference = (shrunk.permute(0, 2, 3, 1) - global_block.float()).abs()
        mirrored = (shrunk.flip(-1).permute(0, 2, 3, 1) - global_block.float()).abs()
        assert difference.mean() < 3 < mirrored.mean()


@pytest.mark.parametrize('photometric', ['paper', 'none'])
def test_no_random_number_is_drawn_for_them(photometric, monkeypatch):
    """So that the other views, of this image and of those after it, are the same with them and without."""
    drawn = []
    for anchor_size in (None, 64):
        source = random.Random(7)  # of their own: the tests' type checker draws from the global generator
        for module in ('views.crop_boxes', 'multi_crop'):
            monkeypatch.setattr(f'dino_plugin.data.{module}.random', source)
        monkeypatch.setattr('dino_plugin.data.views.photometric.random', source)
        drawn.append((views_of(0, anchor_size, photometric=photometric), source.getstate()))
    (without, state), (blocks, state_with) = drawn
    assert state_with == state
    assert len(without) == 2
    assert len(blocks) == 3
    assert all(torch.equal(a, b) for a, b in zip(without, blocks))


def test_a_list_of_views_has_none_of_them():
    """Lightly's loops would take them for global or local views."""
    random.seed(3)
    expected = MultiCrop(32, local_size=16, num_local=2)(FRAME)
    random.seed(3)
    views = MultiCrop(32, local_size=16, num_local=2, anchor_size=64)(FRAME)
    assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))


@pytest.mark.parametrize('anchor_size', [31, (64, 20), (20, 64)])
def test_smaller_ones_than_the_global_views_are_refused(anchor_size):
    with pytest.raises(ValueError, match='is smaller than global_size=32'):
        MultiCrop(32, anchor_size=anchor_size)


def samples(batch=5, num_local=6):
    return [(*blocks, block(2, 28, 24, 500 + number)) for number, blocks in enumerate(block_samples(batch, num_local))]


@pytest.mark.parametrize('num_local', [6, 0])
def test_the_collate_stacks_them_and_the_rest_as_without_them(num_local):
    with_anchors, without = samples(num_local=num_local), block_samples(num_local=num_local)
    batch, plain = multi_crop_collate(with_anchors), multi_crop_collate(without)
    assert batch.anchor_views.shape == (2, 5, 28, 24, 3)
    for number, sample in enumerate(with_anchors):
        assert torch.equal(batch.anchor_views[:, number], sample[2])
    assert plain.anchor_views is None
    assert torch.equal(batch.global_views, plain.global_views)
    assert (batch.local_views is None) == (num_local == 0)
    assert num_local == 0 or torch.equal(batch.local_views, plain.local_views)


def test_masks_of_the_global_views_leave_them_alone():
    batch = masked_collate(samples(), patch_size=2)
    assert torch.equal(batch.anchor_views, multi_crop_collate(samples()).anchor_views)
    assert batch.masks.shape == (2, 5, 7, 6)


def test_lightlys_samples_of_three_are_no_blocks():
    batch = multi_crop_collate(list_samples())
    assert batch.anchor_views is None
    assert batch.global_views.is_floating_point()
    with pytest.raises(TypeError, match=r'got tuple\(torch\.uint8 \(2, 8, 8, 3\), int, str\)'):
        multi_crop_collate([(block(2, 8, 8, 0), 3, 'a.jpg')])


def test_some_samples_without_them_are_refused():
    with pytest.raises(ValueError, match='2 of 5 samples have no anchor views'):
        multi_crop_collate([*samples(3), *block_samples(2)])


def test_different_sizes_in_one_batch_are_named():
    odd = (*block_samples(1)[0], block(2, 30, 24, 0))
    with pytest.raises(ValueError, match=r'anchor views of different shapes .*\(2, 30, 24, 3\)'):
        multi_crop_collate([*samples(2), odd])


def test_the_preprocessor_normalises_them_as_global_views():
    batch = multi_crop_collate(samples())
    views = ViewPreprocessor()(batch)['views']
    expected = ViewPreprocessor()(batch._replace(global_views=batch.anchor_views))['views'].global_views
    assert views.anchor_views.dtype == torch.float32
    assert views.anchor_views.shape == (2, 5, 3, 28, 24)
    assert torch.equal(views.anchor_views, expected)


SMALL = dict(global_size=(32, 40), local_size=16, num_local=2, anchor_size=(64, 80))


def test_the_pipeline_carries_them_from_the_file_to_the_model():
    path = next(iter(sorted(DATA.glob('cifar10_mini/test/*/*.jpg'))))
    pipeline = Compose([LoadImage(), MultiCropTransform(**SMALL), PackViews()])
    crop, image, packed = MultiCrop(**SMALL), np.array(Image.open(path)), []
    for seed in range(2):
        random.seed(seed)
        packed.append(pipeline(dict(img_path=str(path))))
        random.seed(seed)
        assert all(torch.equal(a, b) for a, b in zip(packed[-1], crop.blocks(image), strict=True))
    views = ViewPreprocessor()(multi_crop_collate(packed))['views']
    assert views.anchor_views.shape == (2, 2, 3, 64, 80)


def test_a_contact_sheet_shows_them_last():
    sample = samples(1)[0]
    shown = views_of_sample(sample)
    assert len(shown) == 10
    assert all(np.array_equal(view, pixels.numpy()) for view, pixels in zip(shown[-2:], sample[2], strict=True))
    dataset = ImageDataset(
        data_root=str(DATA / 'cifar10_mini/test'),
        pipeline=[LoadImage(), MultiCropTransform(global_size=96, num_local=0, anchor_size=192), PackViews()],
    )
    sheet = views_sheet(dataset, 1)
    assert sheet.shape == (LABEL_HEIGHT + 96 + GAP + 96 + GAP, 96 + 2 * 192 + 4 * GAP, 3), 'two columns beside one'
    last = views_of_sample(SeededDataset(dataset)[0, 0])[-1]
    assert np.array_equal(sheet[LABEL_HEIGHT : LABEL_HEIGHT + 192, -GAP - 192 : -GAP], last)
