"""``SelfDistillation``: a student, a teacher that follows it, named heads, named losses."""

import copy
import inspect
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dino_plugin.core.losses.base import Loss, Step
from dino_plugin.core.schedules import Schedule, schedule_between
from dino_plugin.core.views import Tokens, ViewBatch


class Network(nn.Module):
    """A backbone and its heads: what student and teacher are made of."""

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self._can_omit_patches = 'patches' in inspect.signature(backbone.forward).parameters

    def forward(
        self, views: ViewBatch, global_patches: bool = True, local_patches: bool = True
    ) -> tuple[Tokens, Tokens | None]:
        """The backbone's tokens of the global views, and of the local ones where there are some.

        Args:
            views: Patches of the global ones are hidden where there are masks.
            global_patches: Whether anybody reads the patches of the global views.
            local_patches: Those of the local views.
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

    It stays in evaluation mode, without random depth, dropout or augmentation of positions; only batch norms follow the
    mode, since their running statistics are the teacher's own, and the authors' teacher uses those of its batch.
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
    """Student and teacher look at the same images; the losses compare what they say.

    The teacher is a copy of the student from the first bit on. It sees the global views only, and all of them; it has
    no drop path and no dropout, never receives a gradient, and moves in :meth:`update_teacher` alone. Buffers, such as
    the running statistics of a batch norm, are its own, or the student's where it is not run.

    With a ``frozen_teacher``, a network trained before and usually larger, the losses compare the student
    with that one, which never moves; the teacher still averages the student and is the network to keep.

    Args:
        backbone: ``backbone(images, masks=None, local=False) -> Tokens``; ``local`` says that these are local views. It
            may do two things more, to save work. If it has an argument ``patches``, this is False where no loss reads
            the patches, which it may leave out then (:class:`~dino_plugin.core.views.ClassTokenOnly`). If it has a
            method ``forward_together(views, global_patches, local_patches)``, that takes views of both sizes at once.
        heads: By name; losses refer to these names.
        losses: By name; the names appear in the log.
        momentum: Share of the teacher that is kept at each step, in [0, 1]; a number or a schedule.
        frozen_teacher: Gives the targets instead of the teacher; its heads have the student's names and prototypes.

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
        self._buffers_before: list[Tensor] | None = None  # the step that is under way
        for loss in losses.values():
            loss.follow_teacher(self.teacher, 0.0)

    def train(self, mode: bool = True) -> 'SelfDistillation':
        """The frozen teacher stays in evaluation mode, batch norms included: it learnt its statistics long ago."""
        super().train(mode)
        if self.frozen_teacher is not None:
            self.frozen_teacher.eval()
        return self

    def forward(self, views: ViewBatch, progress: float) -> dict[str, Float[Tensor, '']]:
        """The weighted losses by name.

        Raises:
            ValueError: If there are fewer than two views of each image, or the local views are the larger ones.
        """
        _check_views(views)
        if self.training and self._buffers_before is None:
            self._buffers_before = [buffer.clone() for buffer in self.buffers()]
        targets_from = self.frozen_teacher or self.teacher
        read = {name for loss in self.losses.values() for name in loss.reads_patches}
        teacher_global = None
        if self.uses_teacher:
            with torch.no_grad():
                teacher_global, _ = targets_from(ViewBatch(views.global_views), global_patches='teacher_global' in read)
        student_global, student_local = self.student(views, 'student_global' in read, 'student_local' in read)
        step = Step(
            views=views,
            student_global=student_global,
            student_local=student_local,
            teacher_global=teacher_global,
            student_heads=self.student.heads,
            teacher_heads=targets_from.heads,
            progress=progress,
        )
        return {name: loss.weight(progress) * loss(step) for name, loss in self.losses.items()}

    @property
    def uses_teacher(self) -> bool:
        """Whether any loss looks at the teacher, or at the frozen teacher in its place."""
        return any(loss.uses_teacher for loss in self.losses.values())

    @torch.no_grad()
    def update_teacher(self, progress: float, stepped: Bool[Tensor, ''] | bool = True) -> None:
        """Let the teacher follow the student after a step of the optimiser.

        teacher <- momentum * teacher + (1 - momentum) * student      for all parameters

        A skipped step must leave no trace. Its forward passes have moved statistics of batch norms, centres and queues,
        perhaps to NaN: all buffers are put back to what they were before it, accumulated batches included.

        Args:
            progress: Share of training done, in [0, 1].
            stepped: Whether the optimiser took the step. A tensor on the device is used there, without the host waiting
                for it.
        """
        before, self._buffers_before = self._buffers_before or (), None
        if isinstance(stepped, Tensor):
            for buffer, old in zip(self.buffers(), before):
                buffer.copy_(torch.where(stepped, buffer, old))
        elif not stepped:
            for buffer, old in zip(self.buffers(), before):
                buffer.copy_(old)
        teacher, student = list(self.teacher.parameters()), list(self.student.parameters())
        share = 1.0 - self.momentum(progress)
        if isinstance(stepped, Tensor):
            # A skipped step may have left the student's gradients, but never its parameters, without finite values.
            gaps = torch._foreach_sub(student, teacher)
            torch._foreach_mul_(gaps, share * stepped)
            torch._foreach_add_(teacher, gaps)
        elif stepped:
            torch._foreach_lerp_(teacher, student, share)
        # A teacher that is not run has no statistics of its own.
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
            f'SelfDistillation: {num_global} global and {num_local} local views; it compares views of an image, so '
            'at least two are needed, one of them global (MultiCrop makes two global ones).'
        )
    if num_local:
        global_size, local_size = views.global_views.shape[-2:], views.local_views.shape[-2:]
        if global_size.numel() < local_size.numel():
            raise ValueError(
                f'SelfDistillation: global views of {tuple(global_size)} pixels and local views of '
                f'{tuple(local_size)}; the teacher sees the global ones, which must be the larger. Were they exchanged?'
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
            f'SelfDistillation: losses name the heads {absent}, which the frozen teacher has not (it has '
            f'{sorted(frozen_teacher.heads)}); a frozen teacher needs the heads that it was trained with.'
        )
