"""Gram anchoring: the student's patches keep the similarities among each other that an earlier teacher gave them."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.precision import full_precision
from dino_plugin.core.schedules import Schedule
from dino_plugin.core.views import ViewBatch


def gram_difference(
    student: Float[Tensor, 'images patches dim'], anchor: Float[Tensor, 'images patches anchor_dim']
) -> Float[Tensor, '']:
    """Mean squared difference between two networks' cosines of all pairs of patches of an image.

    S_i = student_i / |student_i|,   A_i = anchor_i / |anchor_i|
    L = 1/n^2 sum_{i, j} (S_i . S_j - A_i . A_j)^2        for an image of n patches; then the mean over images

    Only angles between patches count: all features may rotate together, and the widths of the networks may differ.
    Negative cosines are kept. A patch paired with itself counts, as 0.

    Args:
        student: Patch tokens.
        anchor: Of the same patches, in the same order; carry no gradient.

    Returns:
        The loss, in [0, 4], computed in float32 under any autocast.

    References:
        Siméoni et al. 2025, arXiv:2508.10104, section on Gram anchoring. The paper writes the squared Frobenius norm;
        the mean over its entries, as in the authors' code, does not grow with the number of patches.
    """
    with torch.autocast(student.device.type, enabled=False):
        student, anchor = normalize(full_precision(student), dim=-1), normalize(full_precision(anchor), dim=-1)
        return (student @ student.mT - anchor @ anchor.mT).square().mean()


def to_grid(
    patches: Float[Tensor, 'views batch _ _ dim'], rows: int, columns: int, antialias: bool = False
) -> Float[Tensor, 'views batch {rows} {columns} dim']:
    """Patch tokens resampled to another grid over the same image: bicubic, in float32."""
    if patches.shape[2:4] == (rows, columns):
        return patches
    maps = full_precision(patches).flatten(0, 1).movedim(-1, 1)
    resized = interpolate(maps, size=(rows, columns), mode='bicubic', align_corners=False, antialias=antialias)
    return resized.movedim(1, -1).unflatten(0, patches.shape[:2])


def views_of_anchor(views: ViewBatch, loss: str) -> Float[Tensor, 'views batch channels rows columns']:
    """What a frozen network sees: the anchor views, or the global views if there are none.

    Raises:
        ValueError: If the anchor views differ in number from the global views or are smaller.
    """
    images = views.global_views if views.anchor_views is None else views.anchor_views
    given, least = tuple(images.shape), tuple(views.global_views.shape)
    if given[:2] != least[:2] or given[-2] < least[-2] or given[-1] < least[-1]:
        raise ValueError(
            f'{loss}: anchor views of shape {given} for global views of {least}; they need the same number of views '
            'and images, and at least the same size: set anchor_size in dino_plugin.MultiCrop.'
        )
    return images


class GramLoss(Loss):
    """Gram difference between the student and its anchor, on the patches of the global views.

    The anchor is a frozen copy of the teacher's backbone. It is made when training starts and again at each point of
    ``refresh``. If the batch has anchor views, the anchor sees those: the global views without colour changes and with
    more pixels; its patches are then resampled to the student's grid. Otherwise it sees the global views.

    The anchor is part of the state dict, so a resumed run keeps it. After loading weights without an anchor, the term
    is 0 for one step, and the anchor is then copied from the teacher. While the weight is 0, the anchor does not run.

    Args:
        weight: Factor of the term; a number or a schedule (2.0 in DINOv3, late in training).
        refresh: Points of progress, ascending in (0, 1]. The first step that begins at or after a point copies the
            teacher into the anchor when it ends.

    Raises:
        ValueError: If the points do not ascend or lie outside (0, 1]; from ``forward``, if there is no anchor, or the
            anchor views differ in number from the global views or are smaller.

    References:
        Siméoni et al. 2025, arXiv:2508.10104, section on Gram anchoring.
    """

    uses_teacher = False
    reads_patches = ('student_global',)

    def __init__(self, weight: Schedule | float = 2.0, refresh: Sequence[float] = ()) -> None:
        super().__init__(weight)
        self.refresh = tuple(refresh)
        if any(not 0 < point <= 1 for point in self.refresh) or list(self.refresh) != sorted(set(self.refresh)):
            raise ValueError(
                f'GramLoss: refresh={self.refresh} must be different points of progress in (0, 1], in '
                'ascending order; give step / number of steps. The first copy at 0 is always made.'
            )
        self.anchor: nn.Module | None = None
        self.register_buffer('refreshes', torch.tensor(-1))  # points passed; -1: no copy was made yet
        self._known_refreshes: int | None = -1

    def forward(self, step: Step) -> Float[Tensor, '']:
        """The unweighted term; 0 while the weight is 0."""
        if self.anchor is None:
            raise ValueError('GramLoss: there is no anchor yet; call follow_teacher(teacher, progress) first.')
        student = step.student_global.patches
        if self.weight(step.progress) == 0 or self._num_refreshes() < 0:
            return full_precision(student[:0]).sum()  # with a graph: DistributedDataParallel waits for gradients
        anchor = self._anchor_patches(step.views, student.shape[2:4])
        return gram_difference(student.flatten(2, 3).flatten(0, 1), anchor.flatten(2, 3).flatten(0, 1))

    def follow_teacher(self, teacher: nn.Module, progress: float) -> None:
        """Copy the teacher's backbone at the first call, and when progress reaches a point of ``refresh``."""
        if self.anchor is None:
            self.anchor = copy.deepcopy(teacher.backbone).requires_grad_(False).eval()
        num_due = sum(point <= progress for point in self.refresh)
        if num_due > self._num_refreshes():
            self.anchor.load_state_dict(teacher.backbone.state_dict())
            self.refreshes.fill_(num_due)
            self._known_refreshes = num_due

    def train(self, mode: bool = True) -> 'GramLoss':
        """The anchor stays in evaluation mode, batch norms included."""
        super().train(mode)
        if self.anchor is not None:
            self.anchor.eval()
        return self

    def _num_refreshes(self) -> int:
        # Reading the buffer makes the host wait for the device: only after weights were loaded.
        if self._known_refreshes is None:
            self._known_refreshes = int(self.refreshes)
        return self._known_refreshes

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *arguments) -> None:
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        if not any(key.startswith(f'{prefix}anchor.') for key in state_dict):
            self.refreshes.fill_(-1)  # the anchor belongs to the teacher before this load
        self._known_refreshes = None

    @torch.no_grad()
    def _anchor_patches(
        self, views: ViewBatch, grid: Sequence[int]
    ) -> Float[Tensor, 'views batch {grid[0]} {grid[1]} dim']:
        return to_grid(self.anchor(views_of_anchor(views, 'GramLoss')).patches, *grid)
