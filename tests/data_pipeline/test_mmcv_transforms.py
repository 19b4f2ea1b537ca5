import os
import random

import cv2
import numpy as np
import pytest
import torch
from bundled import DAVIS
from damaged_images import claiming
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms

from dino_plugin.data.images.decoding import UndecodableImageError
from dino_plugin.data.mmcv_transforms import (
    CheckFiles,
    LoadImage,
    MultiCropTransform,
    PackImage,
    PackViews,
    ResizeCentreCrop,
)
from dino_plugin.data.multi_crop import MultiCrop

FRAME = next(iter(sorted((DAVIS / 'JPEGImages/480p').glob('*/00000.jpg'))))
SMALL = dict(global_size=32, local_size=16, num_local=3)
LOADERS = pytest.mark.parametrize('loader', [LoadImage, LoadImageFromFile])


@pytest.fixture
def red_image(tmp_path):
    path = tmp_path / 'red.png'
    Image.new('RGB', (50, 40), (255, 0, 0)).save(path)
    return str(path)


def views_of(path, loader, seed=0, **arguments):
    pipeline = Compose([loader(), MultiCropTransform(**arguments), PackViews()])
    random.seed(seed)
    return pipeline(dict(img_path=path))


@LOADERS
def test_a_red_image_stays_red(red_image, loader):
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)
    global_views, local_views = views_of(red_image, loader, photometric='none')
    assert (global_views == red).all()
    assert (local_views == red).all()
    image, _, _ = Compose([loader(), ResizeCentreCrop(32, 24), PackImage()])(dict(img_path=red_image))
    assert (image == red).all()
    image, _, _ = Compose([loader(), PackImage()])(dict(img_path=red_image))
    assert (image == red).all()


def test_both_loaders_give_the_same_views():
    ours, theirs = (views_of(str(FRAME), loader, seed=3, **SMALL) for loader in (LoadImage, LoadImageFromFile))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


def test_the_transform_gives_what_the_plain_class_gives():
    image = np.array(Image.open(FRAME).convert('RGB'))
    crop = MultiCrop(**SMALL)
    random.seed(8)
    expected = crop.blocks(image)
    assert all(torch.equal(a, b) for a, b in zip(views_of(str(FRAME), LoadImage, seed=8, **SMALL), expected))


def test_without_local_views_the_second_block_is_none():
    assert views_of(str(FRAME), LoadImage, global_size=16, num_local=0)[1] is None


def test_loading_says_what_the_image_is(red_image):
    results = LoadImage()(dict(img_path=red_image))
    assert results['channel_order'] == 'rgb'
    assert results['img_shape'] == results['ori_shape'] == (40, 50)
    assert results['img'].dtype == np.uint8


@pytest.mark.parametrize('backend_args', [None, dict(backend='local')])
def test_files_come_through_the_backends_of_mmengine(red_image, backend_args):
    assert LoadImage(backend_args=backend_args)(dict(img_path=red_image))['img'].shape == (40, 50, 3)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / 'half.jpg'
    path.write_bytes(FRAME.read_bytes()[:5000])
    with pytest.raises(UndecodableImageError, match=r'half\.jpg: '):
        LoadImage()(dict(img_path=str(path)))


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.jpg'):
        LoadImage()(dict(img_path=str(tmp_path / 'none.jpg')))


@pytest.mark.parametrize('resize_crop', [(64, 56), (64, 64), (100, 33), (64, None), (500, 480)])
@pytest.mark.parametrize('size', [(200, 150), (150, 201), (120, 120)])
def test_the_evaluation_view_is_that_of_torchvision(resize_crop, size):
    resize, crop = resize_crop
    picture = Image.open(FRAME).convert('RGB').resize(size, Image.BICUBIC)
    steps = [transforms.Resize(resize, interpolation=transforms.InterpolationMode.BICUBIC)]
    steps += [] if crop is None else [transforms.CenterCrop(crop)]
    expected = np.asarray(transforms.Compose(steps)(picture)).astype(float)
    ours = ResizeCentreCrop(resize, crop)(dict(img=np.array(picture), channel_order='rgb'))
    assert ours['img'].shape == expected.shape
    assert ours['img_shape'] == expected.shape[:2]
    assert np.abs(ours['img'] - expected).mean() < 0.5


