"""Images -> features: the only file of the evaluators that knows a model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import normalize

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.core.views import Tokens
from dino_plugin.data.preprocessor import ViewPreprocessor

Features = Literal['class', 'mean', 'class+mean']
Wanted = Literal['class', 'mean', 'class+mean', 'patches']


def pool(tokens: Tokens | Sequence[Tokens], features: str = 'class') -> Float[Tensor, 'images dim']:
    """One float32 vector for each image.

    Args:
        tokens: Result of a backbone, or those of its last blocks, in order.
        features: `class`: the class token; those of all given blocks, concatenated. `mean`: the mean of the last
            block's patches. `class+mean`: both, concatenated; each is L2-normalised first, so that both count the same
            in a cosine.

    Raises:
        ValueError: If `features` is another word.
    """
    blocks = [tokens] if isinstance(tokens, Tokens) else tokens
    class_token = torch.cat([block.class_token.float() for block in blocks], dim=-1)
    if features == 'class':
        return class_token
    mean = blocks[-1].patches.float().mean(dim=(-3, -2))
    if features == 'mean':
        return mean
    if features == 'class+mean':
        return torch.cat([normalize(class_token, dim=-1), normalize(mean, dim=-1)], dim=-1)
    raise ValueError(f"features must be 'class', 'mean' or 'class+mean', got {features!r}.")


def first_features(tokens: Tokens, share: float) -> Tokens:
    """Tokens cut off after the first ``round(share * dim)`` features, which nested heads train for that."""
    read = round(share * tokens.class_token.shape[-1])
    return Tokens(*(token[..., :read] for token in tokens))


def last_blocks(backbone: nn.Module, images: Tensor, number: int) -> list[Tokens]:
    """Tokens of a backbone's last blocks; only `TimmBackbone` gives more than one."""
    return [backbone(images)] if number == 1 else backbone.last_blocks(images, number)


def extract_features(
    backbone: nn.Module,
    loader: Iterable[Any],
    features: Features = 'class',
    preprocessor: Callable[[Any], dict] | None = None,
    autocast_dtype: torch.dtype | None = None,
    num_blocks: int = 1,
) -> tuple[Float[Tensor, 'samples dim'], Int[Tensor, ' samples']]:
    """Features and labels of all images of a loader, in its order, on the backbone's device.

    In a distributed run each process gets the features of its own part of the data.

    Args:
        backbone: Images -> `Tokens`, such as `TimmBackbone`. Its training mode does not change.
        loader: Batches that begin with images and labels; images are uint8 or int16
            `batch rows columns channels`, or float `batch channels rows columns` already normalised.
        features: As in `pool`.
        preprocessor: Batch -> `dict(images=..., labels=...)` on the device. Default: ImageNet's mean and deviation.
        autocast_dtype: Run the network in this precision, such as `torch.bfloat16`; features stay float32.
        num_blocks: Number of last blocks whose class tokens are concatenated.
    """
    found = list(stream_features(backbone, loader, features, preprocessor, autocast_dtype, num_blocks))
    if found:
        return tuple(torch.cat(parts) for parts in zip(*found))
    device = next(backbone.parameters()).device  # with more processes than images
    width = backbone.embed_dim * (num_blocks * ('class' in features) + ('mean' in features))
    return torch.zeros(0, width, device=device), torch.zeros(0, dtype=torch.long, device=device)


def stream_features(
    backbone: nn.Module,
    loader: Iterable[Any],
    features: Wanted = 'class',
    preprocessor: Callable[[Any], dict] | None = None,
    autocast_dtype: torch.dtype | None = None,
    num_blocks: int = 1,
) -> Iterator[tuple[Float[Tensor, 'batch ...'], Int[Tensor, ' batch']]]:
    """Features and labels of one batch after the other, on the backbone's device; float32.

    Args:
        backbone: As in `extract_features`, like the other arguments.
        features: As in `pool`, or `patches` for the patch grids of the last block, `batch rows columns dim`.
    """
    device = next(backbone.parameters()).device
    preprocessor = preprocessor or ViewPreprocessor().to(device)
    for batch in loader:
        inputs = preprocessor((batch[0], batch[1], None))
        # Not inference_mode: a network may keep tensors (rotary positions), and training could not use them afterwards.
        # The contexts end before the yield: the caller's code must not run in them.
        with torch.no_grad(), evaluation_mode(backbone), _autocast(device, autocast_dtype):
            blocks = last_blocks(backbone, inputs['images'], num_blocks)
            found = blocks[-1].patches.float() if features == 'patches' else pool(blocks, features)
        yield found, inputs['labels']


def stream_patches(
    backbone: nn.Module,
    images: Iterable[UInt8[np.ndarray, 'height width 3']],
    short_side: int = 480,
    multiple: int = 64,
    preprocessor: Callable[[Any], dict] | None = None,
    autocast_dtype: torch.dtype | None = None,
) -> Iterator[Float[Tensor, 'rows columns dim']]:
    """Patch features of images of one size, one image at a time, on the backbone's device; float32.

    Args:
        backbone: As in `extract_features`.
        images: RGB.
        short_side: Shorter side in pixels of what the network sees; see `network_size`.
        multiple: As in `network_size`.
        preprocessor: As in `extract_features`.
        autocast_dtype: Likewise.
    """
    device = next(backbone.parameters()).device
    preprocessor = preprocessor or ViewPreprocessor().to(device)
    for image in images:
        rows, columns = network_size(backbone, image.shape[:2], short_side, multiple)
        pixels = torch.from_numpy(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR))
        # The contexts end before the yield: the caller's code must not run in them.
        with torch.no_grad(), evaluation_mode(backbone), _autocast(device, autocast_dtype):
            patches = backbone(preprocessor((pixels[None], torch.zeros(1), None))['images']).patches[0].float()
        yield patches


def network_size(
    backbone: nn.Module, size: tuple[int, int], short_side: int = 480, multiple: int = 64
) -> tuple[int, int]:
    """Rows and columns of an image for the network: whole patches, in nearly the proportions of the image.

    The shorter side becomes `short_side`; the longer one is rounded down to a multiple of `multiple`, as in DINO's
    evaluation of video. Then both are rounded down to whole patches.

    Args:
        backbone: A network with a `patch_size`; if that is None, patches of 32 pixels are assumed.
        size: Rows and columns of the image.
        short_side: Pixels.
        multiple: Pixels.

    Raises:
        ValueError: If no patch fits into the shorter side.
    """
    cells = backbone.patch_size or (32, 32)
    if short_side < max(cells):
        raise ValueError(f'short_side={short_side} is less than one patch of {cells} pixels: give a larger one.')
    lengths = [short_side * length / min(size) for length in size]
    steps = [1 if length == min(size) else multiple for length in size]
    whole = [int(length // step) * step or int(length) for length, step in zip(lengths, steps)]
    return tuple(length // cell * cell for length, cell in zip(whole, cells))


def _autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
