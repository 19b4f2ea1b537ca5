"""Queries and the images that were found for them, on one sheet."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from dino_plugin.visualization.contact_sheet import contact_sheet

HEIGHT = 120
CAPTION = 16
FRAME = (220, 40, 40)
WIDEST = 3  # times the height; panoramas are cut at the sides


class Answer(NamedTuple):
    """An image with the line below it."""

    image: UInt8[np.ndarray, 'rows columns 3']
    caption: str


def answers_sheet(
    rows: Sequence[tuple[str, UInt8[np.ndarray, '_ _ 3'], Sequence[Answer]]], height: int = HEIGHT
) -> UInt8[np.ndarray, 'rows columns 3']:
    """A row for each query: its label, the query in a red frame, and the answers from left to right.

    Args:
        rows: Label, RGB query and answers.
        height: Of each picture, in pixels.

    Raises:
        ValueError: As in `contact_sheet`.
    """
    pictures = []
    for _, query, answers in rows:
        framed = _scaled(query, height)
        cv2.rectangle(framed, (0, 0), (framed.shape[1] - 1, framed.shape[0] - 1), FRAME, 3)
        found = [_captioned(_scaled(answer.image, height), answer.caption) for answer in answers]
        pictures.append([_captioned(framed, 'query'), *found])
    return contact_sheet(pictures, [label for label, _, _ in rows])


def _scaled(image: UInt8[np.ndarray, '_ _ 3'], height: int) -> UInt8[np.ndarray, 'rows columns 3']:
    widest = WIDEST * image.shape[0]
    start = max(0, (image.shape[1] - widest) // 2)
    image = image[:, start : start + widest]
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    smaller = height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _captioned(image: UInt8[np.ndarray, '_ _ 3'], text: str) -> UInt8[np.ndarray, 'rows columns 3']:
    canvas = np.full((image.shape[0] + CAPTION, max(image.shape[1], 48), 3), 255, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    cv2.putText(canvas, text, (1, canvas.shape[0] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas
