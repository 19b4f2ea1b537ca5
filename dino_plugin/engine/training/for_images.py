"""Values that a recipe for little data computes from the number of images.

A config has these functions in place of a value; ``num_images`` is the model's option of that name::

    model=dict(
        type='dino_plugin.SelfDistillationModel',
        num_images=5000,
        momentum=dict(type='dino_plugin.Cosine', start=dict(type='dino_plugin.momentum_for_images'), end=1.0), ...)

The rule is ours: two points that are known to work, 10,000 images and ImageNet's 1,281,167, and between them a straight
line in log(images). It ends at 200,000 images, where the recipes for any number are as good or better.
"""

import math

FEW, IMAGENET, TOO_MANY = 10_000, 1_281_167, 200_000


def prototypes_for_images(num_images: int | None = None) -> int:
    """About one prototype for ten images: the nearest power of two (by logarithm), and at least 512.

    Raises:
        ValueError: If ``num_images`` is not given, or outside of the rule.
    """
    return max(512, 2 ** round(math.log2(_checked(num_images) / 10)))


def momentum_for_images(num_images: int | None = None, batch: int = 64) -> float:
    """The teacher's momentum at the beginning: an average over 100 steps with few images, over 250 with ImageNet.

    momentum = (1 - 1 / steps) ** (batch / 64); a short training is too short for a slow teacher, and a step with fewer
    images should move it less.

    Args:
        num_images: Images of the training.
        batch: Images of a step, in all processes.

    Raises:
        ValueError: If ``num_images`` is not given, or outside of the rule.

    References:
        Busbridge et al. 2023, arXiv:2307.13813: momentum ** kappa for a batch that is kappa times as large.
    """
    return (1 - 1 / value_for_images(100, 250, num_images)) ** (batch / 64)


def value_for_images(few: float, imagenet: float, num_images: int | None = None) -> float:
    """``few`` up to 10,000 images, then a straight line in log(images) towards ``imagenet``.

    Args:
        few: Value for up to 10,000 images.
        imagenet: Value of the line at 1,281,167 images.
        num_images: Images of the training, 1 to 199,999.

    Raises:
        ValueError: If ``num_images`` is not given, or outside of the rule.
    """
    share = math.log(_checked(num_images) / FEW) / math.log(IMAGENET / FEW)
    return few + (imagenet - few) * max(0.0, share)


def _checked(num_images: int | None) -> int:
    if num_images is None:
        raise ValueError(
            'The config computes values from the number of images, but num_images is not given: --cfg-options '
            'model.num_images=5000, or model=dict(num_images=5000) in a config.'
        )
    if not 0 < num_images < TOO_MANY:
        raise ValueError(
            f'num_images={num_images}: the recipes for little data compute their values for 1 to {TOO_MANY - 1:,} '
            "images. For more, start from the method's recipe for one's own images, such as "
            'dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py; otherwise --cfg-options model.num_images=5000.'
        )
    return num_images
