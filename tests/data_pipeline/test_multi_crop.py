import inspect
import math
import random

import numpy as np
import pytest
import torch
from bundled import DATA
from PIL import Image, ImageFilter, ImageOps
from pillow_images import pillow_resized
from torchvision import transforms

from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.views.crop_boxes import draw_box
from dino_plugin.data.views.resizing import resize

FRAMES = sorted((DATA / 'davis/JPEGImages/480p').glob('*/*.jpg'))[::9]
IMAGES = [np.array(Image.open(path).convert('RGB').resize((214, 120), Image.BICUBIC)) for path in FRAMES]
FRAME = np.array(Image.open(FRAMES[0]).convert('RGB'))
PLAIN = dict(photometric='none')


def views_of(image, seed, **arguments):
    crop = MultiCrop(**arguments)
    random.seed(seed)  # after it: beartype, too, draws from this generator, to check an element of a list
    return crop.blocks(image)


def within(count, draws, probability):
    """Within four and a half standard deviations of the binomial distribution."""
    return abs(count - draws * probability) <= 4.5 * math.sqrt(draws * probability * (1 - probability))


def z_scores(ours, theirs):
    """Two-sample z of the means, and of the mean distances to the common median (which is a test of the spreads)."""
    median = np.median(np.concatenate([ours, theirs]))
    pairs = [(ours, theirs), (np.abs(ours - median), np.abs(theirs - median))]
    return [abs(a.mean() - b.mean()) / math.sqrt(a.var() / len(a) + b.var() / len(b) + 1e-12) for a, b in pairs]


@pytest.mark.parametrize('scale', [(0.4, 1.0), (0.05, 0.4)])
def test_boxes_are_distributed_as_those_of_torchvision(scale):
    random.seed(0)
    torch.manual_seed(0)
    image = torch.zeros(3, 375, 500)
    ours = np.array([draw_box(375, 500, scale) for _ in range(4000)], float)
    theirs = np.array(
        [transforms.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(4000)], float
    )
    for measure in (
        lambda boxes: boxes[:, 2] * boxes[:, 3],
        lambda boxes: np.log(boxes[:, 2] / boxes[:, 3]),
        lambda boxes: boxes[:, 0] + boxes[:, 2] / 2,
        lambda boxes: boxes[:, 1] + boxes[:, 3] / 2,
    ):
        assert max(z_scores(measure(ours), measure(theirs))) < 4.5


def test_boxes_lie_inside_the_image_and_fill_the_ranges():
    random.seed(1)
    boxes = [draw_box(300, 400, (0.05, 0.4)) for _ in range(4000)]
    assert all(box.top >= 0 and box.top + box.rows <= 300 for box in boxes)
    assert all(box.left >= 0 and box.left + box.columns <= 400 for box in boxes)
    shares = np.array([box.rows * box.columns / (300 * 400) for box in boxes])
    ratios = np.array([box.columns / box.rows for box in boxes])
    assert 0.049 < shares.min() < 0.054
    assert 0.39 < shares.max() < 0.402
    assert within((shares < 0.225).sum(), 4000, 0.5), 'the area is uniform'
    assert 0.73 < ratios.min() < 0.76
    assert 1.31 < ratios.max() < 1.36
    assert within((ratios < 1).sum(), 4000, 0.5), 'the logarithm of the ratio is uniform'
    assert any(box.top == 0 for box in boxes)
    assert any(box.left + box.columns == 400 for box in boxes)


@pytest.mark.parametrize('shape', [(100, 1000), (1000, 100), (1, 1), (1, 50), (40, 1)])
def test_a_box_that_never_fits_becomes_the_central_one_of_torchvision(shape):
    random.seed(0)
    theirs = transforms.RandomResizedCrop.get_params(torch.zeros(3, *shape), (1.0, 1.0), (3 / 4, 4 / 3))
    assert tuple(draw_box(*shape, (1.0, 1.0))) == tuple(theirs)


