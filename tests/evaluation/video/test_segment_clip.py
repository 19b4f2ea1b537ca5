"""From frames on disk to masks: the protocol around label propagation."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate, unfold
from video_clips import mask_path, small_clips

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.views import Tokens
from dino_plugin.data.images.label_masks import read_mask, write_mask
from dino_plugin.evaluation.features.extraction import network_size, stream_patches
from dino_plugin.evaluation.video import segment_clip as segment_clip_module
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
from dino_plugin.evaluation.video.propagation import LabelPropagator
from dino_plugin.evaluation.video.scores import evaluate_clip, global_results
from dino_plugin.evaluation.video.segment_clip import copy_first_mask, labels_of_mask, mask_of_labels, segment_clip


class PatchPixels(nn.Module):
    """A network that knows nothing but the pixels of a patch."""

    def __init__(self, patch=4):
        super().__init__()
        self.patch_size = (patch, patch)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        patches = unfold(images, self.patch_size, stride=self.patch_size).transpose(1, 2)
        grid = [side // self.patch_size[0] for side in images.shape[2:]]
        return Tokens(patches[:, 0], patches.unflatten(1, grid))


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    return DAVISDataset(small_clips(tmp_path_factory.mktemp('clips')))


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('patch', 'size', 'options', 'expected'),
    [
        (16, (480, 854), {}, (480, 832)),
        (8, (480, 854), {}, (480, 832)),
        (16, (1920, 1080), {}, (832, 480)),
        (16, (500, 500), {}, (480, 480)),
        (14, (480, 854), {}, (476, 826)),
        (16, (480, 854), dict(short_side=960, multiple=16), (960, 1696)),
        (16, (480, 854), dict(short_side=32), (32, 48)),
    ],
)
def test_the_network_sees_whole_patches_and_the_longer_side_in_steps_of_64(patch, size, options, expected):
    assert network_size(PatchPixels(patch), size, **options) == expected


def test_a_side_shorter_than_a_patch_is_refused():
    with pytest.raises(ValueError, match=r'short_side=8 is less than one patch of \(16, 16\)'):
        network_size(PatchPixels(16), (480, 854), short_side=8)


def test_patches_come_one_image_at_a_time_and_leave_the_network_as_it_was():
    torch.manual_seed(0)
    backbone = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    backbone.train()
    images = [np.full((48, 40, 3), level, np.uint8) for level in (0, 90, 255)]
    for index, patches in enumerate(stream_patches(backbone, iter(images), short_side=32, multiple=8)):
        assert torch.is_grad_enabled()
        assert backbone.training
        assert patches.shape == (4, 4, 16)
        alone = next(stream_patches(backbone.eval(), images[index : index + 1], short_side=32, multiple=8))
        backbone.train()
        torch.testing.assert_close(patches, alone)
    assert not patches.requires_grad


# --- labels and masks -------------------------------------------------------------------------------------------------


def test_the_first_mask_becomes_one_label_for_each_patch():
    mask = np.zeros((8, 12), np.uint8)
    mask[:, 4:8], mask[0, 0] = 9, 4
    labels = labels_of_mask(mask, [4, 9], 2, 3)
    assert labels.argmax(dim=-1).tolist() == [[0, 2, 0], [0, 2, 0]]
    assert torch.equal(labels.sum(dim=-1), torch.ones(2, 3))


@pytest.mark.parametrize('smooth', [True, False])
@pytest.mark.parametrize('objects', [1, 3, 20])
def test_a_mask_is_the_largest_channel_after_each_was_stretched(objects, smooth):
    """Also with more objects than are enlarged together."""
    labels = torch.rand(4, 5, objects + 1, generator=torch.Generator().manual_seed(objects)) ** 3
    labels[..., 1] *= 0.01  # a faint object counts as much as a strong one
    mode = dict(mode='bilinear', align_corners=False) if smooth else dict(mode='nearest-exact')
    channels = interpolate(labels.permute(2, 0, 1)[None], scale_factor=8, **mode)[0].numpy()
    for channel in channels:
        channel -= channel.min()
        channel /= channel.max()
    names = np.array([0, *range(100, 100 + objects)])
    found = mask_of_labels(labels, names[1:].tolist(), (32, 40), smooth)
    assert np.array_equal(found, names[channels.argmax(axis=0)])
    assert (found == 100).any()


def test_lost_objects_stay_lost_and_one_that_fills_the_image_fills_it():
    labels = torch.zeros(3, 3, 3)
    labels[..., 0] = 1
    assert not mask_of_labels(labels, [1, 2], (12, 12)).any(), 'nothing is left but background'
    labels = labels.roll(2, dims=-1)
    assert np.all(mask_of_labels(labels, [1, 2], (12, 12)) == 2)


# --- clips ------------------------------------------------------------------------------------------------------------


def test_a_clip_is_segmented_by_the_protocol(clips):
    """Step by step, with plain calls, what `segment_clip` does."""
    clip, backbone, propagator = clips[0], PatchPixels(), LabelPropagator(num_context=2, radius=3)
    found = list(segment_clip(backbone, clip, propagator, short_side=60, multiple=8))
    first = clip.read_mask(0)
    assert np.array_equal(found[0], first)
    frames = [clip.read_frame(index) for index in range(len(clip.frames))]
    features = list(stream_patches(backbone, frames, 60, 8))
    assert features[0].shape[:2] == (15, 26)  # 107 pixels -> 104
    small = np.array(Image.fromarray(first).resize((26, 15), Image.Resampling.NEAREST))
    labels = torch.stack([torch.from_numpy(small == label) for label in (0, 1, 2)], dim=-1).float()
    for mask, soft in zip(found[1:], propagator(features, labels), strict=True):
        pixels = mask_of_labels(soft, (1, 2), (60, 104))
        assert np.array_equal(mask, np.array(Image.fromarray(pixels).resize((214, 120), Image.Resampling.NEAREST)))


def test_following_pixels_beats_copying_the_first_mask(tmp_path):
    dataset = DAVISDataset(small_clips(tmp_path), year=2016)

    def score(masks_of):
        return global_results([evaluate_clip(clip, masks_of(clip)) for clip in dataset])['J&F-Mean']

    followed = score(lambda clip: segment_clip(PatchPixels(), clip, short_side=120, multiple=4))
    assert followed > score(copy_first_mask) + 0.1


def test_options_change_the_masks(clips):
    usual = np.stack(list(segment_clip(PatchPixels(), clips[0], short_side=60)))
    for change in (
        dict(short_side=120),
        dict(multiple=8),
        dict(smooth=False),
        dict(propagator=LabelPropagator(radius=1)),
    ):
        changed = np.stack(list(segment_clip(PatchPixels(), clips[0], **{'short_side': 60, **change})))
        assert not np.array_equal(changed, usual), change


def test_frames_are_read_one_by_one(clips, monkeypatch):
    read, read_frame = [], type(clips[0]).read_frame
    monkeypatch.setattr(type(clips[0]), 'read_frame', lambda clip, index: read.append(index) or read_frame(clip, index))
    masks = segment_clip(PatchPixels(), clips[0], short_side=32)
    for number in range(4):
        next(masks)
        assert read == list(range(number + 1))


def test_a_damaged_frame_and_a_turned_one_are_named(tmp_path):
    clip = DAVISDataset(small_clips(tmp_path, ['libby'], frames=3))[0]
    whole = clip.frames[1].read_bytes()
    clip.frames[1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r'libby/00006\.jpg: the file is truncated'):
        list(segment_clip(PatchPixels(), clip, short_side=32))
    with Image.open(clip.frames[2]) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # a quarter turn
        image.save(clip.frames[1], exif=exif)
    with pytest.raises(ValueError, match=r'00006\.jpg has 214 rows and 120 columns after EXIF rotation'):
        list(segment_clip(PatchPixels(), clip, short_side=32))


def test_an_object_smaller_than_a_patch_is_reported(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(segment_clip_module, 'print_log', lambda message, **_: said.append(message))
    root = small_clips(tmp_path, ['libby'], frames=3)
    path = mask_path(root, 'libby', '00000')
    mask = read_mask(path)
    mask[0, 0] = 3
    write_mask(mask, path)
    next(segment_clip(PatchPixels(), DAVISDataset(root)[0], short_side=60))
    assert said[0].startswith('libby: objects [3] are smaller than a patch')
