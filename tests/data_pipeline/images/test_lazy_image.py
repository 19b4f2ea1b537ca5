"""A photograph is decoded as small as the drawn boxes allow; everything else is as if it were decoded whole."""

import random

import numpy as np
import pytest
import torch
from bundled import CIFAR, DAVIS
from damaged_images import claiming, encode
from mmcv.transforms import RandomFlip, Resize
from mmengine.dataset import Compose
from PIL import Image

from dino_plugin.data.collate import multi_crop_collate
from dino_plugin.data.images.decoding import UndecodableImageError, decode_image
from dino_plugin.data.images.lazy_image import LazyImage
from dino_plugin.data.mmcv_transforms import LoadImage, MultiCropTransform, PackImage, PackViews
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.crop_boxes import Box, reduced_box, reduction_of_view

FRAME = next(iter(sorted((DAVIS / 'JPEGImages/480p').glob('*/00000.jpg'))))
PHOTO = Image.open(FRAME).convert('RGB').resize((1288, 720), Image.BICUBIC)  # both sides divide by 8
ODD = PHOTO.crop((0, 0, 1283, 717))
SMALL = dict(global_size=(64, 56), local_size=24, num_local=3, photometric='none')
SIZES = [(64, 56)] * 2 + [(24, 24)] * 3


def with_orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return dict(exif=exif, quality=92)


def distance(data, seed):
    """The number by which the image is divided; mean absolute differences of views from the same boxes of it whole."""
    random.seed(seed)
    crop = MultiCrop(**SMALL)
    pixels, views = crop.prepare(LazyImage(data, 2))
    whole = decode_image(data)
    reduction = round(whole.shape[0] / pixels.shape[0])
    in_whole = [view._replace(box=Box(*(reduction * number for number in view.box))) for view in views]
    pairs = zip(crop._render_all(pixels, views), crop._render_all(whole, in_whole))
    return reduction, [(a - b.float()).abs().mean((1, 2, 3)) for a, b in pairs]


@pytest.mark.parametrize(
    ('picture', 'options'),
    [
        (PHOTO, dict(quality=92)),
        (ODD, dict(quality=92)),
        (ODD, dict(quality=92, subsampling=0, progressive=True)),
        (ODD.convert('L'), dict(quality=92)),
        (ODD.convert('CMYK'), dict(quality=92)),
        *((PHOTO, with_orientation(number)) for number in range(2, 9)),
        (ODD, with_orientation(1)),
    ],
)
def test_the_views_are_those_of_the_whole_image(picture, options):
    data = encode(picture, 'JPEG', **options)
    reductions, errors = zip(*(distance(data, seed) for seed in range(4)))
    assert set(reductions) <= {2, 4}
    found = torch.cat([error for pair in errors for error in pair])
    assert found.mean() < 0.5
    assert found.max() < 0.7


@pytest.mark.parametrize('number', range(2, 9))
def test_an_image_that_is_turned_is_whole_where_it_would_begin_with_an_incomplete_pixel(number):
    reduction, errors = distance(encode(ODD, 'JPEG', **with_orientation(number)), seed=0)
    assert reduction == 1
    assert not torch.cat(errors).any()


def test_the_reduction_is_the_largest_that_leaves_every_view_small_enough():
    data, found = encode(PHOTO, 'JPEG'), set()
    for seed, least, size in [(s, m, a) for s in range(3) for m in (1, 1.5, 3) for a in (None, 128)]:
        crop = MultiCrop(**SMALL | dict(photometric='paper'), anchor_size=size)
        random.seed(seed)
        drawn = list(crop.draw(720, 1288))
        random.seed(seed)
        pixels, views = crop.prepare(LazyImage(data, least))
        reduction = round(720 / pixels.shape[0])
        sizes = [(size, size)] * 2 + SIZES[2:] if size else SIZES
        smaller = min(reduction_of_view(view.box, size) for view, size in zip(drawn, sizes))
        assert smaller / reduction >= least or reduction == 1
        assert smaller / (2 * reduction) < least or reduction == 8
        assert views == [view._replace(box=reduced_box(view.box, 720, 1288, reduction)) for view in drawn]
        found.add(reduction)
    assert len(found) > 2


