"""Images -> features: the only evaluator that sees a model."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import normalize

from dino_plugin.core.views import Tokens
from dino_plugin.data.preprocessor import ViewPreprocessor

Features = Literal['class', 'mean', 'class+mean']


def pool(tokens: Tokens, features: str = 'class') -> Float[Tensor, 'images dim']:
    """One float32 vector for each image.

    Args:
        tokens: Of a backbone.
        features: `class`: the class token. `mean`: the mean of the patches. `class+mean`: both, each L2-normalised
            first so that they weigh the same in a cosine, side by side.

    Raises:
        ValueError: For any other word.
    """
    class_token = tokens.class_token.float()
    if features == 'class':
        return class_token
    mean = tokens.patches.float().mean(dim=(-3, -2))
    if features == 'mean':
        return mean
    if features == 'class+mean':
        return torch.cat([normalize(class_token, dim=-1), normalize(mean, dim=-1)], dim=-1)
    raise ValueError(f"features must be 'class', 'mean' or 'class+mean', got {features!r}.")


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and outside again whatever each part of the module was in."""
    were_training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in were_training:
            part.training = True


def extract_features(
    backbone: nn.Module,
    loader: Iterable[Any],
    features: Features = 'class',
    preprocessor: Callable[[Any], dict] | None = None,
    autocast_dtype: torch.dtype | None = None,
    progress: bool = False,
) -> tuple[Float[Tensor, 'samples dim'], Int[Tensor, ' samples']]:
    """Features and labels of all images of a loader, in its order, on the backbone's device.

    In a distributed run each process gets those of its own part of the data.

    Args:
        backbone: Images -> `Tokens`, such as `TimmBackbone`. Its training mode is as before afterwards.
        loader: Batches that begin with images and labels; images are uint8 `batch rows columns 3`, or float
            `batch 3 rows columns` already normalised.
        features: As in `pool`.
        preprocessor: Batch -> `dict(images=..., labels=...)` on the device. Default: ImageNet's mean and deviation.
        autocast_dtype: Run the network in this precision, such as `torch.bfloat16`; features stay float32.
        progress: Show a progress bar.
    """
    device = next(backbone.parameters()).device
    if preprocessor is None:
        preprocessor = ViewPreprocessor().to(device)
    found_features, found_labels = [], []
    # Not inference_mode: networks may keep what they compute (rotary positions), and training could not use it then.
    with torch.no_grad(), evaluation_mode(backbone), _autocast(device, autocast_dtype):
        for batch in track(loader, 'Features', disable=not progress):
            inputs = preprocessor((batch[0], batch[1], None))
            found_features.append(pool(backbone(inputs['images']), features))
            found_labels.append(inputs['labels'])
    if not found_features:  # a process may have no part of a small set
        width = backbone.embed_dim * len(features.split('+'))
        return torch.zeros(0, width, device=device), torch.zeros(0, dtype=torch.long, device=device)
    return torch.cat(found_features), torch.cat(found_labels)


def _autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
