"""Object masks over the frames of a video, as a film and on a sheet."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from dino_plugin.data.images.label_masks import davis_palette, labels_in
from dino_plugin.visualization.contact_sheet import WHITE, contact_sheet


def overlay_mask(
    image: UInt8[np.ndarray, 'rows columns 3'], mask: UInt8[np.ndarray, 'rows columns'], opacity: float = 0.5
) -> UInt8[np.ndarray, 'rows columns 3']:
    """The image with each object tinted in its colour of DAVIS's palette, with a lighter outline.

    Args:
        image: RGB.
        mask: Labels; pixels with label 0 keep their colours.
        opacity: Share of the tint, in [0, 1].
    """
    colours = davis_palette()
    shown = np.where(mask[..., None] > 0, (1 - opacity) * image + opacity * colours[mask], image)
    shown = shown.round().astype(np.uint8)
    for label in set(labels_in(mask)) - {0}:
        outlines, _ = cv2.findContours((mask == label).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        light = (colours[label].astype(int) + WHITE) // 2
        cv2.drawContours(shown, outlines, -1, light.tolist(), thickness=max(1, image.shape[0] // 240))
    return shown


class VideoWriter:
    """A context that writes RGB frames of one size into an mp4.

    A frame with an odd number of rows or columns gets one more, since the format needs even numbers.

    Args:
        path: A name that ends in .mp4; its folder is made.
        frames_per_second: Frames that the film shows in a second.

    Raises:
        RuntimeError: At the first frame, if this OpenCV writes no mp4.
    """

    def __init__(self, path: str | os.PathLike, frames_per_second: float = 24.0) -> None:
        self.path = Path(path)
        self.frames_per_second = frames_per_second
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: UInt8[np.ndarray, 'rows columns 3']) -> None:
        """Add a frame."""
        rows, columns = frame.shape[:2]
        frame = cv2.copyMakeBorder(frame, 0, rows % 2, 0, columns % 2, cv2.BORDER_REPLICATE)
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code, size = cv2.VideoWriter.fourcc(*'mp4v'), frame.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self.path), code, self.frames_per_second, size)
            if not self._writer.isOpened():
                raise RuntimeError(
                    f'{self.path} cannot be written: this build of OpenCV has no mp4 writer, or the folder is not '
                    'writable. The wheels of opencv-python have one.'
                )
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


def mask_sheet(
    rows: Sequence[tuple[str, Sequence[UInt8[np.ndarray, 'rows columns 3']]]], height: int = 160
) -> UInt8[np.ndarray, 'sheet_rows sheet_columns 3']:
    """Images side by side at one height, a row for each label.

    Args:
        rows: Label and RGB images of each row.
        height: Height of an image, in pixels.
    """
    reduced = [
        [cv2.resize(image, (round(image.shape[1] * height / image.shape[0]), height), interpolation=cv2.INTER_AREA)
         for image in images]
        for _, images in rows
    ]  # fmt: skip
    return contact_sheet(reduced, [label for label, _ in rows])