@pytest.mark.parametrize(
    ('arguments', 'probability'),
    [({}, 0.5), *((dict(flip_probability=probability), probability) for probability in (0, 0.2, 0.9, 1))],
)
def test_as_many_views_are_mirrored_as_the_probability_says(arguments, probability):
    ramp = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    random.seed(0)
    crop = MultiCrop(16, (0.4, 1.0), 8, (0.1, 0.4), num_local=8, **PLAIN, **arguments)
    mirrored = []
    for _ in range(30):
        for block in crop.blocks(ramp):
            mirrored += (block[:, 0, 0, 0] > block[:, 0, -1, 0]).tolist()
    assert within(sum(mirrored), len(mirrored), probability)


@pytest.mark.parametrize('size', [(224, 224), (96, 96), (120, 200), (32, 32)])
def test_views_are_resized_as_by_pillow(size):
    random.seed(0)
    for scale in ((0.4, 1.0), (0.05, 0.4), (0.001, 0.01)):
        for _ in range(3):
            box = draw_box(*FRAME.shape[:2], scale)
            part = FRAME[box.top : box.top + box.rows, box.left : box.left + box.columns]
            error = np.abs(resize(part, *size) - pillow_resized(FRAME, box, size)).mean()
            assert error < 0.3


def test_every_view_shows_the_box_that_was_drawn():
    crop = MultiCrop(64, (0.4, 1.0), (24, 40), (0.05, 0.4), num_local=3, **PLAIN)
    random.seed(5)
    drawn = list(crop.draw(*FRAME.shape[:2]))
    global_block, local_block = views_of(FRAME, 5, global_size=64, local_size=(24, 40), num_local=3, **PLAIN)
    for parameters, view in zip(drawn, [*global_block, *local_block]):
        expected = pillow_resized(FRAME, parameters.box, tuple(view.shape[:2]))
        expected = expected[:, ::-1] if parameters.flip else expected
        assert np.abs(view.numpy() - expected).mean() < 0.5


def test_a_view_as_large_as_its_box_is_the_box():
    global_block, _ = views_of(FRAME[:60, :60], 0, global_size=60, global_scale=(1.0, 1.0), num_local=0, **PLAIN)
    image = torch.from_numpy(FRAME[:60, :60])
    assert all(torch.equal(view, image) or torch.equal(view, image.flip(1)) for view in global_block)


def test_without_vector_instructions_the_views_are_nearly_the_same(monkeypatch):
    exact = [resize(FRAME, 96, 96), resize(FRAME[:50, :50], 96, 96)]
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'DEFAULT')
    monkeypatch.setattr('dino_plugin.data.views.resizing.interpolate', None)
    for part, view in zip((FRAME, FRAME[:50, :50]), exact):
        assert np.abs(resize(part, 96, 96).astype(float) - view).mean() < 3


def test_blocks_are_uint8_rows_columns_channels_global_views_apart_from_local_ones():
    global_block, local_block = views_of(FRAME, 0)
    assert global_block.shape == (2, 224, 224, 3)
    assert local_block.shape == (8, 96, 96, 3)
    for block in (global_block, local_block):
        assert block.dtype == torch.uint8
        assert block.is_contiguous()
    assert len({view.sum().item() for view in [*global_block, *local_block]}) == 10, 'each view is another'


def test_sizes_may_differ_in_rows_and_columns_and_local_views_may_be_none():
    global_block, local_block = views_of(FRAME, 0, global_size=[32, 48], local_size=(16, 8), num_local=1)
    assert global_block.shape == (2, 32, 48, 3)
    assert local_block.shape == (1, 16, 8, 3)
    assert views_of(FRAME, 0, num_local=0)[1] is None


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (40, 1), (7, 500)])
def test_images_of_any_shape_give_views(shape):
    image = np.full((*shape, 3), 77, np.uint8)
    global_block, local_block = views_of(image, 0, global_size=32, local_size=16, **PLAIN)
    assert (global_block == 77).all()
    assert (local_block == 77).all()


