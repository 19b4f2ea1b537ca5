"""iBOT: the student names the patches that it cannot see as the teacher does, which sees them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.soft_targets import soft_cross_entropy, temperature_schedule
from dino_plugin.core.schedules import Schedule


def masked_patch_entropy(
    student_scores: Float[Tensor, 'hidden prototypes'],
    teacher_probabilities: Float[Tensor, 'hidden prototypes'],
    image: Int[Tensor, ' hidden'],
    num_images: int,
    temperature: float,
) -> Float[Tensor, '']:
    """Cross-entropy at the hidden patches: the mean over those of an image, then over *all* images.

    H(j) = -sum_k teacher_probabilities[j, k] * log softmax(student_scores[j] / temperature)[k]
    L = 1/n sum_i (1/|M_i| sum_{j in M_i} H(j)),     M_i: the hidden patches of image i

    An image without hidden patches contributes 0, so that each hidden patch of a half-masked batch weighs half as much
    as if all images were masked.

    Args:
        student_scores: Before the softmax, of the hidden patches of all images together.
        teacher_probabilities: Of the same patches, which the teacher sees; sum to 1 and carry no gradient.
        image: Number of the image that a patch belongs to, in [0, num_images).
        num_images: n, images without hidden patches included; different views count as different images.
        temperature: Divides the student's scores; below 1 sharpens (iBOT uses 0.1).

    Returns:
        The loss in nats, computed in float32 under any autocast; 0 if no patch is hidden.

    References:
        Zhou et al. 2022, arXiv:2111.07832, equation 2; the mean over hidden patches, and images that count as zero,
        as in the authors' code.
    """
    num_hidden = torch.zeros(num_images, device=image.device).index_add_(0, image, torch.ones_like(image).float())
    weights = 1 / (num_images * num_hidden[image])
    scores, targets = student_scores[None], teacher_probabilities[None]  # as one view
    return soft_cross_entropy(scores, targets, weights[None], temperature, targets_of=[(0,)])


class IBOTPatchLoss(Loss):
    """Cross-entropy between student and teacher, same view, at the patches that are hidden from the student.

    Only hidden patches pass through the head, of student and teacher alike. A head that is named by another loss too is
    shared with it (iBOT), one of its own is not (DINOv2).

    Args:
        head: Name of the head. With batch norm it needs at least two hidden patches on every rank.
        target: Turns the teacher's scores into distributions: ``Centering`` or ``SinkhornKnopp``; statistics are its
            own. Unlike in iBOT's code, a centre is the mean over the hidden patches, not over all.
        student_temperature: Divides the student's scores.
        teacher_temperature: Divides the teacher's scores; a number or a schedule.
        weight: Factor of the term.
        patches: 'hidden', or 'all' to compare every patch whether the student sees it or not, as when a small network
            learns from a large one without masks.

    Raises:
        ValueError: If a temperature is not positive or ``patches`` is neither; from ``forward``, if hidden
            patches are asked for and the batch has no masks, or student and teacher have different patch grids.
    """

    reads_patches = ('student_global', 'teacher_global')

    def __init__(
        self,
        head: str,
        target: nn.Module,
        student_temperature: float = 0.1,
        teacher_temperature: Schedule | float = 0.04,
        weight: Schedule | float = 1.0,
        patches: str = 'hidden',
    ) -> None:
        super().__init__(weight, [head])
        if student_temperature <= 0:
            raise ValueError(f'IBOTPatchLoss: student_temperature={student_temperature} must be positive.')
        if patches not in ('hidden', 'all'):
            raise ValueError(f"IBOTPatchLoss: patches={patches!r} must be 'hidden' or 'all'.")
        self.head = head
        self.target = target
        self.student_temperature = student_temperature
        self.teacher_temperature = temperature_schedule(teacher_temperature, 'IBOTPatchLoss: teacher_temperature')
        self.patches = patches

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Loss in nats; moves the target's statistics."""
        student, teacher = step.student_global.patches, step.teacher_global.patches
        if student.shape[:-1] != teacher.shape[:-1]:
            raise ValueError(
                f'IBOTPatchLoss: the student has {tuple(student.shape[2:4])} patches and the teacher '
                f'{tuple(teacher.shape[2:4])}; they must have the same grid: use the same patch size.'
            )
        views, batch, rows, columns, _ = student.shape
        which = self._which(step, views * batch * rows * columns)
        student_scores = step.student_heads[self.head](student.flatten(end_dim=-2)[which])
        teacher_scores = step.teacher_heads[self.head](teacher.flatten(end_dim=-2)[which])
        probabilities = self.target(teacher_scores, self.teacher_temperature(step.progress))
        image = which // (rows * columns)
        return masked_patch_entropy(student_scores, probabilities, image, views * batch, self.student_temperature)

    def _which(self, step: Step, num_patches: int) -> Int[Tensor, ' hidden']:
        """Positions of the patches that count, among all patches of all views."""
        if self.patches == 'all':
            return torch.arange(num_patches, device=step.student_global.patches.device)
        if step.views.hidden is None:
            raise ValueError(
                'IBOTPatchLoss: the batch has no masks; set collate_fn=dict(type="dino_plugin.masked_collate", '
                'patch_size=...) in the dataloader, and mask_token=True in the backbone.'
            )
        return step.views.hidden
