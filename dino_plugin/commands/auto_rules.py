"""The rules of the recipe `auto`: numbers from facts about images and machine, in a table in docs/auto_recipe.md."""

import math
from dataclasses import dataclass

from dino_plugin.commands.machine import Facts
from dino_plugin.engine.training.for_images import (
    TOO_MANY,
    momentum_for_images,
    prototypes_for_images,
    value_for_images,
)

FEWEST = 10
TINY_SIDE = 96  # smaller images have too few patches of 16 px
STEPS = 1716  # the longest training of the tiny network that was measured: 22 epochs of 5,000 images
HELD_OUT = 0.1
SPEED_ON_CPU = {32: 200, 48: 64}  # images a second, by the headers of the quickstart and of the preset for Imagenette
GB_PER_IMAGE = 19.5 / 64  # ViT-S/16, 2 x 224 + 8 x 96 px, fp16: facebookresearch/dino#69
REFERENCE_SPEED = 1_281_167 * 100 / (1.75 * 86_400 * 8)  # images a second on one GPU: README of facebookresearch/dino

LABELLED = '_base_/datasets/labelled_images.py'
BASES = {
    'tiny': 'quickstart/dino_vit-tiny_1xb64-22e_cifar10-mini.py',
    'few': 'dino/dino_vit-small-p16_1xb64-coslr-200e_small-data.py',
    'many': 'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py',
}


@dataclass(frozen=True)
class Recipe:
    """What the rules say.

    Attributes:
        kind: 'tiny', 'few' or 'many', a key of `BASES`.
        side: Pixels of a global view.
        local_side: Pixels of a local view.
        held_out: Whether a tenth of each class is kept aside for k-NN.
        trained_on: Images that are trained on.
        batch: Images on each GPU at once.
        accumulated: Batches before a step.
        total: Images of a step.
        rate: Peak learning rate.
        prototypes: Of the head.
        temperature: Of the teacher, at the beginning and after warm-up.
        momentum: Of the teacher, at the beginning.
        epochs: Passes over the images.
        workers: Processes that read images, for each GPU.
        hours: Of training; None if no speed is known.
    """

    kind: str
    side: int
    local_side: int
    held_out: bool
    trained_on: int
    batch: int
    accumulated: int
    total: int
    rate: float
    prototypes: int
    temperature: tuple[float, float]
    momentum: float
    epochs: int
    workers: int
    hours: float | None


def recipe_for(facts: Facts) -> Recipe:
    """The recipe for these facts, and nothing else.

    Raises:
        ValueError: If there are fewer than ten images, or fewer than two in a batch of each GPU.
    """
    if facts.images < FEWEST:
        raise ValueError(
            f'{facts.images} images are too few to learn from: give {FEWEST} at the very least; 5,000 are the fewest '
            'that were ever measured (docs/small_data.md). With few images take released weights as they are.'
        )
    kind = 'tiny' if facts.gpus == 0 or facts.side < TINY_SIDE else 'few' if facts.images < TOO_MANY else 'many'
    side, local = _sides(kind, facts.side)
    held_out = facts.classes > 1 and FEWEST * facts.classes <= facts.images < TOO_MANY
    trained_on = facts.images - round(HELD_OUT * facts.images) if held_out else facts.images
    batch, accumulated = _batches(kind, side, facts, trained_on)
    total = batch * accumulated * max(facts.gpus, 1)
    epochs = dict(tiny=min(200, max(1, round(STEPS / (trained_on // total)))), few=200, many=100)[kind]
    known = min(trained_on, TOO_MANY - 1)
    warm = value_for_images(0.025, 0.040, known), value_for_images(0.025, 0.070, known)
    return Recipe(
        kind=kind,
        side=side,
        local_side=local,
        held_out=held_out,
        trained_on=trained_on,
        batch=batch,
        accumulated=accumulated,
        total=total,
        rate=total * dict(tiny=1.2e-3 / 64, few=2e-3 / 256, many=5e-4 / 256)[kind],
        prototypes=65536 if kind == 'many' else prototypes_for_images(known),
        temperature=dict(tiny=(0.025, 0.025), few=warm, many=(0.04, 0.04))[kind],
        momentum=dict(tiny=0.95, few=momentum_for_images(known), many=0.996)[kind],
        epochs=epochs,
        workers=max(1, min(8, facts.cores // facts.gpus)) if facts.gpus else 1,
        hours=_hours(facts, side, trained_on * epochs),
    )


def _sides(kind: str, image: int) -> tuple[int, int]:
    """Global and local views: no larger than the images; 3/7 of each other as in DINO, in whole patches of 16 px."""
    if kind == 'tiny':
        return (32, 16) if image < 48 else (48, 24)
    side = min(224, image // 32 * 32)
    return side, round(side * 3 / 7 / 16) * 16


def _batches(kind: str, side: int, facts: Facts, trained_on: int) -> tuple[int, int]:
    """Images on each GPU at once, a power of two, and batches before a step."""
    devices = max(facts.gpus, 1)
    most = min(128, 1024 // devices) if kind == 'many' else 64 // devices
    wanted = _power_of_two(min(max(16, most), trained_on / 4 / devices))
    if wanted < 2:
        raise ValueError(f'{facts.images} images are too few for {devices} GPUs: train on one.')
    fits = wanted
    if kind != 'tiny':
        fits = max(2, _power_of_two(0.9 * facts.gpu_memory / (GB_PER_IMAGE * (side / 224) ** 2)))
    batch = min(wanted, fits)
    total = max(512 if kind == 'many' else 0, wanted * devices)
    return batch, math.ceil(total / (batch * devices))


def _power_of_two(number: float) -> int:
    return 2 ** math.floor(math.log2(max(number, 1)))


def _hours(facts: Facts, side: int, seen: int) -> float | None:
    if not facts.gpus:
        return seen / SPEED_ON_CPU[side] / 3600
    return seen / (REFERENCE_SPEED * facts.gpus) / 3600 if side == 224 else None
