"""Images of many channels, made of the bundled real ones: red, green, blue and their gradients."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
from bundled import DAVIS

FRAMES = sorted((DAVIS / 'JPEGImages/480p').glob('*/00000.jpg'))
BITS = 12


def five_channels(path: Path, rows: int = 60, columns: int = 80) -> np.ndarray:
    """uint16 of 12 bits: red, green, blue, and the gradients of the luma across and down, around the middle."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    grey = image.mean(axis=2)
    gradients = [cv2.Sobel(grey, cv2.CV_32F, *axes) / 8 + 128 for axes in ((1, 0), (0, 1))]
    levels = np.concatenate([image, np.stack(gradients, axis=2)], axis=2).clip(0, 255)
    return np.rint(levels * ((2**BITS - 1) / 255)).astype(np.uint16)


def write_images(root: Path, pictures: Sequence[Path], channels: int = 5, suffix: str = '.tif') -> Path:
    """Pictures of CIFAR below the names of their classes, with so many channels; as TIFF each channel is a page."""
    for path in pictures:
        image = np.tile(five_channels(path, 32, 32), 3)[..., :channels]
        file = root / path.parent.name / (path.stem + suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        if suffix == '.npy':
            np.save(file, image)
        else:
            tifffile.imwrite(file, np.moveaxis(image, -1, 0), photometric='minisblack')
    return root
