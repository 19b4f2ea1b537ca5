"""Images: damage, copies, blanks, sizes, and the order of the channels."""

import cv2
import numpy as np
import pytest
from bundled import CIFAR
from doctor_levels import IMAGENET, levels

from dino_plugin.doctor.images import Images, judge_images, look_at_images


@pytest.fixture
def folder(tmp_path):
    """30 photographs, three copies of one of them, one that is damaged and two of one colour."""
    paths = []
    for number, source in enumerate(sorted(CIFAR.glob('*/*.jpg'))[::34][:30]):
        (tmp_path / f'{number:02}.jpg').write_bytes(source.read_bytes())
    for number in range(3):
        (tmp_path / f'copy{number}.jpg').write_bytes((tmp_path / '07.jpg').read_bytes())
    (tmp_path / 'damaged.jpg').write_bytes((tmp_path / '01.jpg').read_bytes()[:100])
    for number in range(2):
        cv2.imwrite(str(tmp_path / f'grey{number}.jpg'), np.full((40, 40, 3), 90, np.uint8))
    paths += sorted(map(str, tmp_path.glob('*.jpg')))
    return paths


def test_damaged_blank_and_copied_images_are_counted(folder):
    found = look_at_images(folder)
    assert (found.total, found.looked_at, found.copies, found.side) == (36, 36, 4, 32)
    assert [path.rpartition('/')[2] for path in found.unreadable] == ['damaged.jpg']
    assert [path.rpartition('/')[2] for path in found.blank] == ['grey0.jpg', 'grey1.jpg']
    said = judge_images(found, 4, 64, *IMAGENET)
    assert levels(said) == {
        'images': 'ok', 'unreadable files': 'warning', 'images of one colour': 'notice', 'copies': 'notice',
        'size': 'notice', 'normalisation': 'ok',
    }  # fmt: skip


def test_mean_and_deviation_are_those_of_the_pixels(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = (30, 60, 90)  # blue, green, red for OpenCV
    cv2.imwrite(str(tmp_path / 'half.png'), pixels)
    found = look_at_images([str(tmp_path / 'half.png')])
    assert found.mean == pytest.approx([45, 30, 15]) and found.std == pytest.approx([45, 30, 15])


@pytest.mark.parametrize(
    ('changes', 'subject', 'level'),
    [
        (dict(total=100), 'number of images', 'warning'),
        (dict(copies=60), 'copies', 'warning'),
        (dict(blank=['a'] * 90), 'images of one colour', 'fault'),
        (dict(mean=[50, 50, 50]), 'normalisation', 'notice'),
        (dict(mean=[400, 300, 300]), 'normalisation', 'warning'),
    ],
)
def test_what_is_wrong_with_images_is_told(changes, subject, level):
    well = Images(10_000, 100, [], [], 0, 300, *IMAGENET)
    assert set(levels(judge_images(well, 64, 224, *IMAGENET)).values()) == {'ok'}
    assert levels(judge_images(well._replace(**changes), 64, 224, *IMAGENET))[subject] == level
