"""DINO: each student view predicts the teacher's distribution for every other view."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.soft_targets import soft_cross_entropy, temperature_schedule
from dino_plugin.core.precision import full_precision
from dino_plugin.core.schedules import Schedule, as_schedule


def cross_view_entropy(
    student_scores: Float[Tensor, 'student_views batch prototypes'],
    teacher_probabilities: Float[Tensor, 'teacher_views batch prototypes'],
    temperature: float,
    local_weight: float = 1.0,
) -> Float[Tensor, '']:
    """Mean cross-entropy between every student view and every *other* teacher view.

    H(s, t) = -sum_k teacher_probabilities[t, :, k] * log softmax(student_scores[s] / temperature)[:, k]

    View i of the student and view i of the teacher are the same crop, so pairs s == t are left out. All other pairs
    and all images have equal weight. Two global and eight local views make 18 pairs.

    H is linear in the targets, so each student view is compared once, with the mean of its teacher views.

    Args:
        student_scores: Before the softmax; global views first, in the teacher's order.
        teacher_probabilities: Sum to 1 over prototypes; carry no gradient.
        temperature: Divides the student's scores; below 1 sharpens (DINO uses 0.1).
        local_weight: Factor of the pairs with a local view, that is a student view after the teacher's. The sum is
            still divided by the number of all pairs.

    Returns:
        The loss in nats, computed in float32 under any autocast.

    Raises:
        ValueError: If no pair is left (one view on each side), or the teacher has more views than the student.

    References:
        Caron et al. 2021, arXiv:2104.14294, equation 3; the factor of local views as in DINOv3's code.
    """
    num_student, num_teacher = len(student_scores), len(teacher_probabilities)
    num_pairs = pairs_of_different_views(num_student, num_teacher)
    others = [tuple(number for number in range(num_teacher) if number != view) for view in range(num_student)]
    weights = torch.full_like(full_precision(student_scores[..., 0]), num_teacher * local_weight)
    weights[:num_teacher] = num_teacher - 1
    weights /= num_pairs * weights.shape[1]
    if num_teacher == 1:  # the student's first view has no other teacher view
        student_scores, weights, others = student_scores[1:], weights[1:], others[1:]
    return soft_cross_entropy(student_scores, teacher_probabilities, weights, temperature, others)


def pairs_of_different_views(num_student: int, num_teacher: int) -> int:
    """Number of pairs (s, t) of a student and a teacher view with s != t; the teacher's are the student's first ones.

    Raises:
        ValueError: If there is no such pair, or the teacher has more views than the student.
    """
    num_pairs = num_teacher * (num_student - 1)
    if num_pairs < 1 or num_teacher > num_student:
        raise ValueError(
            f'{num_student} student and {num_teacher} teacher views make no pair of different views of an image; give '
            "the student at least two views, beginning with the teacher's."
        )
    return num_pairs


class DINOLoss(Loss):
    """Cross-entropy between views, on class tokens.

    Args:
        head: Name of the head.
        target: Turns the teacher's scores into distributions: ``Centering`` or ``SinkhornKnopp``.
        student_temperature: Divides the student's scores.
        teacher_temperature: Divides the teacher's scores; a number or a schedule. Lower than the student's, so that
            targets are sharper than predictions.
        weight: Factor of the term.
        local_weight: Factor of the local views within the term; a number or a schedule. DINOv3's late stages lower it
            from 1 to 0.5.

    Raises:
        ValueError: If a temperature is not positive.
    """

    reads_patches = ()

    def __init__(
        self,
        head: str,
        target: nn.Module,
        student_temperature: float = 0.1,
        teacher_temperature: Schedule | float = 0.04,
        weight: Schedule | float = 1.0,
        local_weight: Schedule | float = 1.0,
    ) -> None:
        super().__init__(weight, [head])
        if student_temperature <= 0:
            raise ValueError(f'DINOLoss: student_temperature={student_temperature} must be positive.')
        self.head = head
        self.target = target
        self.student_temperature = student_temperature
        self.teacher_temperature = temperature_schedule(teacher_temperature, 'DINOLoss: teacher_temperature')
        self.local_weight = as_schedule(local_weight)

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Loss in nats; moves the target's statistics."""
        student_scores, teacher_scores = class_projections(step, self.head)
        probabilities = self.target(teacher_scores, self.teacher_temperature(step.progress))
        local_weight = self.local_weight(step.progress)
        return cross_view_entropy(student_scores, probabilities, self.student_temperature, local_weight)


def class_projections(
    step: Step, head: str
) -> tuple[Float[Tensor, 'student_views batch dim'], Float[Tensor, 'teacher_views batch dim'] | None]:
    """Class tokens of all views after a head: the student's, global views first, and the teacher's if it ran.

    The head gets all views of all images in one batch, as heads of Lightly expect it.
    """
    class_tokens = step.student_global.class_token
    if step.student_local is not None:
        class_tokens = torch.cat([class_tokens, step.student_local.class_token])
    student = step.student_heads[head](class_tokens.flatten(end_dim=1)).unflatten(0, class_tokens.shape[:2])
    if step.teacher_global is None:
        return student, None
    of_teacher = step.teacher_global.class_token
    return student, step.teacher_heads[head](of_teacher.flatten(end_dim=1)).unflatten(0, of_teacher.shape[:2])
