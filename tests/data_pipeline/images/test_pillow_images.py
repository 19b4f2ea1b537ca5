"""Pillow images that a user hands over have the levels of their files: 16 bits do not become white."""

import random
import re

import numpy as np
import pytest
import torch
from PIL import Image

from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.images.pillow_images import as_rgb
from dino_plugin.data.lightly.old_collate import DINOCollateFunction
from dino_plugin.data.multi_crop import MultiCrop

RAMP = np.linspace(0, 65535, 48 * 48).reshape(48, 48).astype(np.uint16)


@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_sixteen_bits_give_the_views_of_the_file(tmp_path, ending):
    Image.fromarray(RAMP).save(path := tmp_path / f'ramp.{ending}')
    with Image.open(path) as image:
        assert image.mode == 'I;16'
        assert np.array_equal(read_image(path), np.repeat(RAMP[..., None] >> 8, 3, axis=2))
        assert np.array_equal(as_rgb(image), read_image(path))
        of_pillow, of_file = (_views(each) for each in (image, read_image(path)))
        assert all(map(torch.equal, of_pillow, of_file))
        collate = DINOCollateFunction(32, local_crop_size=16, n_local_views=2, normalize=None)
        of_pillow, of_file = (_collated(collate, each) for each in (image, Image.fromarray(read_image(path))))
        assert all(map(torch.equal, of_pillow, of_file))


@pytest.mark.parametrize('kind', [np.int32, np.float32])
def test_thirty_two_bits_are_refused_with_the_cure(kind):
    image = Image.fromarray(RAMP.astype(kind))
    for act in (MultiCrop(32, local_size=16, num_local=2), as_rgb):
        with pytest.raises(UndecodableImageError, match=re.escape('load it by dino_plugin.LoadChannels')):
            act(image)


def _views(image):
    random.seed(0)
    return MultiCrop(32, local_size=16, num_local=2)(image)


def _collated(collate, image):
    random.seed(0)
    return collate([(image, 0, 'ramp')])[0]
