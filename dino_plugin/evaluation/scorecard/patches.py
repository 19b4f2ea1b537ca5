"""Segmentation of patches without training: half of the images teaches, the other half asks."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dino_plugin.evaluation.discovery.features import patch_features
from dino_plugin.evaluation.objects.images import VOID, ObjectImage
from dino_plugin.evaluation.progress import progress
from dino_plugin.evaluation.scorecard.image_scores import ImageScores
from dino_plugin.evaluation.segmentation.patch_classifiers import PatchBank, choose_logistic, patches_of_image
from dino_plugin.evaluation.segmentation.patch_labels import patch_labels

PATCHES_OF_IMAGE = 256
Labels = UInt8[np.ndarray, 'rows columns']


def figure(stored: Labels) -> Labels:
    """Any object: 1, none: 0."""
    return np.where(stored == VOID, VOID, stored > 0).astype(np.uint8)


def segmented_patches(
    backbone: nn.Module,
    items: Sequence[ObjectImage],
    short_side: int,
    labels_of: Callable[[Labels], Labels] = lambda stored: stored,
) -> ImageScores:
    """Intersection and union of each class in each image that asks; the score is the mean IoU of patches.

    Args:
        backbone: On its device.
        items: Images with masks; a logistic regression learns from patches of the first half.
        short_side: Of the images, in pixels.
        labels_of: Changes the labels of a mask.

    Raises:
        ValueError: If there are fewer than four images, and as in `choose_logistic`.
    """
    features, labels, images = [], [], []
    for number, item in enumerate(progress(items, 'patches')):
        patches = patch_features(backbone, item.read_image(), 'patches', short_side=short_side).patches
        stored = labels_of(item.read_labels())
        found = torch.from_numpy(patch_labels(stored, tuple(patches.shape[:2]))).flatten().long()
        usable = patches_of_image(found, PATCHES_OF_IMAGE, number)
        features.append(patches.flatten(0, 1).cpu()[usable])
        labels.append(found[usable])
        images.append(torch.full((len(usable),), number))
    half = len(items) // 2
    if half < 2:
        raise ValueError(f'{len(items)} images with masks; four are needed, of which a half teaches.')
    bank = PatchBank(torch.cat(features[:half]), torch.cat(labels[:half]), torch.cat(images[:half]))
    predicted = choose_logistic(bank).predict(torch.cat(features[half:])).argmax(dim=1).cpu()
    classes = 1 + int(torch.cat(labels).max())
    of_images = zip(labels[half:], predicted.split([len(part) for part in labels[half:]]))
    counts = [intersection_and_union(truth, answer, classes) for truth, answer in of_images]
    return ImageScores(*(torch.stack(part).float() for part in zip(*counts)))


def intersection_and_union(
    truth: Int[Tensor, ' patches'], predicted: Int[Tensor, ' patches'], classes: int
) -> tuple[Int[Tensor, ' classes'], Int[Tensor, ' classes']]:
    """For each class the patches that are of it in both, and in at least one."""
    true, found = one_hot(truth, classes).bool(), one_hot(predicted, classes).bool()
    return (true & found).sum(dim=0), (true | found).sum(dim=0)
