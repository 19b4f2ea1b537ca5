"""Sheets of views: every pixel of every view is where it belongs, and the files hold what was drawn."""

import cv2
import numpy as np
import pytest
import torch
from torchvision import transforms

from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.mmcv_transforms import LoadImage, MultiCropTransform, PackViews
from dino_plugin.visualization.contact_sheet import (
    GAP,
    LABEL_HEIGHT,
    WHITE,
    contact_sheet,
    save_image,
    views_of_sample,
    views_sheet,
)


def picture(rows, columns, seed=0):
    """Random pixels without white, which is the colour of the sheet."""
    return np.random.default_rng(seed).integers(0, WHITE, (rows, columns, 3), dtype=np.uint8)


def cut(sheet, top, left, view):
    return sheet[top : top + view.shape[0], left : left + view.shape[1]]


def test_a_sample_of_blocks_gives_its_views_global_ones_first():
    blocks = [torch.from_numpy(np.stack([picture(8, 6, seed), picture(8, 6, seed + 1)])) for seed in (0, 2)]
    views = views_of_sample(tuple(blocks))
    expected = [view.numpy() for block in blocks for view in block]
    assert all(np.array_equal(view, pixels) for view, pixels in zip(views, expected, strict=True))
    assert len(views_of_sample((blocks[0], None))) == 2


@pytest.mark.parametrize(('channels', 'places'), [(1, [0, 0, 0]), (2, [0, 1, 1]), (5, [0, 1, 2])])
def test_of_many_channels_the_first_three_are_shown_and_of_fewer_the_last_one_again(channels, places):
    levels = np.concatenate([picture(8, 6), picture(8, 6, 1)], axis=2)[..., :channels]
    block = (128 * torch.from_numpy(levels).short() + 30)[None]
    (view,) = views_of_sample((block, None))
    assert np.array_equal(view, levels[..., places])


def test_a_sample_of_normalised_tensors_gives_back_the_pixels_they_were_made_of():
    pixels = [picture(8, 6), picture(4, 4)]
    normalise = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    views = views_of_sample(([normalise(image) for image in pixels], 3, 'a.jpg'))
    assert all(np.array_equal(view, image) for view, image in zip(views, pixels, strict=True))


@pytest.mark.parametrize('sample', [dict(img=1), torch.zeros(2, 4, 4, 3), (torch.zeros(2, 4, 4, 3), None), ()])
def test_a_sample_without_views_is_refused(sample):
    with pytest.raises(TypeError, match='a sample with views is'):
        views_of_sample(sample)


def test_every_view_stands_in_its_place_and_the_rest_is_white():
    large, small = [picture(100, 80, seed) for seed in (0, 1)], [picture(48, 40, seed) for seed in (2, 3, 4)]
    sheet = contact_sheet([[*large, *small]], [''])
    # two large views, then the small ones in columns of two: 48 + GAP + 48 rows are as high as a large view
    lefts = [GAP, 80 + 2 * GAP, 160 + 3 * GAP, 160 + 3 * GAP, 200 + 4 * GAP]
    tops = [LABEL_HEIGHT + down for down in (0, 0, 0, 48 + GAP, 0)]
    assert sheet.shape == (LABEL_HEIGHT + 100 + GAP, 240 + 5 * GAP, 3)
    for view, top, left in zip([*large, *small], tops, lefts, strict=True):
        assert np.array_equal(cut(sheet, top, left, view), view)
        cut(sheet, top, left, view)[:] = WHITE
    assert (sheet == WHITE).all()


def test_views_of_other_widths_do_not_share_a_column():
    views = [picture(100, 30), picture(40, 20), picture(40, 50)]
    sheet = contact_sheet([views], [''])
    for view, left in zip(views, (GAP, 30 + 2 * GAP, 50 + 3 * GAP), strict=True):
        assert np.array_equal(cut(sheet, LABEL_HEIGHT, left, view), view)


