"""Cutting and resizing as matrix products is Pillow's bicubic resize of the box."""

import numpy as np
import pytest
import torch
from bundled import DATA
from PIL import Image
from pillow_images import pillow_resized

from dino_plugin.data.views.crop_boxes import Box
from dino_plugin.data.views.device_resize import bicubic_weights, cut_views
from dino_plugin.data.views.unfinished_views import PADDING, DecodedImages, pack_images

FRAMES = [np.array(Image.open(path)) for path in sorted((DATA / 'davis/JPEGImages/480p').glob('*/00000.jpg'))]
SMALL = np.array(Image.open(next(iter(sorted((DATA / 'cifar10_mini/test').glob('*/*.jpg'))))))
RAGGED = [
    FRAMES[0],
    SMALL,
    FRAMES[1][:300, 100:200],
    FRAMES[0][::2],
    FRAMES[2][:64, :128],
    SMALL[:1, :1],
    SMALL[:2, :30],
]


def pillow_view(image, box, flip, size):
    view = pillow_resized(image, box, size)
    return view[:, ::-1] if flip else view


def boxes_of(image):
    """The whole image, both corners, a thin box at a border, and one that is enlarged."""
    rows, columns = image.shape[:2]
    half, third = (max(1, rows // 2), max(1, columns // 2)), (max(1, rows // 3), max(1, columns // 3))
    return [
        (Box(0, 0, rows, columns), False),
        (Box(0, 0, *half), True),
        (Box(rows - third[0], columns - third[1], *third), False),
        (Box(0, columns - 1, rows, 1), True),
        (Box(rows // 2, columns // 2, min(9, rows - rows // 2), min(7, columns - columns // 2)), False),
    ]


def batch_of(images):
    rows = [[(*box, float(flip)) for box, flip in boxes_of(image)] for image in images]
    boxes = torch.tensor(rows, dtype=torch.float32).transpose(0, 1)
    return DecodedImages(*pack_images(images), boxes, ((1, 1), None, None))


@pytest.mark.parametrize('size', [(96, 96), (40, 72), (224, 30)])
def test_boxes_of_ragged_images_are_resized_as_by_pillow_in_the_order_of_the_batch(size):
    batch = batch_of(RAGGED)
    views = cut_views(batch, slice(None), size)
    assert views.shape == (5, len(RAGGED), 3, *size)
    errors = [
        np.abs(view.movedim(0, -1).numpy() - pillow_view(image, box, flip, size)).mean()
        for number, image in enumerate(RAGGED)
        for view, (box, flip) in zip(views[:, number], boxes_of(image))
    ]
    assert np.mean(errors) < 0.35
    assert max(errors) < 0.6, 'of views that show one pixel only, or two'


def test_only_the_asked_views_are_cut():
    batch = batch_of(RAGGED)
    assert torch.equal(cut_views(batch, slice(1, 3), (16, 16)), cut_views(batch, slice(None), (16, 16))[1:3])


def test_images_of_one_stored_shape_are_neighbours_and_every_image_is_whole():
    pixels, stacks, order = pack_images(RAGGED)
    assert sorted(order.tolist()) == list(range(len(RAGGED)))
    assert sum(stack.images for stack in stacks) == len(RAGGED)
    assert len({(stack.rows, stack.columns) for stack in stacks}) == len(stacks) < len(RAGGED)
    assert pixels.numel() == sum(stack.images * stack.rows * stack.columns * 3 for stack in stacks)
    for stack in stacks:
        assert stack.rows % PADDING == stack.columns % PADDING == 0
        shape = stack.images, stack.rows, stack.columns, 3
        stored = pixels[stack.start :][: np.prod(shape)].view(shape).numpy()
        for slot, place in zip(stored, order[stack.first :]):
            rows, columns = RAGGED[place].shape[:2]
            assert np.array_equal(slot[:rows, :columns], RAGGED[place])
            assert not slot[rows:].any()
            assert not slot[:, columns:].any()


def test_weights_sum_to_one_stay_inside_the_box_and_are_mirrored_by_a_flip():
    start, length = torch.tensor([3.0, 0.0, 10.0]), torch.tensor([20.0, 32.0, 1.0])
    plain, mirrored = (bicubic_weights(start, length, torch.full((3,), flip), 8, 32) for flip in (0.0, 1.0))
    torch.testing.assert_close(plain.sum(-1), torch.ones(3, 8))
    torch.testing.assert_close(mirrored, plain.flip(1))
    for weights, first, pixels in zip(plain, start.int(), length.int()):
        assert not weights[:, :first].any()
        assert not weights[:, first + pixels :].any()


def test_a_box_of_the_size_of_the_view_is_left_as_it_is():
    weights = bicubic_weights(torch.tensor([5.0]), torch.tensor([12.0]), torch.zeros(1), 12, 30)
    assert torch.equal(weights[0, :, 5:17], torch.eye(12))


def test_products_of_16_bits_are_as_near_to_pillow():
    """What a GPU computes with, here slowly."""
    image, box, size = FRAMES[0], Box(17, 40, 300, 411), (96, 80)
    down, across = (
        bicubic_weights(torch.tensor([first]), torch.tensor([length]), torch.zeros(1), side, total)[0].half()
        for first, length, side, total in zip((17.0, 40.0), (300.0, 411.0), size, image.shape)
    )
    levels = torch.from_numpy(image).movedim(-1, 0).half()
    view = (down @ levels @ across.mT).float().clamp(0, 255).round()
    assert np.abs(view.movedim(0, -1).numpy() - pillow_view(image, box, False, size)).mean() < 0.35
