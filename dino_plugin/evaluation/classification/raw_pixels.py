"""The baseline without a network: k-NN on the pixels themselves, in the best of several forms."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from dino_plugin.evaluation.classification.knn import knn_accuracy

NORMALISATIONS = ('none', 'image mean removed', 'bank mean removed')


class RawPixels(NamedTuple):
    """The best form of the pixels and its accuracy."""

    accuracy: float
    size: int
    normalisation: str


def raw_pixel_accuracy(
    bank_images: UInt8[Tensor, 'bank rows columns 3'],
    bank_labels: Int[Tensor, ' bank'],
    query_images: UInt8[Tensor, 'queries rows columns 3'],
    query_labels: Int[Tensor, ' queries'],
    sizes: Sequence[int] = (8, 16, 32),
    k: int = 20,
) -> RawPixels:
    """Best k-NN accuracy of raw pixels over sizes and normalisations, in percent.

    Useful features are better than this. The number is optimistic: the queries themselves decide which form is best.

    Args:
        bank_images: Labelled images, all of one size.
        bank_labels: As in `knn_accuracy`.
        query_images: Images to classify.
        query_labels: Their classes.
        sizes: Sides in pixels to which images are reduced; those above the images' own size are left out.
        k: Number of neighbours.

    Raises:
        ValueError: If every size is above that of the images, and as in `knn_accuracy`.
    """
    shortest = min(bank_images.shape[1:3])
    usable = [size for size in sizes if size <= shortest]
    if not usable:
        raise ValueError(f'All sizes {tuple(sizes)} are above the images, {shortest} pixels; name a smaller one.')
    found = []
    for size in usable:
        bank, queries = _reduced(bank_images, size), _reduced(query_images, size)
        for kind in NORMALISATIONS:
            forms = _normalised(bank, bank, kind), _normalised(queries, bank, kind)
            scores = knn_accuracy(forms[0], bank_labels, forms[1], query_labels, (k,))
            found.append(RawPixels(scores[f'top1_k{k}'], size, kind))
    return max(found)


def _reduced(images: UInt8[Tensor, 'images rows columns 3'], size: int) -> Float[Tensor, 'images pixels']:
    parts = [
        interpolate(part.movedim(-1, 1).float(), (size, size), mode='area').flatten(start_dim=1)
        for part in images.split(1024)
    ]
    return torch.cat(parts)


def _normalised(
    pixels: Float[Tensor, 'images pixels'], bank: Float[Tensor, 'bank pixels'], kind: str
) -> Float[Tensor, 'images pixels']:
    # Dividing by a deviation would change nothing: the cosine ignores the length of its vectors.
    if kind == 'none':
        return pixels
    return pixels - (pixels.mean(dim=1, keepdim=True) if kind == 'image mean removed' else bank.mean(dim=0))