def test_without_resize_the_pixels_stay_as_they_are():
    image = np.array(Image.open(FRAME).convert('RGB'))[:33, :47]
    results = ResizeCentreCrop(resize=None, crop=None)(dict(img=image, channel_order='rgb'))
    assert np.array_equal(results['img'], image)
    cut = ResizeCentreCrop(resize=None, crop=31)(dict(img=image, channel_order='rgb'))['img']
    assert np.array_equal(cut, image[1:32, 8:39])


def test_packed_images_are_a_batch_for_the_default_collate(red_image):
    pipeline = Compose([LoadImage(), ResizeCentreCrop(24, 24), PackImage()])
    samples = [pipeline(dict(img_path=red_image, gt_label=label)) for label in (4, np.int64(2))]
    images, labels, paths = default_collate(samples)
    assert images.shape == (2, 24, 24, 3)
    assert labels.tolist() == [4, 2]
    assert list(paths) == [red_image, red_image]
    assert pipeline(dict(img_path=red_image))[1] == -1, 'no label'


@pytest.mark.parametrize(
    ('transform', 'results', 'message'),
    [
        (LoadImage(), dict(path='x'), "no 'img_path' here"),
        (MultiCropTransform(), dict(img_path='x'), r"no 'img' here \(img_path\): put dict.*LoadImage"),
        (PackViews(), dict(img=0), "no 'global_views' here.*MultiCrop"),
        (PackImage(), {}, r"no 'img' here \(nothing\)"),
        (MultiCropTransform(), dict(img=np.zeros((9, 9), np.uint8)), 'greyscale'),
        (ResizeCentreCrop(), dict(img=np.zeros((9, 9, 4), np.uint8)), r'\(9, 9, 4\)'),
        (ResizeCentreCrop(None, 32), dict(img=np.zeros((9, 40, 3), np.uint8)), '32 pixels does not fit into 9 x 40'),
    ],
)
def test_a_pipeline_in_the_wrong_order_says_what_is_missing(transform, results, message):
    with pytest.raises(ValueError, match=message):
        transform(results)


def test_float_images_whose_order_nobody_knows_are_refused():
    with pytest.raises(TypeError, match='got float64'):
        MultiCropTransform()(dict(img=np.zeros((9, 9, 3))))
    for order in ({}, dict(channel_order='bgr')):
        with pytest.raises(ValueError, match=r"channel_order='as_stored' in a step of your own"):
            MultiCropTransform()(dict(img=np.zeros((9, 9, 3), np.float32), **order))


@pytest.mark.parametrize('arguments', [(0, None), (None, 0), (224, 256), (-5, None)])
def test_impossible_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match='ResizeCentreCrop'):
        ResizeCentreCrop(*arguments)


def test_an_unknown_argument_of_multi_crop_is_refused():
    with pytest.raises(TypeError, match='num_views'):
        MultiCropTransform(num_views=3)


def test_the_loaded_pixels_are_those_of_opencv_in_rgb_order():
    expected = cv2.cvtColor(cv2.imread(str(FRAME)), cv2.COLOR_BGR2RGB)
    assert np.array_equal(LoadImage()(dict(img_path=str(FRAME)))['img'], expected)


def test_a_check_before_another_packages_loader_refuses_what_it_should_not_decode(tmp_path):
    (tmp_path / 'bomb.jpg').write_bytes(claiming('JPEG', 30_000, 30_000))
    os.mkfifo(tmp_path / 'pipe.jpg')
    steps = Compose([dict(type='dino_plugin.CheckFiles'), dict(type='LoadImageFromFile')])
    with pytest.raises(UndecodableImageError, match=r'bomb\.jpg: its header claims'):
        steps(dict(img_path=str(tmp_path / 'bomb.jpg')))
    with pytest.raises(UndecodableImageError, match=r'pipe\.jpg: it is a named pipe'):
        steps(dict(img_path=str(tmp_path / 'pipe.jpg')))
    with pytest.raises(UndecodableImageError, match=r'max_pixels=1 '):
        CheckFiles(max_pixels=1)(dict(img_path=str(FRAME)))
    assert np.array_equal(steps(dict(img_path=str(FRAME)))['img'], cv2.imread(str(FRAME)))
    (tmp_path / 'own.npy').write_bytes(b'a format of a loader of its own')
    own = dict(img_path=str(tmp_path / 'own.npy'), other=3)
    assert CheckFiles()(own) == own
    assert CheckFiles()(dict(img=3)) == dict(img=3)
