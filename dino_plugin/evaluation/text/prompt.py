"""Where in an image is what a text says?"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.text.model import ImageTextModel
from dino_plugin.evaluation.text.segmenter import patch_cosines, require_patches
from dino_plugin.visualization.attention import heat_overlay
from dino_plugin.visualization.tiles import tile_sheet
from dino_plugin.weights.safe_loading import load_checkpoint


def load_towers(checkpoint: str) -> ImageTextModel:
    """The model of a training by `ImageTextModel`, in evaluation mode.

    Args:
        checkpoint: It says itself what it was built of.

    Raises:
        ImportError: If `open_clip_torch` is not installed.
        ValueError: If it is of another training, has no patches, or is damaged.
    """
    content = load_checkpoint(checkpoint)
    meta = content.get('meta', {})
    if not {'arguments', 'backbone'} <= meta.keys():
        raise ValueError(
            f'{checkpoint} has no text tower: a checkpoint of a training by a config of configs/text is expected.'
        )
    description = dict(meta['backbone'])
    arguments = description.pop('timm_arguments')
    model = ImageTextModel(dict(type='dino_plugin.TimmBackbone', **description, **arguments), **meta['arguments'])
    require_patches(model)
    try:
        model.load_state_dict(content['state_dict'])
    except RuntimeError as error:
        raise ValueError(f'{checkpoint} does not hold what its description says: {error}') from error
    return model.eval()


@torch.no_grad()
def text_maps(
    model: ImageTextModel, image: UInt8[ndarray, 'rows columns 3'], texts: Sequence[str], size: int
) -> Float[Tensor, 'texts patch_rows patch_columns']:
    """Cosine of each patch and each text.

    Args:
        model: With patches among its ``vision.features``.
        image: RGB.
        texts: Taken as they are.
        size: Shorter side of what the network sees, in pixels.
    """
    scale = size / min(image.shape[:2])
    pixels = resize(image, *(max(1, round(side * scale)) for side in image.shape[:2]))
    device = model.loss.log_scale.device
    labels = torch.zeros(1)
    inputs = model.data_preprocessor((torch.from_numpy(pixels)[None].to(device), labels, ['']))['images']
    vectors = model.class_vectors(texts, ['{}'], model.vision.patch_part)
    return patch_cosines(model, inputs, vectors)[0].cpu()


def prompt_sheet(
    image: UInt8[ndarray, 'rows columns 3'],
    maps: Float[Tensor, 'texts patch_rows patch_columns'],
    texts: Sequence[str],
    height: int = 320,
    smooth: bool = True,
) -> UInt8[ndarray, 'sheet_rows sheet_columns 3']:
    """The image, and for each text where it glows: dark at its smallest cosine, bright at its largest, both above it.

    Args:
        image: RGB.
        maps: Of `text_maps`.
        texts: As for them.
        height: Of each picture, in pixels.
        smooth: As in `heat_overlay`.
    """
    small = resize(image, height, max(1, round(image.shape[1] * height / image.shape[0])))
    tiles = [('image', small)]
    for text, one in zip(texts, maps):
        low, high = one.min(), one.max()
        heat = ((one - low) / (high - low).clamp(min=1e-6)).numpy()
        tiles.append((f'{text}: {low:.2f} to {high:.2f}', heat_overlay(small, heat, smooth)))
    return tile_sheet([tiles[start : start + 4] for start in range(0, len(tiles), 4)])
