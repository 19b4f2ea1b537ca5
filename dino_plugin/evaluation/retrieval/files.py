"""Image files -> descriptors, for search from the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dino_plugin.backbones.evaluation_mode import evaluation_mode
from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.views.resizing import resize
from dino_plugin.evaluation.progress import progress
from dino_plugin.evaluation.retrieval.descriptors import describe


class Described(NamedTuple):
    """Descriptors of the images that can be read, and why the others cannot."""

    features: Float[Tensor, 'images dim']
    paths: list[Path]
    failed: dict[Path, str]


def describe_files(
    backbone: nn.Module,
    paths: Sequence[Path],
    size: int = 224,
    features: str = 'class',
    batch_size: int = 32,
    num_workers: int = 0,
) -> Described:
    """One descriptor an image, of the whole image resized to a square.

    Args:
        backbone: Images -> `Tokens`, such as `TimmBackbone`.
        paths: Image files.
        size: Pixels of the square's side. Proportions are lost, as in the evaluation of copies, but no part is cut off.
        features: As in `describe`.
        batch_size: Images at a time.
        num_workers: Processes that read images.

    Raises:
        ValueError: If no image can be read, or as in `describe`; `size` must be positive.
    """
    if size < 1:
        raise ValueError(f'size is a number of pixels above 0, got {size}.')
    device = next(backbone.parameters()).device
    preprocessor = ViewPreprocessor().to(device)
    loader = DataLoader(_Squares(paths, size), batch_size, num_workers=num_workers, collate_fn=list)
    rows, readable, failed = [], [], {}
    for samples in progress(loader, f'{len(paths)} images'):
        images = [image for _, image in samples if isinstance(image, Tensor)]
        readable += [paths[number] for number, image in samples if isinstance(image, Tensor)]
        failed |= {paths[number]: reason for number, reason in samples if isinstance(reason, str)}
        if images:
            with torch.no_grad(), evaluation_mode(backbone):
                inputs = preprocessor((torch.stack(images), torch.zeros(len(images)), None))
                rows.append(describe(backbone(inputs['images']), features))
    if not rows:
        raise ValueError(f'None of {len(paths)} images can be read: {next(iter(failed.values()), "there are none")}')
    return Described(torch.cat(rows), readable, failed)


class _Squares(Dataset):
    """Number and pixels of each file, or number and what is wrong with it."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths = list(paths)
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[int, UInt8[Tensor, 'rows columns 3'] | str]:
        try:
            image = read_image(self.paths[number])
        except (UndecodableImageError, OSError) as error:
            return number, str(error)
        return number, torch.from_numpy(resize(image, self.size, self.size))
