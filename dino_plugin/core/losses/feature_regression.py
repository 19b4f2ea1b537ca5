"""Feature regression: the student's tokens, projected, become the features of a frozen network."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dino_plugin.core.frozen import FrozenNetwork
from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.losses.feature_distances import DISTANCES, TargetScale
from dino_plugin.core.losses.gram import to_grid, views_of_anchor
from dino_plugin.core.schedules import Schedule
from dino_plugin.core.views import ClassTokenOnly, Tokens


class FeatureRegressionLoss(Loss):
    """Distance of the student's tokens, after a head, from those of a frozen teacher that sees the same crops.

    L = class_weight D(h_c(c), t_c) + patch_weight D(h_p(p), t_p) + local_weight D(h_c(c_local), t_c)

    c and p are the class token and the patches of the student's global views, t those of the
    teacher on one scale (`TargetScale`); h are heads, such as a `ProjectionHead`, whose output is as wide as the
    teacher's tokens. D is

    - 'smooth_l1', 'cosine': of each pair of vectors, then the mean;
    - 'relational': `gram_difference`, the cosines of all pairs of patches of an image, and, for class tokens, of all
      pairs of images of a view. It needs no head, since it compares no vectors of student and teacher.

    Each local view is compared with the teacher's class token of every global view of its image. Masked patches count
    like the others. The teacher's patches are resampled to the student's grid, so the patch sizes may differ.

    If the batch has anchor views (``anchor_size`` of `MultiCrop`), the teacher sees those: the same crops without
    colour changes and with more pixels. Otherwise it sees the global views. They are resized if the teacher's patches
    do not divide them, or to ``image_size``.

    Several teachers are several losses. The EMA teacher is not used, so all this works beside DINO's losses or without.

    Args:
        teacher: A backbone: images -> `Tokens`, with ``embed_dim`` and ``patch_size``. See `FrozenNetwork`.
        class_head: Name of the head for class tokens. None: tokens are compared as they are.
        patch_head: The same for patches. Both may name one head, which then learns both.
        distance: 'smooth_l1', 'cosine' or 'relational'.
        class_weight: Factor of the class tokens of global views.
        patch_weight: Factor of the patches. 0: none is computed.
        local_weight: Factor of the class tokens of local views.
        scale: Of the teacher's features: 'whitened' or 'standardised', see `TargetScale`, or 'raw'.
        image_size: Pixels of the teacher's images: rows and columns, or one number for both. None: those of the views.
        keep: The teacher's tokens of up to so many views are computed once, see `KeptOutputs`: for anchor views of
            whole images, ``global_scale=(1, 1)`` of `MultiCrop`, of which there are two for each image with flips.
        mean: Mean of the teacher's image normalisation, per channel in levels of [0, 255]. None: that of the views.
        std: Standard deviation, likewise.
        views_mean: Mean of the normalisation of the views; `SelfDistillationModel` fills it in.
        views_std: Standard deviation, likewise.
        weight: Factor of the whole term; a number or a schedule.

    Raises:
        ValueError: If distance or scale is unknown, a weight is negative or all are 0, ``image_size`` is not of whole
            patches, a normalisation is incomplete; from ``forward``, if widths differ, the teacher gives no patches, or
            local views are missing.

    References:
        Ranzinger et al. 2024 (AM-RADIO), arXiv:2312.06709: class tokens and patches of several teachers.
        Park et al. 2019, arXiv:1904.05068: relations instead of vectors.
    """

    uses_teacher = False

    def __init__(
        self,
        teacher: nn.Module,
        class_head: str | None = None,
        patch_head: str | None = None,
        distance: str = 'smooth_l1',
        class_weight: float = 1.0,
        patch_weight: float = 1.0,
        local_weight: float = 0.0,
        scale: str = 'whitened',
        image_size: int | Sequence[int] | None = None,
        keep: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        views_mean: Sequence[float] | None = None,
        views_std: Sequence[float] | None = None,
        weight: Schedule | float = 1.0,
    ) -> None:
        used = dict.fromkeys([class_head] * bool(class_weight or local_weight) + [patch_head] * bool(patch_weight))
        super().__init__(weight, [head for head in used if head is not None])
        if distance not in DISTANCES:
            raise ValueError(f'FeatureRegressionLoss: distance={distance!r} must be one of {sorted(DISTANCES)}.')
        weights = dict(class_weight=class_weight, patch_weight=patch_weight, local_weight=local_weight)
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f'FeatureRegressionLoss: {weights}: none may be negative, and one must be positive.')
        self.reads_patches = ('student_global',) if patch_weight else ()
        self.teacher = FrozenNetwork(teacher, keep)
        self.class_head, self.patch_head, self.distance = class_head, patch_head, distance
        self.class_weight, self.patch_weight, self.local_weight = class_weight, patch_weight, local_weight
        self.class_scale, self.patch_scale = _scale_of(scale, teacher.embed_dim), _scale_of(scale, teacher.embed_dim)
        self.patch_size: tuple[int, int] = getattr(teacher, 'patch_size', None) or (1, 1)
        self.image_size = None if image_size is None else self._checked_size(image_size)
        recolour = _recolouring(mean, std, views_mean, views_std)
        self.register_buffer('recolour', recolour, persistent=False)

    def forward(self, step: Step) -> Float[Tensor, '']:
        """The unweighted term; moves the statistics of the targets."""
        target = self._targets(step)
        distance, terms = DISTANCES[self.distance], []
        if self.class_weight or self.local_weight:
            classes = self.class_scale(target.class_token)
        if self.class_weight:
            student = self._projected(step, self.class_head, step.student_global.class_token, classes)
            terms.append(self.class_weight * distance(student, classes))
        if self.local_weight:
            terms.append(self.local_weight * self._local_term(step, classes))
        if self.patch_weight:
            of_student = step.student_global.patches
            patches = self.patch_scale(to_grid(target.patches, *of_student.shape[2:4], antialias=True))
            student = self._projected(step, self.patch_head, of_student, patches)
            sets = (part.flatten(2, 3).flatten(0, 1) for part in (student, patches))  # one set: patches of an image
            terms.append(self.patch_weight * distance(*sets))
        return torch.stack(terms).sum()

    def _local_term(self, step: Step, classes: Float[Tensor, 'views batch dim']) -> Float[Tensor, '']:
        if step.student_local is None:
            raise ValueError(
                f'FeatureRegressionLoss: local_weight={self.local_weight}, but there are no local views; set num_local '
                'in dino_plugin.MultiCrop, or local_weight=0.'
            )
        local = self._projected(step, self.class_head, step.student_local.class_token, classes)
        # Each local view beside each target; widths may differ, so neither is broadcast to the other.
        pairs = local.repeat_interleave(len(classes), dim=0), classes.repeat(len(local), 1, 1)
        return DISTANCES[self.distance](*pairs)

    def _projected(self, step: Step, head: str | None, tokens: Tensor, target: Tensor) -> Tensor:
        projected = tokens if head is None else step.student_heads[head](tokens)
        if projected.shape[-1] != target.shape[-1] and self.distance != 'relational':
            raise ValueError(
                f'FeatureRegressionLoss: the student gives {projected.shape[-1]} features after head {head!r} and the '
                f"teacher {target.shape[-1]}; name a head dict(type='dino_plugin.ProjectionHead', "
                f"out_dim={target.shape[-1]}), or take distance='relational'."
            )
        return projected

    @torch.no_grad()
    def _targets(self, step: Step) -> Tokens:
        images = views_of_anchor(step.views, 'FeatureRegressionLoss')
        if self.recolour is not None:
            factor, shift = self.recolour[:, :, None, None]
            images = images * factor + shift
        size = self.image_size or tuple(
            max(1, round(pixels / patch)) * patch for pixels, patch in zip(images.shape[-2:], self.patch_size)
        )
        if images.shape[-2:] != size:
            resized = interpolate(images.flatten(0, 1), size, mode='bicubic', antialias=True)
            images = resized.unflatten(0, images.shape[:2])
        tokens = self.teacher(images, patches=bool(self.patch_weight))
        if self.patch_weight and isinstance(tokens, ClassTokenOnly):
            raise ValueError(
                f'FeatureRegressionLoss: patch_weight={self.patch_weight}, but the teacher gives no patches; set '
                'patch_weight=0, or take a teacher with a feature map.'
            )
        return tokens

    def _checked_size(self, image_size: int | Sequence[int]) -> tuple[int, int]:
        rows, columns = (image_size, image_size) if isinstance(image_size, int) else image_size
        if rows < 1 or columns < 1 or rows % self.patch_size[0] or columns % self.patch_size[1]:
            raise ValueError(
                f"FeatureRegressionLoss: image_size={image_size} must be a multiple of the teacher's patch size, "
                f'{self.patch_size}.'
            )
        return rows, columns


def _scale_of(scale: str, dim: int) -> nn.Module:
    if scale not in ('raw', 'standardised', 'whitened'):
        raise ValueError(f"FeatureRegressionLoss: scale={scale!r} must be 'raw', 'standardised' or 'whitened'.")
    return nn.Identity() if scale == 'raw' else TargetScale(dim, whiten=scale == 'whitened')


def _recolouring(mean, std, views_mean, views_std) -> Float[Tensor, '2 channels'] | None:
    """Factor and shift of each channel that turn the views' normalisation into the teacher's."""
    if mean is None and std is None:
        return None
    if any(part is None for part in (mean, std, views_mean, views_std)) or min(*std, *views_std) <= 0:
        raise ValueError(
            f'FeatureRegressionLoss: mean={mean} and std={std} of the teacher need each other, and views_mean='
            f'{views_mean} and views_std={views_std}; all std must be positive.'
        )
    mean, std, views_mean, views_std = (torch.tensor([*part]) for part in (mean, std, views_mean, views_std))
    return torch.stack([views_std / std, (views_mean - mean) / std])
