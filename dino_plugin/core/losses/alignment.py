"""Alignment: views of an image get equal projections. It needs a term that keeps images apart, such as coding rate."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.compared_patches import check_which, compared_patches, patch_weights
from dino_plugin.core.losses.dino import class_projections, pairs_of_different_views
from dino_plugin.core.precision import full_precision
from dino_plugin.core.schedules import Schedule


def cross_view_alignment(
    student: Float[Tensor, 'student_views batch dim'], teacher: Float[Tensor, 'teacher_views batch dim']
) -> Float[Tensor, '']:
    """One minus the mean cosine of every student view and every *other* teacher view of the same image.

    L = 1 - 1/(n |P|) sum_{(s, t) in P} sum_i cos(student[s, i], teacher[t, i]),     P: the pairs with s != t

    For vectors of length 1 this is half of their mean squared distance. The pairs are those of
    :func:`~dino_plugin.core.losses.dino.cross_view_entropy`.

    Args:
        student: Projections; global views first, in the teacher's order.
        teacher: Projections; carry no gradient.

    Returns:
        The loss in [0, 2], computed in float32 under any autocast.

    Raises:
        ValueError: If no pair is left (one view on each side), or the teacher has more views than the student.

    References:
        Wu et al. 2025 (SimDINO), arXiv:2502.10385, section 4.
    """
    num_pairs = pairs_of_different_views(len(student), len(teacher))
    student, teacher = full_precision(student)[:, None], full_precision(teacher)[None]
    cosines = cosine_similarity(student, teacher, dim=-1).mean(dim=-1)
    return 1 - (cosines.sum() - cosines.diagonal().sum()) / num_pairs


def patch_alignment(
    student: Float[Tensor, 'patches dim'],
    teacher: Float[Tensor, 'patches dim'],
    image: Int[Tensor, ' patches'],
    num_images: int,
) -> Float[Tensor, '']:
    """One minus the cosine at each compared patch: the mean over those of an image, then over *all* images.

    L = 1/n sum_i (1/|M_i| sum_{j in M_i} (1 - cos(student[j], teacher[j]))),     M_i: the patches of image i

    Args:
        student: Projections of the compared patches of all images.
        teacher: Projections of the same patches; carry no gradient.
        image: Index of each patch's image, in [0, num_images).
        num_images: n, including images without patches; each view counts as an image.

    Returns:
        The loss in [0, 2], computed in float32 under any autocast; 0 without patches.

    References:
        Wu et al. 2025 (SimDINOv2), arXiv:2502.10385, section 4.
    """
    distances = 1 - cosine_similarity(full_precision(student), full_precision(teacher), dim=-1)
    return (patch_weights(distances, image, num_images) * distances).sum()


def distance_from_mean(views: Float[Tensor, 'views batch dim'], num_global: int) -> Float[Tensor, '']:
    """Mean squared distance of all views of an image from the mean of its global views.

    L = 1/(V n d) sum_v sum_i |z_vi - 1/G sum_{g <= G} z_gi|^2

    The gradient also flows through the mean.

    Args:
        views: z: projections; global views first.
        num_global: G.

    Returns:
        The loss, a mean over dimensions too, computed in float32 under any autocast.

    References:
        Balestriero and LeCun 2025 (LeJEPA), arXiv:2511.08544, section 5: the predictive loss.
    """
    views = full_precision(views)
    return (views - views[:num_global].mean(dim=0)).square().mean()


class AlignmentLoss(Loss):
    """`cross_view_alignment` of class tokens after a head: SimDINO's term in place of DINO's cross-entropy.

    Alone it has a trivial solution, equal projections of all images; `CodingRateLoss` excludes it.

    Args:
        head: Name of the head, such as a ``DINOHead`` without prototypes.
        weight: Factor of the term.
    """

    reads_patches = ()

    def __init__(self, head: str, weight: Schedule | float = 1.0) -> None:
        super().__init__(weight, [head])
        self.head = head

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Loss in [0, 2]."""
        return cross_view_alignment(*class_projections(step, self.head))


class PatchAlignmentLoss(Loss):
    """`patch_alignment` of masked patches after a head: SimDINOv2's term in place of iBOT's cross-entropy.

    Args:
        head: Name of the head; SimDINOv2 shares that of the class tokens.
        weight: Factor of the term.
        patches: 'masked', or 'all' for every patch, as in distillation without masks.

    Raises:
        ValueError: If ``patches`` is neither word; from ``forward``, as ``compared_patches``.
    """

    reads_patches = ('student_global', 'teacher_global')

    def __init__(self, head: str, weight: Schedule | float = 1.0, patches: str = 'masked') -> None:
        super().__init__(weight, [head])
        check_which(patches, 'PatchAlignmentLoss')
        self.head = head
        self.patches = patches

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Loss in [0, 2]."""
        chosen = compared_patches(step, self.patches, 'PatchAlignmentLoss')
        student, teacher = step.student_heads[self.head](chosen.student), step.teacher_heads[self.head](chosen.teacher)
        return patch_alignment(student, teacher, chosen.image, chosen.num_images)


class ViewMeanLoss(Loss):
    """`distance_from_mean` of class tokens after a head: LeJEPA's predictive term. No teacher is used.

    Alone it has a trivial solution, equal projections of all images; `SIGRegLoss` excludes it.

    Args:
        head: Name of the head, shared with `SIGRegLoss`.
        weight: Factor of the term; 1 - lambda in LeJEPA.
    """

    uses_teacher = False
    reads_patches = ()

    def __init__(self, head: str, weight: Schedule | float = 0.95) -> None:
        super().__init__(weight, [head])
        self.head = head

    def forward(self, step: Step) -> Float[Tensor, '']:
        """Mean squared distance."""
        views, _ = class_projections(step, self.head)
        return distance_from_mean(views, len(step.student_global.class_token))
