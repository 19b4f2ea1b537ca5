"""Boxes in files, and the bias from boxes to cells: what is refused, what is said, a slow reference."""

import json
import math
import re
from copy import deepcopy

import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from dino_plugin.evaluation.detection import image_sizes
from dino_plugin.evaluation.detection.annotations import class_names, read_annotations, sorted_as, summary
from dino_plugin.evaluation.detection.box_bias import BoxBias, cell_centres
from dino_plugin.evaluation.detection.image_sizes import refuse_other_sizes

CONTENT = dict(
    images=[dict(id=7, file_name='a.jpg', width=8, height=6), dict(id=9, file_name='b.jpg', width=8, height=6)],
    annotations=[
        dict(id=0, image_id=7, category_id=3, bbox=[1, 1, 4, 2]),
        dict(image_id=7, category_id=5, bbox=[1, 1, 0, 2]),
        dict(id=3, image_id=7, category_id=5, bbox=[0, 0, 8, 6], iscrowd=1),
    ],
    categories=[dict(id=3, name='cat'), dict(id=5, name='dog'), dict(id=6, name='cow')],
)


def written(folder, content):
    (folder / 'boxes.json').write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / 'boxes.json'


def test_area_and_crowds_are_filled_in_and_the_classes_are_those_of_the_file(tmp_path):
    content = read_annotations(written(tmp_path, CONTENT))
    assert [(box['area'], box['iscrowd']) for box in content['annotations']] == [(8, 0), (0, 0), (48, 1)]
    assert [box['id'] for box in content['annotations']] == [1, 2, 3], 'none is 0'
    assert class_names(content) == ('cat', 'dog', 'cow')


def test_what_is_left_out_is_counted(tmp_path):
    content = read_annotations(written(tmp_path, CONTENT))
    text = summary(('cat', 'dog', 'cow'), content)
    assert text.startswith('2 images, 3 boxes of 2 classes; without a box: cow; boxes less than a pixel wide or high')
    assert 'left out of training, missed in a test: 1; boxes of crowds, neither right nor wrong: 1' in text
    assert text.endswith('images without a box, which training leaves out: 1')
    assert 'left out: 2 boxes of classes not trained, dog' in summary(('cat',), content)


def test_boxes_outside_of_their_image_are_counted_as_left_out(tmp_path):
    places = {(8, 1): 1, (1, 6): 1, (-4, 1): 1, (1, -2): 1, (7.5, 1): 0, (-3.5, 1): 0}  # of images of 8 x 6 pixels
    for (x, y), number in places.items():
        text = summary(('cat', 'dog'), read_annotations(written(tmp_path, changed(bbox=[x, y, 4, 2]))))
        assert text.count('boxes outside of their image, left out of training, missed in a test: 1') == number, (x, y)
        assert 'less than a pixel wide or high, left out of training, missed in a test: 1' in text, 'each counts once'


def test_classes_are_in_the_order_of_training_whatever_the_file_of_a_test_says():
    content = sorted_as(('zebra', 'dog', 'cat'), CONTENT)
    assert [category['name'] for category in content['categories']] == ['zebra', 'dog', 'cat']
    assert [category['id'] for category in content['categories']][1:] == [5, 3]
    assert content['categories'][0]['id'] not in (3, 5, 6)
    assert len(sorted_as(('dog',), CONTENT)['annotations']) == 2


def changed(**values):
    """The content with other values of its first box."""
    content = deepcopy(CONTENT)
    content['annotations'][0].update(values)
    return content


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[', 'is not JSON'),
        ('[]', r"is not of COCO's format: .*without \['images', 'annotations', 'categories'\]"),
        (dict(CONTENT, images=[]), 'has no images: its list "images" is empty'),
        (dict(CONTENT, categories=[]), 'has no categories'),
        (dict(CONTENT, images=[dict(id=7)]), '1 entries without one of: id file_name width height'),
        (
            dict(CONTENT, images=[dict(CONTENT['images'][0], width='8')]),
            '1 entries whose "width" or "height" is not a number of pixels',
        ),
        (dict(CONTENT, images=CONTENT['images'][:1] * 2), '"images" uses each id once, but 7 more than once'),
        (changed(bbox=[1, 2, 3]), r'1 entries with a "bbox" other than \[x, y, width, height\]; the first is'),
        (changed(bbox=[1, 2, 3, math.nan]), '1 entries with a "bbox" other'),
        (changed(category_id=4), 'with a "category_id" that is not in "categories", which has 3, 5, 6'),
        (changed(image_id=1), 'with an "image_id" that is not in "images"'),
    ],
)
def test_a_file_that_is_wrong_is_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_annotations(written(tmp_path, content))
    with pytest.raises(FileNotFoundError, match='Correct data_root, ann_file or class_file'):
        read_annotations(tmp_path / 'none.json')


