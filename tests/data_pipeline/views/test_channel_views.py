"""Views of images of any number of channels: the boxes of RGB, colours that say what they change, every split alike."""

import random

import numpy as np
import pytest
import torch
from channel_images import FRAMES, five_channels
from torch.nn.functional import interpolate
from torchvision.transforms.functional import adjust_contrast, adjust_hue, adjust_saturation

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.collate import image_collate, masked_collate, multi_crop_collate
from dino_plugin.data.images.channel_levels import ValueRange
from dino_plugin.data.mmcv_transforms import MultiCropTransform, PackImage, PackViews, ResizeCentreCrop
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.channel_colour import apply_channel_change, change_channels
from dino_plugin.data.views.colour import LUMA, blur_kernel, blur_taps
from dino_plugin.data.views.fine_levels import STEPS, to_levels, to_steps
from dino_plugin.data.views.photometric import ColourChange, colour_recipe
from dino_plugin.data.views.unfinished_views import colour_row, pack_images

SIZES = dict(global_size=24, local_size=(16, 12), num_local=3)
IMAGE = ValueRange(bits=12)(five_channels(FRAMES[0]))
OTHERS = [ValueRange(bits=12)(five_channels(path, 50, 90)) for path in FRAMES[1:]]
TAPS = blur_taps(2.0)
CHANGES = {
    'brightness': ColourChange(jitter=(('brightness', 1.35),)),
    'contrast': ColourChange(jitter=(('contrast', 0.65),)),
    'saturation': ColourChange(jitter=(('saturation', 1.2),)),
    'hue': ColourChange(jitter=(('hue', -0.08),)),
    'greyscale': ColourChange(greyscale=True),
    'blur': ColourChange(blur_sigma=1.3),
    'solarisation': ColourChange(solarize_threshold=128),
}
EVERYTHING = ColourChange(
    jitter=(('contrast', 1.3), ('saturation', 0.85), ('hue', 0.06), ('brightness', 0.8)),
    blur_sigma=0.9,
    solarize_threshold=140,
)


def in_worker(image, change, rgb):
    changed = image.copy()
    apply_channel_change(changed, change, rgb)
    return changed


def on_device(image, change, rgb):
    levels = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    return change_channels(levels, torch.tensor([colour_row(change, TAPS)]), rgb)[0].permute(1, 2, 0).numpy()


def slowly(image, change, rgb):
    """One loop for each channel, from the definition of the operation; jitter of one operation."""
    channels = [image[..., channel].astype(float) for channel in range(image.shape[2])]
    triple = [channels[place] for place in rgb] if rgb else None
    luma = sum(weight * plane for weight, plane in zip(LUMA, triple)) if rgb else None
    for name, value in change.jitter:
        if name == 'brightness':
            channels = [value * plane for plane in channels]
        elif name == 'contrast':
            channels = [value * plane + (1 - value) * plane.mean() for plane in channels]
        elif name == 'saturation':
            for place, plane in zip(rgb, triple):
                channels[place] = value * plane + (1 - value) * luma
        channels = [plane.clip(0, 255) for plane in channels]
    if change.greyscale:
        for place in rgb:
            channels[place] = luma
    if change.blur_sigma:
        kernel = blur_kernel(change.blur_sigma)
        margin = len(kernel) // 2
        for axis in (0, 1):
            padded = [np.pad(plane, [(margin, margin) if axis == side else (0, 0) for side in (0, 1)], 'edge')
                      for plane in channels]  # fmt: skip
            length = channels[0].shape[axis]
            channels = [
                sum(weight * np.take(plane, range(tap, tap + length), axis) for tap, weight in enumerate(kernel))
                for plane in padded
            ]
    if change.solarize_threshold is not None:
        for place in rgb:
            plane = channels[place]
            channels[place] = np.where(plane < change.solarize_threshold, plane, 255 - plane)
    return np.stack(channels, axis=2)


@pytest.mark.parametrize('apply', [in_worker, on_device])
@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation', 'greyscale', 'blur', 'solarisation'])
def test_each_operation_is_its_definition_channel_by_channel(apply, name):
    assert np.allclose(apply(IMAGE, CHANGES[name], (2, 0, 3)), slowly(IMAGE, CHANGES[name], (2, 0, 3)), atol=1e-3)


@pytest.mark.parametrize('apply', [in_worker, on_device])
@pytest.mark.parametrize('channels', [1, 2, 4, 13])
@pytest.mark.parametrize('name', ['brightness', 'contrast', 'blur'])
def test_operations_on_every_channel_need_no_names(apply, channels, name):
    image = np.ascontiguousarray(np.tile(IMAGE, 3)[..., :channels])
    assert np.allclose(apply(image, CHANGES[name], None), slowly(image, CHANGES[name], None), atol=1e-3)


