"""Classifiers of patches that need no training loop: k nearest neighbours, logistic regression."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_plugin.evaluation.classification.knn import class_votes
from dino_plugin.evaluation.classification.logistic import fit_logistic
from dino_plugin.evaluation.nearest import nearest, unit_features
from dino_plugin.evaluation.progress import progress
from dino_plugin.evaluation.segmentation.patch_labels import confusion, mean_iou

KS = (1, 3, 10, 30, 100)
TEMPERATURES = (0.02, 0.07, 0.2)
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
QUERY_CHUNK, BANK_CHUNK = 512, 131072  # they decide only the memory: 4 bytes for each pair

Predict = Callable[[Tensor], Tensor]


class PatchBank(NamedTuple):
    """Patches with a label: features, labels from 0 on, and the number of the image that each is of."""

    features: Float[Tensor, 'patches dim']
    labels: Int[Tensor, ' patches']
    images: Int[Tensor, ' patches']


class ChosenPatches(NamedTuple):
    """A classifier of patches, features -> probabilities of classes, and how it was chosen."""

    predict: Predict
    setting: Mapping[str, float]
    held_out_miou: Mapping[tuple[float, ...], float]  # of each setting, in percent, on patches of held-out images


def patches_of_image(
    labels: Int[Tensor, ' patches'], most: int | None, number: int, seed: int = 0
) -> Int[Tensor, ' drawn']:
    """Places of an image's patches that have a label: at most so many, drawn at random.

    Args:
        labels: 255 for none.
        most: None: all.
        number: Of the image: each image has its own draw, which does not depend on others.
        seed: Of the draw.
    """
    usable = (labels != 255).nonzero()[:, 0]
    if most is None or len(usable) <= most:
        return usable
    random = torch.Generator().manual_seed(seed * 1_000_003 + number)
    return usable[torch.randperm(len(usable), generator=random)[:most].sort().values.to(usable.device)]


def held_out_images(images: Int[Tensor, ' patches'], share: float = 0.1, seed: int = 0) -> Bool[Tensor, ' patches']:
    """True for the patches of about this share of the images, at least one; all patches of an image go together.

    Raises:
        ValueError: If there are fewer than two images.
    """
    numbers = images.unique().cpu()
    if len(numbers) < 2:
        raise ValueError(
            f'{len(numbers)} training images have labelled patches: at least two are needed, since settings are '
            'chosen on images that are held out.'
        )
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
    return torch.isin(images, numbers[order[: max(int(share * len(numbers)), 1)]].to(images.device))


def choose_knn(
    bank: PatchBank, ks: Sequence[int] = KS, temperatures: Sequence[float] = TEMPERATURES, seed: int = 0
) -> ChosenPatches:
    """k nearest patches by cosine; k and temperature are those with the best mIoU on patches of held-out images.

    Then all patches are the bank. votes[c] = sum over the k nearest with label c of exp(cosine / temperature), divided
    by their sum over c. Exact search.

    Args:
        bank: Labelled patches.
        ks: Numbers of neighbours to choose from; those above the size of the bank are left out.
        temperatures: To choose from; with small values the nearest neighbours count more.
        seed: Of the held-out part.

    Raises:
        ValueError: If fewer than two images have labelled patches, features are not finite, no k fits, or a k or a
            temperature is not positive.

    References:
        Darcet et al. 2025, arXiv:2502.08769 (CAPI), section 4: k-NN on patches, settings chosen on a part of training.
    """
    if not ks or min(ks) < 1 or not temperatures or min(temperatures) <= 0:
        raise ValueError(f'ks={tuple(ks)} are whole numbers from 1, temperatures={tuple(temperatures)} are above 0.')
    apart = held_out_images(bank.images, seed=seed)
    train, held = _unit(bank, ~apart), _unit(bank, apart)
    ks = [k for k in ks if k <= len(train.labels)]
    if not ks:
        raise ValueError(f'All ks are larger than the {len(train.labels)} labelled patches: give a smaller one.')
    counts = {(k, temperature): 0 for k in sorted(ks) for temperature in temperatures}
    start = 0
    for similarities, numbers in nearest(train.features, held.features, max(ks), QUERY_CHUNK, BANK_CHUNK):
        truth = held.labels[start : start + len(numbers)]
        start += len(numbers)
        for temperature in temperatures:
            for k, votes in class_votes(similarities, train.labels[numbers], ks, _classes(bank), temperature):
                counts[k, temperature] += _confusion(truth, votes.argmax(dim=1))
    scores = {setting: mean_iou(count) for setting, count in counts.items()}
    k, temperature = max(scores, key=lambda setting: scores[setting])
    whole = _unit(bank, slice(None))
    return ChosenPatches(
        lambda features: torch.cat(list(_shares(whole, features, k, temperature))),
        dict(k=k, temperature=temperature),
        scores,
    )


def choose_logistic(
    bank: PatchBank, strengths: Sequence[float] = STRENGTHS, max_iterations: int = 300, seed: int = 0
) -> ChosenPatches:
    """Logistic regression of unit features; C has the best mIoU on patches of held-out images, then all are fitted.

    Args:
        bank: Labelled patches.
        strengths: Values of C to choose from, see `logistic_probe`.
        max_iterations: Of L-BFGS, for each C.
        seed: Of the held-out part.

    Raises:
        ValueError: If fewer than two images have labelled patches, features are not finite, or all patches that are
            fitted have one label.
    """
    apart = held_out_images(bank.images, seed=seed)
    train, held = _unit(bank, ~apart), _unit(bank, apart)
    scores = {}
    for strength in progress(strengths, 'logistic regression of patches'):
        logits = fit_logistic(train.features, train.labels, strength, max_iterations).logits(held.features)
        scores[(strength,)] = mean_iou(_confusion(held.labels, logits.argmax(dim=1)))
    ((best,)) = max(scores, key=lambda setting: scores[setting])
    whole = _unit(bank, slice(None))
    fitted = fit_logistic(whole.features, whole.labels, best, max_iterations)
    return ChosenPatches(lambda features: fitted.logits(features).softmax(dim=1), dict(C=best), scores)


def _shares(bank: PatchBank, features: Tensor, k: int, temperature: float) -> Iterator[Tensor]:
    """Shares of the votes for each class; the bank is of length 1."""
    queries = unit_features(features, 'patches')
    for similarities, numbers in nearest(bank.features, queries, k, QUERY_CHUNK, BANK_CHUNK):
        for _, votes in class_votes(similarities, bank.labels[numbers], [k], _classes(bank), temperature):
            yield votes / votes.sum(dim=1, keepdim=True)


def _unit(bank: PatchBank, chosen: Tensor | slice) -> PatchBank:
    features, labels, images = (part[chosen] for part in bank)
    return PatchBank(unit_features(features, 'patches'), labels, images)


def _classes(bank: PatchBank) -> int:
    return int(bank.labels.max()) + 1


def _confusion(labels: Tensor, predicted: Tensor):
    return confusion(labels.cpu().numpy().astype('uint8'), predicted.cpu().numpy().astype('uint8'))
