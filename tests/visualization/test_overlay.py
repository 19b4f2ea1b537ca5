"""Overlays: tints are where the objects are, and a film holds every frame."""

import cv2
import numpy as np
import pytest

from dino_plugin.data.images.label_masks import davis_palette
from dino_plugin.visualization import overlay
from dino_plugin.visualization.contact_sheet import GAP, LABEL_HEIGHT
from dino_plugin.visualization.overlay import VideoWriter, mask_sheet, overlay_mask

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
MASK = np.zeros((60, 80), np.uint8)
MASK[10:30, 10:30], MASK[30:50, 40:70] = 1, 2


def test_objects_are_tinted_in_their_colour_and_the_rest_is_the_image():
    shown = overlay_mask(IMAGE, MASK)
    for label, inside in ((1, np.s_[12:28, 12:28]), (2, np.s_[32:48, 42:68])):
        expected = (IMAGE[inside] / 2 + davis_palette()[label] / 2).round()
        assert np.array_equal(shown[inside], expected)
    assert np.array_equal(shown[MASK == 0], IMAGE[MASK == 0])
    assert shown[10, 10].tolist() == [(128 + 255) // 2, 127, 127], 'outlined in light red'
    assert np.array_equal(overlay_mask(IMAGE, MASK, opacity=0)[12:28, 12:28], IMAGE[12:28, 12:28])
    assert np.array_equal(overlay_mask(IMAGE, 0 * MASK), IMAGE)


@pytest.mark.parametrize('shape', [(48, 64), (47, 63)])
def test_a_film_holds_every_frame_in_order_and_in_colour(shape, tmp_path):
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    with VideoWriter(tmp_path / 'films/film.mp4', frames_per_second=5) as film:
        for colour in colours:
            film.write(np.full((*shape, 3), colour, np.uint8))
    film = cv2.VideoCapture(str(tmp_path / 'films/film.mp4'))
    assert film.get(cv2.CAP_PROP_FPS) == 5
    for colour in colours:
        frame = film.read()[1]
        assert frame.shape == (48, 64, 3)
        assert np.abs(frame[..., ::-1].astype(int) - colour).max() < 12
    assert not film.read()[0]


def test_an_opencv_without_mp4_says_so(tmp_path, monkeypatch):
    class Closed:  # not derived from OpenCV's class: its objects crash the garbage collector
        fourcc = overlay.cv2.VideoWriter.fourcc

        def __init__(self, *arguments):
            pass

        def isOpened(self):
            return False

        def release(self):
            pass

    monkeypatch.setattr(overlay.cv2, 'VideoWriter', Closed)
    cannot = pytest.raises(RuntimeError, match=r'film\.mp4 cannot be written: this build of OpenCV has no mp4 writer')
    with cannot, VideoWriter(tmp_path / 'film.mp4') as film:
        film.write(IMAGE)


def test_a_sheet_has_a_row_for_each_label_with_images_of_one_height():
    grey = [np.full((300, 500, 3), level, np.uint8) for level in (10, 90)]
    sheet = mask_sheet([('a', grey), ('b', grey[::-1])], height=150)
    rows, left, right = LABEL_HEIGHT + 150 + GAP, GAP + 125, 2 * GAP + 250 + 125
    assert sheet.shape[0] == 2 * rows
    places = [sheet[top + LABEL_HEIGHT + 75, column].tolist() for top in (0, rows) for column in (left, right)]
    assert places == [[10] * 3, [90] * 3, [90] * 3, [10] * 3]