@pytest.mark.parametrize('apply', [in_worker, on_device])
@pytest.mark.parametrize('name', ['saturation', 'hue', 'greyscale', 'solarisation'])
def test_operations_on_colours_leave_the_other_channels_alone_and_take_the_triple_in_its_order(apply, name):
    changed = apply(IMAGE, CHANGES[name], (0, 1, 2))
    assert np.array_equal(changed[..., 3:], IMAGE[..., 3:])
    assert np.abs(changed[..., :3] - IMAGE[..., :3]).mean() > 1
    order = [4, 2, 3, 1, 0]  # red, green and blue are now 4, 3 and 1
    assert np.allclose(apply(np.ascontiguousarray(IMAGE[..., order]), CHANGES[name], (4, 3, 1)), changed[..., order])


@pytest.mark.parametrize('apply', [in_worker, on_device])
def test_the_colours_of_rgb_are_those_of_torchvision(apply):
    rgb = torch.from_numpy(IMAGE[..., :3] / 255).permute(2, 0, 1)
    for name, function, value in (('hue', adjust_hue, 20 / 256), ('saturation', adjust_saturation, 1.2)):
        expected = 255 * function(rgb, value).permute(1, 2, 0).numpy()
        share = 20 / 255 + 1e-6 if name == 'hue' else value  # whole steps of 256 on the circle
        changed = apply(IMAGE, ColourChange(jitter=((name, share),)), (0, 1, 2))[..., :3]
        assert np.abs(changed - expected).mean() < 0.05
    one = torch.from_numpy(IMAGE[..., 3:4] / 255).permute(2, 0, 1)
    expected = 255 * adjust_contrast(one, 0.65).permute(1, 2, 0).numpy()
    assert np.allclose(apply(IMAGE, CHANGES['contrast'], None)[..., 3:4], expected, atol=1e-3)


@pytest.mark.parametrize('rgb', [(0, 1, 2), (3, 1, 4)])
def test_worker_and_device_make_the_same_colours(rgb):
    for change in [*CHANGES.values(), EVERYTHING]:
        assert np.abs(in_worker(IMAGE, change, rgb) - on_device(IMAGE, change, rgb)).mean() < 0.02


def views_of(image, split='worker', seed=0, **arguments):
    crop = MultiCrop(**(SIZES | dict(photometric='channels') | arguments), split=split)
    random.seed(seed)
    return crop.sample(image)


@pytest.mark.parametrize('channels', [1, 2, 4, 5, 13])
def test_a_channel_is_cut_as_if_it_was_alone(channels):
    image = np.ascontiguousarray(np.tile(IMAGE, 3)[..., :channels])
    blocks = views_of(image, seed=3, anchor_size=30)
    for channel in range(channels):
        alone = views_of(np.ascontiguousarray(image[..., channel : channel + 1]), seed=3, anchor_size=30)
        for block, of_one in zip(blocks, alone, strict=True):
            assert block.dtype == torch.int16
            difference = (block[..., channel : channel + 1] - of_one).abs()
            assert difference.max() <= 1, 'the mean of a channel, which contrast needs, is rounded'
            assert (difference > 0).float().mean() < 0.01


def drawn_once(monkeypatch, seed):
    """The views of one draw for every image: beartype, too, takes random numbers, at other places in other versions."""
    random.seed(seed)
    views = list(MultiCrop(**SIZES, photometric='none').draw(*IMAGE.shape[:2]))
    monkeypatch.setattr(MultiCrop, 'draw', lambda self, rows, columns: iter(views))
    return views


def test_a_box_shows_what_it_shows_of_rgb(monkeypatch):
    levels = np.rint(IMAGE[..., :3]).astype(np.uint8)
    for seed in range(8):
        with monkeypatch.context() as patch:
            drawn_once(patch, seed)
            ordinary = views_of(levels, seed=seed, photometric='none')
            channels = views_of(levels.astype(np.float32), seed=seed, photometric='none')
        for block, fine in zip(ordinary, channels, strict=True):
            assert (to_levels(fine) - block.float()).abs().mean() < 0.5, 'half a level of rounding'


def test_a_view_is_the_resized_box(monkeypatch):
    boxes = [(view.box, view.flip) for view in drawn_once(monkeypatch, 5)]
    views = views_of(IMAGE, seed=5, photometric='none')
    assert {flip for _, flip in boxes} == {True, False}
    for (box, flip), view in zip(boxes, [*views[0], *views[1]], strict=True):
        part = IMAGE[box.top : box.top + box.rows, box.left : box.left + box.columns]
        part = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].double()
        part = part.flip(-1) if flip else part
        expected = interpolate(part, view.shape[:2], mode='bicubic', antialias=True).clamp(0, 255)[0].permute(1, 2, 0)
        assert (to_levels(view) - expected).abs().max() < 0.5 / STEPS + 1e-3


