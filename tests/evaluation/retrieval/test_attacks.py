"""Synthetic attacks: each does what its name says, as strongly as it says, and the same each time."""

import cv2
import numpy as np
import pytest
from bundled import DAVIS

from dino_plugin.data.images.decoding import read_image
from dino_plugin.evaluation.retrieval.attacks import ATTACKS, attack_image


@pytest.fixture(scope='module')
def photograph():
    image = read_image(DAVIS / 'JPEGImages/480p/blackswan/00000.jpg')
    return cv2.resize(image, (160, 90), interpolation=cv2.INTER_AREA)


def difference(image, other):
    return np.abs(image.astype(float) - other).mean()


@pytest.mark.parametrize('name', ATTACKS)
@pytest.mark.parametrize('shape', [(90, 160), (160, 90), (1, 1), (3, 50), (32, 32)])
def test_an_attack_changes_the_image_and_not_its_argument(name, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = image.copy()
    attacked = attack_image(image, name)
    assert np.array_equal(image, before)
    assert attacked.flags.c_contiguous and attacked.size > 0
    if min(shape) > 1:
        assert not np.array_equal(attacked, image)
    if 'crop' not in name:
        assert attacked.shape == image.shape


@pytest.mark.parametrize('name', ATTACKS)
def test_an_attack_depends_on_seed_number_and_name_alone(name, photograph):
    attacked = attack_image(photograph, name, 3, 5)
    assert np.array_equal(attacked, attack_image(photograph, name, 3, 5))
    if name.split('-')[0] not in ('jpeg', 'blur'):  # nothing in them is random
        assert not np.array_equal(attacked, attack_image(photograph, name, 4, 5))
        assert not np.array_equal(attacked, attack_image(photograph, name, 3, 6))


@pytest.mark.parametrize('kind', ['jpeg', 'blur', 'noise', 'text', 'rotation', 'print'])
def test_a_strong_attack_changes_more_than_a_mild_one(kind, photograph):
    changes = [
        np.mean([difference(photograph, attack_image(photograph, f'{kind}-{strength}', 0, n)) for n in range(10)])
        for strength in ('mild', 'strong')
    ]
    assert 0 < 1.3 * changes[0] < changes[1]


@pytest.mark.parametrize(('strength', 'share'), [('mild', 0.7), ('strong', 0.3)])
def test_a_crop_is_a_part_of_the_image_of_the_area_that_it_says(strength, share, photograph):
    part = attack_image(photograph, f'crop-{strength}')
    assert part.shape[0] * part.shape[1] / (90 * 160) == pytest.approx(share, rel=0.02)
    found = cv2.matchTemplate(photograph, part, cv2.TM_SQDIFF)
    top, left = np.unravel_index(found.argmin(), found.shape)
    assert np.array_equal(photograph[top:, left:][: part.shape[0], : part.shape[1]], part)


def test_compression_keeps_the_colours_in_their_places():
    """A red image stays red: OpenCV's files are BGR."""
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    for name in ('jpeg-mild', 'jpeg-strong'):
        assert np.abs(attack_image(red, name).reshape(-1, 3).mean(axis=0) - [200, 0, 0]).max() < 40


def test_noise_is_as_large_as_it_says():
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert attack_image(grey, 'noise-mild').std() == pytest.approx(12, rel=0.03)
    assert attack_image(grey, 'noise-strong').std() == pytest.approx(45, rel=0.05)


def test_a_rotated_image_has_black_corners_and_its_middle():
    image = np.full((101, 101, 3), 200, np.uint8)
    turned = attack_image(image, 'rotation-strong')
    assert (turned[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert (turned[20:80, 20:80] == 200).all()


def test_another_name_is_refused(photograph):
    with pytest.raises(ValueError, match="no attack 'crop'"):
        attack_image(photograph, 'crop')