def test_small_views_are_enlarged_by_a_whole_factor_without_smoothing():
    views = [picture(32, 32), picture(16, 16, 1)]
    sheet = contact_sheet([views], [''])
    for view, left in zip(views, (GAP, 96 + 2 * GAP), strict=True):
        shown = np.kron(view, np.ones((3, 3, 1), np.uint8))
        assert np.array_equal(cut(sheet, LABEL_HEIGHT, left, shown), shown)


def test_each_image_has_a_row_of_its_own_under_its_label():
    rows = [[picture(96, 50)], [picture(120, 90, 1), picture(120, 90, 2)]]
    sheet = contact_sheet(rows, ['0  cat.jpg', ''])
    assert sheet.shape == (LABEL_HEIGHT + 96 + GAP + LABEL_HEIGHT + 120 + GAP, 180 + 3 * GAP, 3)
    second = LABEL_HEIGHT + 96 + GAP
    assert np.array_equal(cut(sheet, LABEL_HEIGHT, GAP, rows[0][0]), rows[0][0])
    assert np.array_equal(cut(sheet, second + LABEL_HEIGHT, 90 + 2 * GAP, rows[1][1]), rows[1][1])
    assert (sheet[:LABEL_HEIGHT] < 128).any(), 'the label is written'
    assert (sheet[second : second + LABEL_HEIGHT] == WHITE).all(), 'and an empty one is not'


@pytest.mark.parametrize('labels', [[], ['a'], ['a', 'b', 'c']])
def test_labels_must_be_as_many_as_rows(labels):
    with pytest.raises(ValueError, match=f'got {len(labels)} labels for 2 rows'):
        contact_sheet([[picture(8, 8)]] * 2, labels)


@pytest.mark.parametrize('rows', [[], [[]]])
def test_a_sheet_of_nothing_is_refused(rows):
    with pytest.raises(ValueError, match='at least one'):
        contact_sheet(rows, ['a'] * len(rows))


def test_a_saved_image_is_rgb_and_its_folder_is_made(tmp_path):
    image = picture(8, 6)
    path = save_image(image, tmp_path / 'new' / 'folder' / 'views.png')
    assert path == tmp_path / 'new' / 'folder' / 'views.png'
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], image)


def test_an_ending_that_names_no_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'views\.pictures'.*\.png"):
        save_image(picture(8, 6), tmp_path / 'views.pictures')
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_of_a_dataset_is_spread_over_it_and_the_same_each_time(repository):
    dataset = ImageDataset(
        data_root=str(repository / 'tests/data/cifar10_mini/test'),
        pipeline=[LoadImage(), MultiCropTransform(global_size=96, num_local=0), PackViews()],
    )
    sheet = views_sheet(dataset, 4)
    assert np.array_equal(sheet, views_sheet(dataset, 4))
    assert sheet.shape[0] == 4 * (LABEL_HEIGHT + 96 + GAP)
    expected = SeededDataset(dataset)[250, 250][0][0].numpy()  # the second of four among 1,000
    top = LABEL_HEIGHT + 96 + GAP + LABEL_HEIGHT
    assert np.array_equal(sheet[top : top + 96, GAP : GAP + 96], expected)
    with pytest.raises(ValueError, match='number=0'):
        views_sheet(dataset, 0)


def test_a_small_dataset_is_shown_whole_and_each_image_once():
    class ThreeImages:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return (torch.from_numpy(picture(96, 96, index)[None]), None)

        def path_of(self, index):
            return f'{index}.png'

    sheet = views_sheet(ThreeImages(), 8)
    shown = [cut(sheet, row * (LABEL_HEIGHT + 96 + GAP) + LABEL_HEIGHT, GAP, picture(96, 96)) for row in range(3)]
    assert sheet.shape[0] == 3 * (LABEL_HEIGHT + 96 + GAP)
    assert all(np.array_equal(view, picture(96, 96, index)) for index, view in enumerate(shown))