@pytest.mark.parametrize('split', ['device', 'decode'])
@pytest.mark.parametrize('arguments', [{}, dict(photometric='paper', rgb_channels=(0, 1, 2), anchor_size=30)])
def test_the_device_finishes_the_views_that_a_worker_makes(split, arguments):
    images = [IMAGE, *OTHERS]
    mean, std = [100.0, 90, 80, 128, 127], [50.0, 51, 52, 10, 11]
    found = []
    for way in ('worker', split):
        samples = [views_of(image, way, seed, **arguments) for seed, image in enumerate(images)]
        found.append(ViewPreprocessor(mean, std)(multi_crop_collate(samples))['views'])
    for name in ('global_views', 'local_views', 'anchor_views'):
        expected, finished = (getattr(views, name) for views in found)
        if expected is None:
            assert finished is None
            continue
        assert finished.shape == expected.shape
        levels = (finished - expected).abs() * torch.tensor(std)[:, None, None]
        assert levels.mean() < 0.3, 'grey levels'


def test_a_packed_batch_holds_every_number_of_images_of_all_sizes():
    images = [to_steps(image).numpy() for image in (IMAGE, *OTHERS)]
    pixels, stacks, order = pack_images(images)
    places = iter(order.tolist())
    for stack in stacks:
        shape = stack.images, stack.rows, stack.columns, stack.channels
        for slot in pixels[stack.start :][: np.prod(shape)].view(shape).numpy():
            image = images[next(places)]
            rows, columns, _ = image.shape
            assert np.array_equal(slot[:rows, :columns], image)
            assert not slot[rows:].any()
            assert not slot[:, columns:].any()
    with pytest.raises(ValueError, match='different channels or types'):
        pack_images([images[0], images[1][..., :4].copy()])
    with pytest.raises(ValueError, match='different channels or types'):
        pack_images([images[0], images[1].astype(np.uint8)])


def test_masks_depend_on_the_image_in_every_split():
    for split in ('worker', 'device', 'decode'):
        collate = [
            masked_collate([views_of(image, split, seed=1)] * 2, patch_size=8, share=1.0, min_patches=1)
            for image in (IMAGE, IMAGE, 255 - IMAGE)
        ]
        assert torch.equal(collate[0].masks, collate[1].masks)
        assert not torch.equal(collate[0].masks, collate[2].masks)


def test_a_step_of_a_sensor_survives_the_way_to_the_network():
    steps = np.arange(4096, dtype=np.uint16).reshape(64, 64, 1)
    results = dict(img=ValueRange(bits=12)(steps), channel_order='as_stored')
    packed, label, path = PackImage()(results)
    images = ViewPreprocessor([0.0], [1.0])(image_collate([(packed, label, path)]))['images']
    assert len(images.unique()) == 4096
    assert np.allclose(images[0, 0], 255.0 * steps[..., 0] / 4095, atol=0.5 / STEPS + 1e-4)


def test_levels_are_normalised_channel_by_channel():
    mean, std = [100.0, 90, 80, 128, 127], [50.0, 51, 52, 10, 11]
    blocks = views_of(IMAGE, photometric='none')
    views = ViewPreprocessor(mean, std)(multi_crop_collate([blocks]))['views']
    expected = (blocks[0].double() / STEPS - torch.tensor(mean)) / torch.tensor(std)
    assert torch.allclose(views.global_views[:, 0].double(), expected.permute(0, 3, 1, 2), atol=1e-5)


def test_the_evaluation_view_is_resized_and_cut_and_keeps_its_order():
    results = ResizeCentreCrop(40, 32)(dict(img=IMAGE, channel_order='as_stored'))
    rows, columns = 40, int(40 * 80 / 60)
    whole = torch.from_numpy(IMAGE).permute(2, 0, 1)[None]
    expected = interpolate(whole, (rows, columns), mode='bicubic', antialias=True).clamp(0, 255)[0].permute(1, 2, 0)
    assert np.allclose(results['img'], expected[4:36, 10:42], atol=1e-3)
    again = PackImage()(results)[0]
    assert torch.equal(again, to_steps(results['img']))