def test_the_image_is_not_written_to():
    image = FRAME[:100, :120].copy()
    before = image.copy()
    image.flags.writeable = False
    for seed in range(5):  # the whole image at its own size is where a copy could be forgotten
        views_of(image, seed, global_size=(100, 120), global_scale=(1.0, 1.0))
    assert np.array_equal(image, before)


def test_a_view_of_an_array_gives_what_its_copy_gives():
    for image in (FRAME[::2, ::2], FRAME[..., ::-1], FRAME[:, ::-1], np.asfortranarray(FRAME)):
        pairs = zip(views_of(image, 3, num_local=2), views_of(image.copy(order='C'), 3, num_local=2))
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_views_are_a_function_of_the_seed_of_random_alone():
    first = views_of(FRAME, 11)
    np.random.seed(99)
    torch.manual_seed(99)
    assert all(torch.equal(a, b) for a, b in zip(first, views_of(FRAME, 11)))
    assert not torch.equal(first[0], views_of(FRAME, 12)[0])


def test_each_kind_of_view_gets_its_own_colours():
    invert = dict(solarize_probability=1.0, solarize_threshold=0)
    image = np.full((64, 64, 3), 50, np.uint8)
    for kind in ('global_1', 'global_2', 'local'):
        global_block, local_block = views_of(
            image, 0, global_size=16, local_size=8, num_local=3, photometric={'preset': 'none', kind: invert}
        )
        shown = dict(global_1=global_block[:1], global_2=global_block[1:], local=local_block)
        for name, views in shown.items():
            assert (views == (205 if name == kind else 50)).all()


def test_the_callable_gives_the_blocks_as_normalised_tensors_global_views_first():
    crop = MultiCrop(64, local_size=(24, 32), num_local=3)
    random.seed(2)
    views = crop(FRAME)
    blocks = views_of(FRAME, 2, global_size=64, local_size=(24, 32), num_local=3)
    reference = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    expected = [reference(view.numpy()) for block in blocks for view in block]
    assert [tuple(view.shape) for view in views] == [(3, 64, 64)] * 2 + [(3, 24, 32)] * 3
    for view, target in zip(views, expected):
        torch.testing.assert_close(view, target)
        assert view.is_contiguous()


@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA', 'P', 'CMYK', '1'])
def test_the_callable_takes_pillow_images_of_any_mode(mode):
    image = Image.fromarray(FRAME).convert(mode)
    crop = MultiCrop(32, local_size=16, num_local=1)
    random.seed(0)
    views = crop(image)
    random.seed(0)
    assert all(torch.equal(a, b) for a, b in zip(views, crop(np.array(image.convert('RGB')))))


