"""``SelfDistillation``: a student, a teacher that follows it, named heads, named losses."""

import copy
import inspect
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.reduce import own_part
from dino_plugin.core.schedules import Schedule, schedule_between
from dino_plugin.core.views import Tokens, ViewBatch


class Network(nn.Module):
    """A backbone and its heads; student and teacher are each one."""

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self._can_omit_patches = 'patches' in inspect.signature(backbone.forward).parameters

    def forward(
        self, views: ViewBatch, global_patches: bool = True, local_patches: bool = True
    ) -> tuple[Tokens, Tokens | None]:
        """Tokens of the global views, and of the local views or None.

        Args:
            views: Global views are masked if there are masks.
            global_patches: Whether a loss reads the patches of the global views.
            local_patches: The same for the local views.
        """
        backbone = self.backbone
        if views.local_views is not None and hasattr(backbone, 'forward_together'):
            return backbone.forward_together(views, global_patches, local_patches)
        omit = {'patches': False} if self._can_omit_patches else {}
        global_tokens = backbone(views.global_views, masks=views.masks, **({} if global_patches else omit))
        if views.local_views is None:
            return global_tokens, None
        return global_tokens, backbone(views.local_views, local=True, **({} if local_patches else omit))


class Teacher(Network):
    """A network that is never trained by gradients.

    It stays in evaluation mode: no stochastic depth, no dropout, no augmentation of positions. Only batch norms follow
    the mode. As in the authors' code, they use the statistics of the teacher's batch in training.
    """

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__(backbone, heads)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> 'Teacher':
        """Only batch norms change their mode."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = mode
        return self


class SelfDistillation(nn.Module):
    """Student and teacher see views of the same images; the losses compare their outputs.

    The teacher starts as an exact copy of the student and sees all global views, without masks. It has no drop path, no
    dropout and no gradient, and only :meth:`update_teacher` changes it. It has its own buffers, such as the running
    statistics of batch norms; if no loss uses it, they are copied from the student.

    With a ``frozen_teacher``, a network that was trained before and is usually larger, the losses compare the student
    with that network, which never changes. The teacher still averages the student and is the network to keep.

    Args:
        backbone: ``backbone(images, masks=None, local=False) -> Tokens``; ``local`` is True for local views. Two
            optional features save work. An argument ``patches`` is False where no loss reads the patches, so the
            backbone may leave them out (:class:`~dino_plugin.core.views.ClassTokenOnly`). A method
            ``forward_together(views, global_patches, local_patches)`` takes views of both sizes at once.
        heads: By name; losses refer to these names.
        losses: By name; the names appear in the log.
        momentum: Share of the old teacher that is kept at each step, in [0, 1]; a number or a schedule.
        frozen_teacher: Gives the targets instead of the teacher; its heads have the same names and prototypes.

    Raises:
        ValueError: If a loss names a head that is missing here or in the frozen teacher, a head is used by no loss, or
            there is no loss; if the momentum leaves [0, 1].

    References:
        Caron et al. 2021, arXiv:2104.14294, algorithm 1.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: Mapping[str, nn.Module],
        losses: Mapping[str, Loss],
        momentum: Schedule | float,
        frozen_teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        _check_wiring(heads, losses, frozen_teacher)
        self.student = Network(backbone, heads)
        self.teacher = Teacher(copy.deepcopy(backbone), copy.deepcopy(dict(heads)))
        self.frozen_teacher = None if frozen_teacher is None else frozen_teacher.eval()
        self.losses = nn.ModuleDict(losses)
        self.momentum = schedule_between(momentum, 'SelfDistillation: momentum', 0, 1)
        self._buffers_before: list[Tensor] | None = None  # this step
        for loss in losses.values():
            loss.follow_teacher(self.teacher, 0.0)

    def train(self, mode: bool = True) -> 'SelfDistillation':
        """The frozen teacher stays in evaluation mode, batch norms included."""
        super().train(mode)
        if self.frozen_teacher is not None:
            self.frozen_teacher.eval()
        return self

    def forward(self, views: ViewBatch, progress: float) -> dict[str, Float[Tensor, '']]:
        """The weighted losses by name.

        Raises:
            ValueError: If there are fewer than two views of each image, or local views are larger than global ones.
        """
        _check_views(views)
        if self.training and self._buffers_before is None:
            self._buffers_before = [buffer.clone() for buffer in self.buffers()]
        teacher = self.frozen_teacher or self.teacher
        read = {name for loss in self.losses.values() for name in loss.reads_patches}
        teacher_global = None
        if self.uses_teacher:
            with torch.no_grad():
                teacher_global, _ = teacher(ViewBatch(views.global_views), global_patches='teacher_global' in read)
        student_global, student_local = self.student(views, 'student_global' in read, 'student_local' in read)
        step = Step(
            views=views,
            student_global=student_global,
            student_local=student_local,
            teacher_global=teacher_global,
            student_heads=self.student.heads,
            teacher_heads=teacher.heads,
            progress=progress,
        )
        return {name: loss.weight(progress) * loss(step) for name, loss in self.losses.items()}

    @property
    def uses_teacher(self) -> bool:
        """Whether any loss uses the teacher or the frozen teacher."""
        return any(loss.uses_teacher for loss in self.losses.values())

    @torch.no_grad()
    def update_teacher(self, progress: float, stepped: Bool[Tensor, ''] | bool = True) -> None:
        """Move the teacher towards the student after an optimiser step.

        teacher <- momentum * teacher + (1 - momentum) * student      for all parameters

        A skipped step must leave no trace. Its forward passes have changed batch norms, centres and queues, perhaps to
        NaN, so all buffers get back their values from before the step (before all its accumulated batches).

        Args:
            progress: Share of training done, in [0, 1].
            stepped: Whether the optimiser took the step. The host does not wait for a tensor on the device.
        """
        before, self._buffers_before = self._buffers_before or (), None
        if isinstance(stepped, Tensor):
            for buffer, old in zip(self.buffers(), before):
                buffer.copy_(torch.where(stepped, buffer, old))
        elif not stepped:
            for buffer, old in zip(self.buffers(), before):
                buffer.copy_(old)
        teacher, student = (
            [own_part(parameter) for parameter in network.parameters()] for network in (self.teacher, self.student)
        )
        share = 1.0 - self.momentum(progress)
        if isinstance(stepped, Tensor):
            # After a skipped step, the student's gradients may be NaN, but never its parameters.
            gaps = torch._foreach_sub(student, teacher)
            torch._foreach_mul_(gaps, share * stepped)
            torch._foreach_add_(teacher, gaps)
        elif stepped:
            torch._foreach_lerp_(teacher, student, share)
        # A teacher that did not run has no statistics of its own.
        if self.frozen_teacher is not None or not self.uses_teacher:
            for mine, theirs in zip(self.teacher.buffers(), self.student.buffers()):
                mine.copy_(theirs)
        for loss in self.losses.values():
            loss.follow_teacher(self.teacher, progress)


