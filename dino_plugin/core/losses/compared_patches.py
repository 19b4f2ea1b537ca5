"""Which patches the losses of student and teacher patches compare, and how much each of them weighs."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_plugin.core.losses.base import Step
from dino_plugin.core.precision import full_precision


class ComparedPatches(NamedTuple):
    """Patches of student and teacher at the same places, one after the other.

    Args:
        student: Patches of all views and images.
        teacher: The same patches.
        image: Index of each patch's image, in [0, num_images).
        num_images: Including images without a compared patch; each view counts as an image.
    """

    student: Float[Tensor, 'patches student_dim']
    teacher: Float[Tensor, 'patches teacher_dim']
    image: Int[Tensor, ' patches']
    num_images: int


def compared_patches(step: Step, which: str, loss: str) -> ComparedPatches:
    """The patches of the global views that a loss compares.

    Args:
        step: The step.
        which: 'masked', or 'all' for every patch, as in distillation without masks.
        loss: Name of the loss, for messages.

    Raises:
        ValueError: If ``which`` is 'masked' and the batch has no masks, or student and teacher have different patch
            grids.
    """
    student, teacher = step.student_global.patches, step.teacher_global.patches
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ValueError(
            f'{loss}: the student has {tuple(student.shape[2:4])} patches and the teacher '
            f'{tuple(teacher.shape[2:4])}; give both the same patch size.'
        )
    views, batch, rows, columns, _ = student.shape
    chosen = step.views.mask_indices
    if which == 'all':
        chosen = torch.arange(views * batch * rows * columns, device=student.device)
    elif chosen is None:
        raise ValueError(
            f'{loss}: the batch has no masks; set collate_fn=dict(type="dino_plugin.masked_collate", '
            'patch_size=...) in the dataloader, and mask_token=True in the backbone.'
        )
    student, teacher = student.flatten(end_dim=-2)[chosen], teacher.flatten(end_dim=-2)[chosen]
    return ComparedPatches(student, teacher, chosen // (rows * columns), views * batch)


def check_which(which: str, loss: str) -> None:
    """Refuse another word than 'masked' and 'all'.

    Raises:
        ValueError: If it is another word.
    """
    if which not in ('masked', 'all'):
        raise ValueError(f"{loss}: patches={which!r} must be 'masked' or 'all'.")


def patch_weights(values: Float[Tensor, ' patches'], image: Int[Tensor, ' patches'], num_images: int) -> Tensor:
    """1 / (n |M_i|) for each patch of image i with |M_i| compared patches: the mean of an image, then of all n images.

    An image without compared patches contributes 0: if half of the images are masked, each masked patch weighs half as
    much as if all were.

    Args:
        values: Any value of each patch; only its device and precision matter.
        image: Index of each patch's image.
        num_images: n.
    """
    ones = torch.ones_like(full_precision(values))
    num_compared = ones.new_zeros(num_images).index_add_(0, image, ones)
    return 1 / (num_images * num_compared[image])
