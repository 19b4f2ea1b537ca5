"""Steps of mmcv pipelines for search: whole images, queries cut to their boxes, copies under attack."""

import numpy as np
from mmcv.transforms import BaseTransform

from dino_plugin.data.mmcv_transforms import image_in_order
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.retrieval.attacks import attack_image


class ResizeWhole(BaseTransform):
    """The whole image, resized (bicubic, antialiased): to a square, or so that its longer side is not too long.

    Args:
        square: Pixels of the square's side; proportions are lost. As in the evaluation of Copydays.
        longest: Pixels of the longer side at most; smaller images keep their size. As in that of Oxford and Paris.

    Raises:
        ValueError: Unless one of the two is given, and positive.
    """

    def __init__(self, square: int | None = None, longest: int | None = None) -> None:
        if (square is None) == (longest is None) or (square or longest or 0) < 1:
            raise ValueError(f'ResizeWhole: give square or longest, in pixels, got square={square}, longest={longest}.')
        self.square = square
        self.longest = longest

    def transform(self, results: dict) -> dict:
        """Replace ``img``; it is RGB afterwards."""
        image = image_in_order(results)
        rows, columns = self._size(*image.shape[:2])
        if (rows, columns) != image.shape[:2]:
            image = resize(image, rows, columns)
        return results | dict(img=np.ascontiguousarray(image), channel_order='rgb', img_shape=image.shape[:2])

    def _size(self, rows: int, columns: int) -> tuple[int, int]:
        if self.square is not None:
            return self.square, self.square
        factor = min(1, self.longest / max(rows, columns))
        return max(1, round(factor * rows)), max(1, round(factor * columns))


class CutToBox(BaseTransform):
    """The part of ``img`` inside ``box`` (left, top, right, bottom in pixels); nothing happens without a box.

    Raises:
        ValueError: When called, if the box has no pixel inside the image.
    """

    def transform(self, results: dict) -> dict:
        """Replace ``img``; it is RGB afterwards."""
        if results.get('box') is None:
            return results
        image = image_in_order(results)
        left, top, right, bottom = (round(side) for side in results['box'])
        part = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        if part.size == 0:
            rows, columns = image.shape[:2]
            raise ValueError(
                f'The box {tuple(results["box"])} (left, top, right, bottom) has no pixel in the {columns} x {rows} '
                f'pixels of {results.get("img_path")}: is it of another size of the image?'
            )
        return results | dict(img=np.ascontiguousarray(part), channel_order='rgb', img_shape=part.shape[:2])


class AttackImage(BaseTransform):
    """`attack_image` by ``attack`` (a name, a seed and the number of the image) of ``AttackedImages``."""

    def transform(self, results: dict) -> dict:
        """Replace ``img``; it is RGB afterwards."""
        image = attack_image(image_in_order(results), *results['attack'])
        return results | dict(img=image, channel_order='rgb', img_shape=image.shape[:2])