def _check_views(views: ViewBatch) -> None:
    num_local = 0 if views.local_views is None else len(views.local_views)
    num_global = len(views.global_views)
    if num_global < 1 or num_global + num_local < 2:
        raise ValueError(
            f'SelfDistillation: {num_global} global and {num_local} local views; it compares views of an image and '
            'needs at least two, one of them global (MultiCrop makes two global views).'
        )
    if num_local:
        global_size, local_size = views.global_views.shape[-2:], views.local_views.shape[-2:]
        if global_size.numel() < local_size.numel():
            raise ValueError(
                f'SelfDistillation: global views of {tuple(global_size)} pixels and local views of '
                f'{tuple(local_size)}; the global views, which the teacher sees, must be larger. Were they exchanged?'
            )


def _check_wiring(heads: Mapping[str, nn.Module], losses: Mapping[str, Loss], frozen_teacher: Teacher | None) -> None:
    if not losses:
        raise ValueError('SelfDistillation: no losses; name at least one, e.g. losses=dict(dino=...).')
    used = {head for loss in losses.values() for head in loss.heads}
    if missing := sorted(used - set(heads)):
        raise ValueError(
            f'SelfDistillation: losses name the heads {missing}, but the heads are {sorted(heads)}; '
            'add them to `heads` or correct the name in the loss.'
        )
    if unused := sorted(set(heads) - used):
        raise ValueError(f'SelfDistillation: no loss uses the heads {unused}; remove them, or name them in a loss.')
    if frozen_teacher is not None and (absent := sorted(used - set(frozen_teacher.heads))):
        raise ValueError(
            f'SelfDistillation: losses name the heads {absent}, but the frozen teacher has '
            f'{sorted(frozen_teacher.heads)}; load it with the heads that it was trained with.'
        )