def test_colours_without_a_rule_are_refused_in_words():
    for photometric in ('paper', 'as_trained', dict(preset='channels', hue=0.1)):
        for split in ('worker', 'device', 'decode'):
            with pytest.raises(
                ValueError, match=r"hue.*5 channels without names. Set photometric='channels'.*\(2, 1, 0\)"
            ):
                views_of(IMAGE, split, photometric=photometric)
    for change in (dict(saturation=0.2), dict(greyscale_probability=0.1), dict(solarize_probability=0.1)):
        with pytest.raises(ValueError, match=rf'photometric has {next(iter(change))[:6]}'):
            views_of(IMAGE, photometric=dict(preset='channels', **change))
    with pytest.raises(ValueError, match=r'rgb_channels=\(5, 1, 2\) in an image of 5 channels'):
        views_of(IMAGE, rgb_channels=(5, 1, 2))
    for rgb in ((0, 1), (0, 1, 1), (0, 1, -1)):
        with pytest.raises(ValueError, match='the places of red, green and blue'):
            MultiCrop(rgb_channels=rgb)


def test_the_preset_for_channels_is_the_papers_without_what_only_colours_have():
    paper, channels = colour_recipe('paper'), colour_recipe('channels')
    only_rgb = dict(saturation=0.2, hue=0.1, greyscale_probability=0.2)
    assert colour_recipe(dict(preset='channels', **only_rgb, global_2=dict(solarize_probability=0.2))) == paper
    assert channels.global_1.blur_probability == 1.0
    blocks = views_of(IMAGE, photometric='channels')
    assert not torch.equal(blocks[0], views_of(IMAGE, photometric='none')[0])


@pytest.mark.parametrize('split', ['worker', 'device', 'decode'])
def test_levels_outside_of_the_range_are_refused(split):
    for image, message in (
        (IMAGE / 255 - 0.5, 'got -0'),
        (16 * IMAGE, r'levels in \[0, 255\]'),
        (np.where(IMAGE > 100, np.float32('nan'), IMAGE), 'got nan'),
        (IMAGE[..., 0], r'\(60, 80\)'),
        (IMAGE[:0], r'\(0, 80, 5\)'),
    ):
        with pytest.raises(ValueError, match=message):
            views_of(image.astype(np.float32), split)


def test_as_a_callable_for_lightly_only_rgb_is_taken():
    with pytest.raises(TypeError, match='normalises RGB in uint8, got float32'):
        MultiCrop(**SIZES, photometric='channels')(IMAGE)


@pytest.mark.parametrize('split', ['worker', 'device', 'decode'])
def test_sharp_edges_stay_between_black_and_white(split):
    stripes = np.zeros((60, 80, 2), np.float32)
    stripes[:, np.arange(80) // 20 % 2 == 0] = 255
    sample = views_of(stripes, split, photometric='none')
    views = ViewPreprocessor([0.0] * 2, [1.0] * 2)(multi_crop_collate([sample]))['views']
    assert views.global_views.min() == 0
    assert views.global_views.max() == 255, 'bicubic alone would overshoot'


def test_colours_on_a_device_leave_their_argument_alone():
    levels = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].contiguous()
    before = levels.clone()
    for change in [*CHANGES.values(), EVERYTHING]:
        change_channels(levels, torch.tensor([colour_row(change, TAPS)]), (0, 1, 2))
        assert torch.equal(levels, before)


def test_the_image_itself_is_not_changed():
    before = IMAGE.copy()
    for split in ('worker', 'device', 'decode'):
        views_of(IMAGE, split, seed=2)
    assert np.array_equal(IMAGE, before)


def test_other_channels_than_those_of_mean_and_std_are_refused_with_the_cure():
    for split in ('worker', 'device', 'decode'):
        batch = multi_crop_collate([views_of(IMAGE, split)])
        for mean in ([0.0] * 3, [0.0]):  # a single number would be taken for all channels
            with pytest.raises(TypeError, match='tools/measure_normalisation'):
                ViewPreprocessor(mean, [1.0] * len(mean))(batch)


def test_samples_of_other_channels_in_one_batch_are_refused():
    four = np.ascontiguousarray(IMAGE[..., :4])
    for split in ('worker', 'device', 'decode'):
        with pytest.raises(ValueError, match=r'different (shapes|channels)'):
            multi_crop_collate([views_of(IMAGE, split), views_of(four, split)])
    one_has_colours = [views_of(IMAGE, 'device', rgb_channels=rgb) for rgb in (None, (0, 1, 2))]
    with pytest.raises(ValueError, match='give all the same'):
        multi_crop_collate(one_has_colours)


def test_the_pipeline_packs_views_of_every_split():
    for split in ('worker', 'device', 'decode'):
        transform = MultiCropTransform(**SIZES, photometric='channels', split=split)
        random.seed(0)
        sample = PackViews()(transform(dict(img=IMAGE, channel_order='as_stored')))
        assert isinstance(multi_crop_collate([sample]), ViewBatch)
        expected = views_of(IMAGE, split)
        if split == 'worker':
            assert all(map(torch.equal, sample, expected))
        else:
            assert torch.equal(sample.boxes, expected.boxes)
