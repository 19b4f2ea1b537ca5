"""Samples and batches of images with captions."""

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import mmengine
import torch
from jaxtyping import Shaped
from mmcv.transforms import BaseTransform
from torch import Tensor
from torch.utils.data import default_collate

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.mmcv_transforms import PackImage
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.openmmlab.scope import named_in_configs


class PackCaptions(BaseTransform):
    """Keep what image-text training needs: (image, captions, path); the last step of a pipeline.

    Captions are ``captions`` of the data set, or those in the file ``caption_path``: text, or JSON if it begins with {.

    Args:
        draw_one: Draw one caption, by the global generator of ``random``: so `SeededDataset` decides, another one in
            each epoch, and the same in a resumed run. Evaluation takes all.
        json_key: Of the caption in JSON: a text or a list of texts.

    Raises:
        ValueError: When called, if the data set gives no captions.
        UndecodableImageError: When called, if a caption file has none; `SeededDataset` then takes another image.
    """

    def __init__(self, draw_one: bool = False, json_key: str = 'caption') -> None:
        self.draw_one, self.json_key = draw_one, json_key

    def transform(self, results: dict) -> tuple[Tensor, list[str], str]:
        """The sample."""
        image, _, path = PackImage().transform(results)
        captions = self._captions(results)
        return image, [random.choice(captions)] if self.draw_one else captions, path

    def _captions(self, results: dict) -> list[str]:
        if 'caption_path' not in results and 'captions' not in results:
            raise ValueError(
                f'no captions for {results.get("img_path")}: use dino_plugin.CaptionDataset, ShardDataset(with_captions'
                '=True) or HuggingFaceDataset(caption_column=...).'
            )
        path = results.get('caption_path', results['img_path'])
        found = self._read(path) if 'caption_path' in results else results['captions']
        captions = [text.strip() for text in ([found] if isinstance(found, str) else found or [])]
        if not captions or not all(captions):
            raise UndecodableImageError(f'{path}: a caption is empty')
        return captions

    def _read(self, path: str) -> Any:
        try:
            text = mmengine.fileio.get_text(path)
            return json.loads(text)[self.json_key] if text.lstrip().startswith('{') else text
        except (ValueError, KeyError, TypeError) as error:
            raise UndecodableImageError(f'{path} holds no caption ({type(error).__name__}: {error})') from error


class ImageCaptions(NamedTuple):
    """A batch of images with their captions, and the paths of the images."""

    images: Shaped[Tensor, 'images _ _ _']
    captions: list[list[str]]
    names: list[str]


@named_in_configs
def caption_collate(samples: Sequence[tuple[Any, list[str], str]]) -> ImageCaptions:
    """Stack samples of `PackCaptions`.

    Raises:
        ValueError: If the images differ in size.
    """
    images, captions, names = (list(part) for part in zip(*samples))
    if len(shapes := {tuple(image.shape) for image in images}) > 1:
        raise ValueError(f'images of different shapes {sorted(shapes)} in one batch: resize and crop them to one size')
    return ImageCaptions(default_collate(images), captions, names)


class CaptionPreprocessor(ViewPreprocessor):
    """`ViewPreprocessor` for `ImageCaptions`, too: -> ``dict(images=..., captions=...)``."""

    def forward(self, data: Any, training: bool = False) -> dict:
        """Prepare one batch."""
        if not isinstance(data, ImageCaptions):
            return super().forward(data, training)
        labels = torch.zeros(len(data.images))
        images = super().forward((data.images, labels, data.names))['images']
        return dict(images=images, captions=data.captions)
