"""Kernel alignment: the student's patches have the similarities among each other that the teacher's have."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.gram import to_grid
from dino_plugin.core.precision import full_precision


def kernel_alignment(
    student: Float[Tensor, 'images patches dim'], teacher: Float[Tensor, 'images patches teacher_dim']
) -> Float[Tensor, ' images']:
    """Centred kernel alignment (CKA) of two networks' patches, for each image.

    K = H S S^T H,   T = H Z Z^T H,   H = I - 1/n 1 1^T           S, Z: n patches of student and teacher
    CKA = <K, T> / (|K| |T|)          the inner product and norm of matrices as vectors

    It is 1 if the patches of both have the same similarities up to a factor, and does not change if one network's
    features are shifted, rotated or scaled, all patches alike. Widths may differ.

    Args:
        student: Patch tokens of an image.
        teacher: Of the same patches, in the same order; carry no gradient.

    Returns:
        In [0, 1], computed in float32 under any autocast; 0 where all patches of an image are equal.

    References:
        Kornblith et al. 2019, arXiv:1905.00414, equation 4. Yeo et al. 2025 (PaKA), arXiv:2509.05606: as a loss.
    """
    with torch.autocast(student.device.type, enabled=False):
        kernels = [_unit_kernel(full_precision(patches)) for patches in (student, teacher)]
    return (kernels[0] * kernels[1]).sum(dim=1)


def _unit_kernel(patches: Float[Tensor, 'images patches dim']) -> Float[Tensor, 'images squared_patches']:
    centred = patches - patches.mean(dim=1, keepdim=True)
    return normalize((centred @ centred.mT).flatten(1), dim=1)


class KernelAlignmentLoss(Loss):
    """One minus the mean `kernel_alignment` of student and teacher, on the patches of the global views.

    Both see the same view, the student with masks if there are any. In contrast to `GramLoss` the other network is the
    moving teacher, and only the pattern of similarities counts, not their size. In the paper, teacher and student see
    different views and are compared where these overlap, and the teacher's have no colour changes; here both see the
    same view.

    Args:
        weight: Factor of the term.

    References:
        Yeo et al. 2025 (PaKA), arXiv:2509.05606.
    """

    reads_patches = ('student_global', 'teacher_global')

    def forward(self, step: Step) -> Float[Tensor, '']:
        """The loss, in [0, 1]."""
        student = step.student_global.patches
        teacher = to_grid(step.teacher_global.patches, *student.shape[2:4])
        patches = (part.flatten(2, 3).flatten(0, 1) for part in (student, teacher))
        return 1 - kernel_alignment(*patches).mean()
