"""Real images; their boxes resized and their colours changed by Pillow and torchvision."""

import numpy as np
from bundled import DATA
from PIL import Image

from benchmark import pillow_views

FRAMES = sorted((DATA / 'davis/JPEGImages/480p').glob('*/00000.jpg'))
PHOTOS = sorted((DATA / 'cifar10_mini/test').glob('*/*.jpg'))[::125]
IMAGES = [np.array(Image.open(path).convert('RGB').resize((160, 160), Image.BICUBIC)) for path in FRAMES + PHOTOS]
SMALL_IMAGES = [np.array(Image.open(path).convert('RGB')) for path in PHOTOS]


def pillow_colours(image, change):
    """The same parameters by Pillow and torchvision, one operation after the other."""
    return np.asarray(pillow_views.pillow_colours(Image.fromarray(image), change))


def pillow_resized(image, box, size):
    """A box in this size, rows and columns."""
    return np.asarray(pillow_views.pillow_resized(Image.fromarray(image), box, size)).astype(float)