def test_a_reduced_box_keeps_its_edges_to_half_a_pixel_and_stays_within_complete_pixels():
    random.seed(0)
    for _ in range(300):
        rows, columns, by = random.randrange(40, 99), random.randrange(40, 99), random.choice([2, 4, 8])
        top, left = random.randrange(rows - 24), random.randrange(columns - 24)
        box = Box(top, left, random.randint(24, rows - top), random.randint(24, columns - left))
        found = reduced_box(box, rows, columns, by)
        for start, length, total, small_start, small_length in zip(box[:2], box[2:], (rows, columns), found, found[2:]):
            end = by * (small_start + small_length)
            assert abs(by * small_start - start) <= by / 2
            assert end <= total
            assert abs(end - (start + length)) <= by / 2 or end == total // by * by


def test_an_image_of_usual_size_has_the_same_views_as_without_the_option():
    for path in (FRAME, sorted(CIFAR.glob('*/*.jpg'))[0]):
        views = []
        for least in (None, 2):
            random.seed(5)
            pipeline = Compose([LoadImage(least_reduction=least), MultiCropTransform(num_local=2), PackViews()])
            views.append((*pipeline(dict(img_path=str(path))), random.random()))
        assert all(torch.equal(a, b) for a, b in zip(views[0][:2], views[1][:2]))
        assert views[0][2] == views[1][2]


def test_other_formats_are_decoded_at_once_and_whole(tmp_path):
    for kind in ('PNG', 'WEBP', 'TIFF'):
        (tmp_path / 'image').write_bytes(encode(PHOTO, kind))
        results = [LoadImage(least_reduction=m)(dict(img_path=str(tmp_path / 'image'))) for m in (None, 1)]
        assert np.array_equal(results[0]['img'], results[1]['img'])


@pytest.mark.parametrize('split', ['device', 'decode'])
def test_whoever_makes_the_views_they_are_the_same(split, tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(encode(ODD, 'JPEG', quality=92))
    batches = []
    for name in ('worker', split):
        steps = LoadImage(least_reduction=2), MultiCropTransform(**SMALL, split=name), PackViews()
        random.seed(1)
        batch = multi_crop_collate([Compose(steps)(dict(img_path=str(tmp_path / 'photo.jpg')))])
        batches.append(ViewPreprocessor(mean=[0, 0, 0], std=[1, 1, 1])(batch)['views'])
    for ours, theirs in zip(batches[0][:2], batches[1][:2]):
        assert (ours - theirs).abs().mean() < 0.5


def test_our_other_steps_see_the_whole_image_and_steps_of_other_packages_say_what_to_do(tmp_path):
    path = str(tmp_path / 'photo.jpg')
    (tmp_path / 'photo.jpg').write_bytes(encode(PHOTO, 'JPEG', **with_orientation(6)))
    results = LoadImage(least_reduction=1)(dict(img_path=path))
    assert results['img_shape'] == results['ori_shape'] == (1288, 720)
    assert np.array_equal(PackImage()(results)[0], decode_image((tmp_path / 'photo.jpg').read_bytes()))
    for step in (Resize((20, 20)), RandomFlip(prob=1.0)):
        with pytest.raises((TypeError, AttributeError), match=r'put dino_plugin\.MultiCrop right after it'):
            step(LoadImage(least_reduction=2)(dict(img_path=path)))


def test_damaged_files_are_named_and_impossible_values_refused(tmp_path):
    path = tmp_path / 'half.jpg'
    for data in (FRAME.read_bytes()[:5000], claiming('JPEG', 30_000, 30_000), b'\xff\xd8 no image \xff\xd9'):
        path.write_bytes(data)
        with pytest.raises(UndecodableImageError, match=r'half\.jpg: '):
            MultiCropTransform()(LoadImage(least_reduction=2)(dict(img_path=str(path))))
    with pytest.raises(ValueError, match=r'least_reduction is 1 or more, got 0\.5'):
        LoadImage(least_reduction=0.5)
