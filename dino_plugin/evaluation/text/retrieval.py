"""Captions found by images, and images by captions."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

AT = (1, 5, 10)
ROWS = 1024  # of similarities at a time


def image_text_ranks(
    images: Float[Tensor, 'images dim'], texts: Float[Tensor, 'texts dim'], owners: Int[Tensor, ' texts']
) -> tuple[Int[Tensor, ' images'], Int[Tensor, ' texts']]:
    """How many wrong ones are before the first right one, or as near as it.

    For an image, captions of other images before the nearest of its own: so any of its captions counts, as on COCO and
    Flickr30k. For a caption, images before its own.

    Args:
        images: Normalised.
        texts: Normalised.
        owners: Place of the image that a caption belongs to. Each image has one or more.
    """
    owners = owners.to(images.device)
    nearest = images.new_full((len(images),), -torch.inf)
    own = (images[owners] * texts).sum(dim=1)
    nearest.scatter_reduce_(0, owners, own, 'amax')
    tolerance = 1e-6  # the same product, summed in another order
    of_images = images.new_zeros(len(images), dtype=torch.long)
    of_texts = []
    for start in range(0, len(texts), ROWS):
        part = slice(start, start + ROWS)
        similar = texts[part] @ images.T
        wrong = torch.ones_like(similar, dtype=torch.bool).scatter_(1, owners[part, None], False)
        of_images += ((similar >= nearest - tolerance) & wrong).sum(dim=0)
        of_texts.append(((similar >= own[part, None] - tolerance) & wrong).sum(dim=1))
    return of_images, torch.cat(of_texts)


class ImageTextRetrievalMetric(BaseMetric):
    """Recall at k in per cent: `retrieval/image_to_text_R@1`, `retrieval/text_to_image_R@1` and so on.

    R@k is the share of images of which one caption is among the k nearest of all captions, and the share of captions
    whose image is among the k nearest images. Ties count as errors. `retrieval/mean_recall` is the mean of all.

    Args:
        at: Numbers k.

    References:
        Karpathy and Fei-Fei 2015, arXiv:1412.2306, whose splits of COCO and Flickr30k have five captions an image.
    """

    default_prefix = 'retrieval'

    def __init__(self, at: Sequence[int] = AT) -> None:
        super().__init__(collect_device='gpu')  # by communication between the processes, not by files
        self.at = tuple(at)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the vectors of each image and its captions."""
        self.results += [
            {name: value.cpu() if isinstance(value, Tensor) else value for name, value in sample.items()}
            for sample in data_samples
        ]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Per cent."""
        counts = torch.tensor([len(result['texts']) for result in results])
        if cut := sum(result['truncated'] for result in results):
            print_log(f'{cut} of {int(counts.sum())} captions were too long; their ends were cut off', 'current')
        owners = torch.arange(len(results)).repeat_interleave(counts)
        images = torch.stack([result['image'] for result in results])
        of_images, of_texts = image_text_ranks(images, torch.cat([result['texts'] for result in results]), owners)
        ways = dict(image_to_text=of_images, text_to_image=of_texts)
        found = {
            f'{way}_R@{k}': 100 * (ranks < k).double().mean().item() for way, ranks in ways.items() for k in self.at
        }
        return found | dict(mean_recall=sum(found.values()) / len(found))
