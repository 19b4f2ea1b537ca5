"""Real images, and their colours changed by Pillow and torchvision."""

from pathlib import Path

import numpy as np
import torchvision.transforms.functional as torchvision
from PIL import Image, ImageFilter, ImageOps

DATA = Path(__file__).parents[1] / 'data'
FRAMES = sorted((DATA / 'davis/JPEGImages/480p').glob('*/00000.jpg'))
PHOTOS = sorted((DATA / 'cifar10_mini/test').glob('*/*.jpg'))[::125]
IMAGES = [np.array(Image.open(path).convert('RGB').resize((160, 160), Image.BICUBIC)) for path in FRAMES + PHOTOS]
SMALL_IMAGES = [np.array(Image.open(path).convert('RGB')) for path in PHOTOS]

ADJUST = {
    'brightness': torchvision.adjust_brightness,
    'contrast': torchvision.adjust_contrast,
    'saturation': torchvision.adjust_saturation,
    'hue': torchvision.adjust_hue,
}


def pillow_colours(image, change):
    """The same parameters by Pillow and torchvision, one operation after the other."""
    image = Image.fromarray(image)
    for name, value in change.jitter:
        image = ADJUST[name](image, value)
    if change.greyscale:
        image = torchvision.rgb_to_grayscale(image, num_output_channels=3)
    if change.blur_sigma:
        image = image.filter(ImageFilter.GaussianBlur(change.blur_sigma))
    if change.solarize_threshold is not None:
        image = ImageOps.solarize(image, change.solarize_threshold)
    return np.asarray(image)