STORED, UPRIGHT = (8, 6), (6, 8)  # columns and rows before and after a quarter turn


@pytest.mark.parametrize(
    ('color_type', 'fits', 'other', 'cure'),
    [
        ('color', UPRIGHT, STORED, "color_type='color_ignore_orientation'"),
        ('color_ignore_orientation', STORED, UPRIGHT, "color_type='color'"),
    ],
)
def test_sizes_are_those_of_the_images_as_the_loader_turns_them(tmp_path, color_type, fits, other, cure):
    loader = LoadImageFromFile(color_type=color_type)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    Image.new('RGB', STORED).save(tmp_path / 'turned.jpg', exif=exif)
    Image.new('RGB', STORED).save(tmp_path / 'plain.jpg')
    assert loader(dict(img_path=str(tmp_path / 'turned.jpg')))['img'].shape[1::-1] == fits

    def compare(**sizes):
        images = [dict(file_name=f'{name}.jpg', width=size[0], height=size[1]) for name, size in sizes.items()]
        refuse_other_sizes('boxes.json', images, tmp_path, [loader])

    compare(turned=fits, plain=STORED)
    with pytest.raises(ValueError, match=rf'turned\.jpg has .* but .* of boxes.json say .*EXIF.*{re.escape(cure)}'):
        compare(plain=STORED, turned=other)
    with pytest.raises(ValueError, match=r'plain\.jpg has 8 x 6 pixels .* say 16 x 12, .* scale the boxes'):
        compare(turned=fits, plain=(16, 12))


def test_of_many_images_a_spread_sample_is_compared(tmp_path, monkeypatch, log):
    Image.new('RGB', STORED).save(tmp_path / 'plain.jpg')
    images = [dict(file_name='plain.jpg', width=8, height=6 + place % 2) for place in range(5)]
    monkeypatch.setattr(image_sizes, 'NUM_READ', 3)
    refuse_other_sizes('boxes.json', images, tmp_path, [])  # 0, 2 and 4
    assert 'boxes.json: sizes compared with 3 of 5 files, evenly spread' in log()
    monkeypatch.setattr(image_sizes, 'NUM_READ', 5)
    with pytest.raises(ValueError, match='8 x 6 pixels as it is loaded'):
        refuse_other_sizes('boxes.json', images, tmp_path, [])


@pytest.mark.parametrize('scale', ['linear', 'log'])
def test_the_bias_is_that_of_each_cell_and_each_edge(scale):
    torch.manual_seed(0)
    bias, boxes = BoxBias(2, hidden=8, scale=scale), torch.rand(2, 3, 4)
    columns, rows = torch.rand(2, 5), torch.rand(2, 4)

    def seen(distance):
        if scale == 'linear':
            return distance
        return math.copysign(math.log2(1 + 8 * abs(distance)) / 3, distance)

    def along(layers, place, low, high):
        (first, _, last), distances = layers, torch.tensor([seen(place - low), seen(place - high)])
        return last.weight @ (first.weight @ distances + first.bias).clamp(min=0) + last.bias

    found = bias(boxes, columns, rows)
    assert found.shape == (2, 2, 3, 4, 5)
    for image in range(2):
        for query, (x, y, width, height) in enumerate(boxes[image].tolist()):
            for row in range(4):
                for column in range(5):
                    expected = along(bias.along_x, columns[image, column].item(), x - width / 2, x + width / 2)
                    expected = expected + along(bias.along_y, rows[image, row].item(), y - height / 2, y + height / 2)
                    torch.testing.assert_close(found[image, :, query, row, column], expected)
    with pytest.raises(ValueError, match="scale='squared' is none of"):
        BoxBias(2, scale='squared')


def test_cells_lie_in_shares_of_each_image_and_beyond_it_in_its_padding():
    found = cell_centres(4, 32, [32, 16], torch.zeros(1))
    torch.testing.assert_close(found, torch.tensor([[0.125, 0.375, 0.625, 0.875], [0.25, 0.75, 1.25, 1.75]]))