class Blur:
    def __init__(self, probability):
        self.probability = probability

    def __call__(self, image):
        if random.random() > self.probability:
            return image
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def paper_pipeline(size, scale, blur, solarize=0.0):
    """DINO's views in torchvision on Pillow images."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=scale, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            transforms.RandomGrayscale(0.2),
            Blur(blur),
            transforms.RandomApply([transforms.Lambda(ImageOps.solarize)], p=solarize),
            np.asarray,
        ]
    )


def statistics(view):
    """Mean colours, contrast, sharpness and colourfulness of one view."""
    view = np.asarray(view, np.float32)
    luma = view @ np.array([0.299, 0.587, 0.114], np.float32)
    sharpness = np.log(np.abs(np.diff(luma, axis=1)).mean() + 0.1)
    return [view[..., 0].mean(), view[..., 2].mean(), luma.std(), sharpness, view.std(axis=2).mean()]


@pytest.fixture(scope='module')
def paper_statistics():
    pipelines = dict(
        global_1=paper_pipeline(64, (0.4, 1.0), 1.0),
        global_2=paper_pipeline(64, (0.4, 1.0), 0.1, solarize=0.2),
        local=paper_pipeline(32, (0.05, 0.4), 0.5),
    )
    random.seed(0)
    torch.manual_seed(0)
    images = [Image.fromarray(image) for image in IMAGES]
    return {
        name: np.array([statistics(pipeline(image)) for image in images for _ in range(80)])
        for name, pipeline in pipelines.items()
    }


def our_statistics(photometric):
    random.seed(100)
    crop = MultiCrop(64, (0.4, 1.0), 32, (0.05, 0.4), num_local=1, photometric=photometric)
    blocks = [crop.blocks(image) for image in IMAGES for _ in range(80)]
    return dict(
        global_1=np.array([statistics(block[0]) for block, _ in blocks]),
        global_2=np.array([statistics(block[1]) for block, _ in blocks]),
        local=np.array([statistics(block[0]) for _, block in blocks]),
    )


def test_views_are_statistically_those_of_the_paper(paper_statistics):
    ours = our_statistics('paper')
    for name, theirs in paper_statistics.items():
        scores = [z_scores(ours[name][:, column], theirs[:, column]) for column in range(theirs.shape[1])]
        assert np.max(scores) < 4, f'{name}: {np.round(scores, 1)}'


def test_the_same_comparison_notices_that_the_released_code_blurs_otherwise(paper_statistics):
    ours = our_statistics('as_trained')
    sharpness = {name: max(z_scores(ours[name][:, 3], theirs[:, 3])) for name, theirs in paper_statistics.items()}
    assert sharpness['global_1'] > 5
    assert sharpness['global_2'] > 5
    assert sharpness['local'] < 4


@pytest.mark.parametrize(
    ('image', 'error', 'message'),
    [
        (np.zeros((8, 8, 3)), TypeError, 'got float64'),
        (np.zeros((8, 8, 3), np.uint16), TypeError, 'got uint16'),
        (np.zeros((8, 8), np.uint8), ValueError, r'\(8, 8\).*repeat the channel of a greyscale image'),
        (np.zeros((8, 8, 1), np.uint8), ValueError, r'\(8, 8, 1\)'),
        (np.zeros((8, 8, 4), np.uint8), ValueError, 'decode_image'),
        (np.zeros((3, 8, 8), np.uint8), ValueError, '"rows columns 3"'),
        (np.zeros((0, 8, 3), np.uint8), ValueError, 'with pixels'),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), TypeError, 'got Tensor'),
        ('image.jpg', TypeError, 'got str'),
        (None, TypeError, 'got NoneType'),
    ],
)
def test_what_is_no_rgb_image_is_refused(image, error, message):
    with pytest.raises(error, match=message):
        MultiCrop()(image)
    with pytest.raises(error, match=message):
        MultiCrop().blocks(image)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(global_size=0), ValueError, 'global_size is at least one pixel, got 0'),
        (dict(local_size=(96, -1)), ValueError, 'local_size is at least one pixel'),
        (dict(global_size=224.0), TypeError, 'global_size is a whole number of pixels'),
        (dict(global_size=(224, 224, 3)), TypeError, 'or .rows, columns'),
        (dict(local_size='96'), TypeError, 'local_size'),
        (dict(global_scale=(0.0, 1.0)), ValueError, r'global_scale is a range .* in \(0, 1\]'),
        (dict(global_scale=(0.4, 1.1)), ValueError, 'global_scale'),
        (dict(local_scale=(0.4, 0.05)), ValueError, 'least first, got'),
        (dict(local_scale=0.4), TypeError, 'local_scale is a range'),
        (dict(local_scale=('0.1', '0.4')), TypeError, 'local_scale'),
        (dict(num_local=-1), ValueError, 'num_local is a number of views, 0 or more, got -1'),
        (dict(num_local=2.5), ValueError, 'num_local'),
        (dict(photometric='strong'), ValueError, 'unknown preset'),
        (dict(flip_probability=-0.1), ValueError, r'flip_probability is in \[0, 1\], got -0.1'),
        (dict(flip_probability=1.1), ValueError, 'flip_probability'),
        (dict(flip_probability=math.nan), ValueError, 'flip_probability'),
    ],
)
def test_impossible_arguments_are_refused(arguments, error, message):
    build = inspect.unwrap(MultiCrop.__init__)  # without the type checker of the tests, which would come first
    with pytest.raises(error, match=message):
        build(object.__new__(MultiCrop), **arguments)
