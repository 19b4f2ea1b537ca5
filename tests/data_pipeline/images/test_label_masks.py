"""Indexed PNG: labels survive, colours are DAVIS's, everything else is refused."""

import numpy as np
import pytest
from bundled import DAVIS
from PIL import Image

from dino_plugin.data.images.label_masks import davis_palette, read_mask, resize_mask, write_mask

MASK = DAVIS / 'Annotations/480p/libby/00006.png'


def test_the_palette_is_that_of_the_bundled_masks():
    with Image.open(MASK) as file:
        assert file.getpalette()[:60] == davis_palette().ravel().tolist()[:60]
    assert davis_palette()[[1, 2, 3, 4, 8, 255]].tolist() == [
        [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [64, 0, 0], [224, 224, 192],
    ]  # fmt: skip
    assert len(np.unique(davis_palette(), axis=0)) == 256


def test_labels_survive_writing_and_reading(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(mask, tmp_path / 'mask.png')
    assert np.array_equal(read_mask(tmp_path / 'mask.png'), mask)
    with Image.open(tmp_path / 'mask.png') as file:
        assert (file.mode, file.format) == ('P', 'PNG')


def test_grey_and_black_and_white_files_hold_labels_too(tmp_path):
    mask = np.array([[0, 3], [1, 2]], np.uint8)
    Image.fromarray(mask).save(tmp_path / 'grey.png')
    Image.fromarray(mask > 0).save(tmp_path / 'black_and_white.png')
    assert read_mask(tmp_path / 'grey.png').tolist() == mask.tolist()
    assert read_mask(tmp_path / 'black_and_white.png').tolist() == [[0, 1], [1, 1]]


def test_colours_and_damage_are_refused_by_name(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'colours.png')
    with pytest.raises(ValueError, match=r'colours\.png has colours \(mode RGB\) instead of labels'):
        read_mask(tmp_path / 'colours.png')
    (tmp_path / 'cut.png').write_bytes(MASK.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r'cut\.png: the file is truncated'):
        read_mask(tmp_path / 'cut.png')
    (tmp_path / 'text.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'text\.png cannot be read as an image'):
        read_mask(tmp_path / 'text.png')


def test_resizing_takes_the_label_under_the_centre():
    mask = np.arange(30, dtype=np.uint8).reshape(5, 6)
    rows, columns = 3, 4
    centres = [
        [mask[int((y + 0.5) * 5 / rows), int((x + 0.5) * 6 / columns)] for x in range(columns)] for y in range(rows)
    ]
    assert resize_mask(mask, rows, columns).tolist() == centres
