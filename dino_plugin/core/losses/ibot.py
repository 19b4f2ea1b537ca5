"""iBOT: at masked patches, the student predicts the distribution of the teacher, which sees them."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.compared_patches import check_which, compared_patches, patch_weights
from dino_plugin.core.losses.soft_targets import soft_cross_entropy, temperature_schedule
from dino_plugin.core.schedules import Schedule


def masked_patch_entropy(
    student_scores: Float[Tensor, 'patches prototypes'],
    teacher_probabilities: Float[Tensor, 'patches prototypes'],
    image: Int[Tensor, ' patches'],
    num_images: int,
    temperature: float,
) -> Float[Tensor, '']:
    """Cross-entropy at the masked patches: the mean over those of an image, then over *all* images.

    H(j) = -sum_k teacher_probabilities[j, k] * log softmax(student_scores[j] / temperature)[k]
    L = 1/n sum_i (1/|M_i| sum_{j in M_i} H(j)),     M_i: the masked patches of image i

    An image without masked patches contributes 0, see :func:`~dino_plugin.core.losses.compared_patches.patch_weights`.

    Args:
        student_scores: Before the softmax, of the masked patches of all images.
        teacher_probabilities: Of the same patches; sum to 1 over prototypes, carry no gradient.
        image: Index of each patch's image, in [0, num_images).
        num_images: n, including images without masked patches; each view counts as an image.
        temperature: Divides the student's scores; below 1 sharpens (iBOT uses 0.1).

    Returns:
        The loss in nats, computed in float32 under any autocast; 0 if no patch is masked.

    References:
        Zhou et al. 2022, arXiv:2111.07832, equation 2; the mean over masked patches and the zeros of other images,
        as in the authors' code.
    """
    weights = patch_weights(student_scores[:, 0], image, num_images)
    scores, targets = student_scores[None], teacher_probabilities[None]  # as one view
    return soft_cross_entropy(scores, targets, weights[None], temperature, targets_of=[(0,)])


class IBOTPatchLoss(Loss):
    """Cross-entropy between student and teacher at the masked patches of the same view.

    Only masked patches pass through the two heads. A head that another loss names too is shared (iBOT); DINOv2 has a
    head for this loss alone.

    Args:
        head: Name of the head. With batch norm it needs at least two masked patches on every rank.
        target: Turns the teacher's scores into distributions: ``Centering`` or ``SinkhornKnopp``, not shared with
            another loss. Unlike in iBOT's code, the centre is the mean over masked patches, not over all.
        student_temperature: Divides the student's scores.
        teacher_temperature: Divides the teacher's scores; a number or a schedule.
        weight: Factor of the term.
        patches: 'masked', or 'all' for every patch, as in distillation without masks.

    Raises:
        ValueError: If a temperature is not positive or ``patches`` is neither word; from ``forward``, if ``patches`` is
            'masked' and the batch has no masks, or student and teacher have different patch grids.
    """

    reads_patches = ('student_global', 'teacher_global')

    def __init__(
        self,
        head: str,
        target: nn.Module,
        student_temperature: float = 0.1,
        teacher_temperature: Schedule | float = 0.04,
        weight: Schedule | float = 1.0,
        patches: str = 'masked',
    ) -> None:
        super().__init__(weight, [head])
        if student_temperature <= 0:
            raise ValueError(f'IBOTPatchLoss: student_temperature={student_temperature} must be positive.')
        check_which(patches, 'IBOTPatchLoss')
        self.head = head
        self.target = target
        self.student_temperature = student_temperature
        self.teacher_temperature = temperature_schedule(teacher_temperature, 'IBOTPatchLoss: teacher_temperature')
        self.patches = patches

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Loss in nats; moves the target's statistics."""
        chosen = compared_patches(step, self.patches, 'IBOTPatchLoss')
        student_scores = step.student_heads[self.head](chosen.student)
        teacher_scores = step.teacher_heads[self.head](chosen.teacher)
        probabilities = self.target(teacher_scores, self.teacher_temperature(step.progress))
        return masked_patch_entropy(
            student_scores, probabilities, chosen.image, chosen.num_images, self.student_temperature
        )
