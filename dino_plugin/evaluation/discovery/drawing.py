"""Found objects over their image, beside what is true."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from dino_plugin.data.images.label_masks import davis_palette
from dino_plugin.evaluation.objects.boxes import Boxes
from dino_plugin.visualization.overlay import overlay_mask

Picture = UInt8[np.ndarray, 'rows columns 3']


def draw_objects(
    image: Picture,
    masks: Bool[np.ndarray, 'objects rows columns'] | None,
    boxes: Boxes | None,
) -> Picture:
    """The image with a colour for each object: its mask tinted, its box as a line; nothing of what is None."""
    shown = image.copy()
    if masks is not None:
        labels = np.zeros(image.shape[:2], np.uint8)
        for label, mask in enumerate(masks, start=1):
            labels[mask] = _colour_of(label)
        shown = overlay_mask(image, labels)
    width = max(2, round(max(image.shape) / 200))
    for label, box in enumerate([] if boxes is None else boxes.tolist(), start=1):
        colour = ((davis_palette()[_colour_of(label)].astype(int) + 255) // 2).tolist()
        left, top, right, bottom = (round(edge) for edge in box)
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), colour, width)
    return shown


def _colour_of(label: int) -> int:
    """A label of the palette, 1 to 20: neighbours differ, none is white."""
    return (label - 1) % 20 + 1


def picture_row(
    image: Picture,
    found: tuple[Bool[np.ndarray, 'objects rows columns'], Boxes],
    refined: Bool[np.ndarray, 'objects rows columns'] | None = None,
    truth: tuple[Bool[np.ndarray, '_ rows columns'] | None, Float[np.ndarray, '_ 4'] | None] | None = None,
) -> Sequence[Picture]:
    """A row of a sheet: the image, what was found, refined masks and what is true, as far as they are known."""
    row = [image, draw_objects(image, *found)]
    if refined is not None:
        row.append(draw_objects(image, refined, None))
    if truth is not None:
        row.append(draw_objects(image, *truth))
    return row
