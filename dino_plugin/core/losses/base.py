"""``Step``: everything that a loss may see. ``Loss``: the base class of all losses."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dino_plugin.core.schedules import Schedule, as_schedule
from dino_plugin.core.views import Tokens, ViewBatch


class Step(NamedTuple):
    """One forward pass of student and teacher, as the losses see it.

    Tokens may lack their patches if no loss reads them (:class:`~dino_plugin.core.views.ClassTokenOnly`).

    Args:
        views: The views, normalised.
        student_global: The student's tokens of the global views, which are masked if there are masks.
        student_local: The student's tokens of the local views; None without local views.
        teacher_global: The teacher's tokens of the global views without masks; no gradient. None if no loss uses the
            teacher.
        student_heads: The student's heads by name.
        teacher_heads: The teacher's heads by the same names; frozen.
        progress: Share of training already done, in [0, 1].
    """

    views: ViewBatch
    student_global: Tokens
    student_local: Tokens | None
    teacher_global: Tokens | None
    student_heads: Mapping[str, nn.Module]
    teacher_heads: Mapping[str, nn.Module]
    progress: float


class Loss(nn.Module):
    """A term of the objective: ``forward(step) -> scalar``, weighted by a schedule.

    ``uses_teacher`` says whether the term uses the teacher, which does not run if no term does. ``reads_patches`` names
    the tokens of the step whose patches the term reads. Patches that no term reads are not computed.

    Args:
        weight: Factor of the term; a number or a schedule of progress.
        heads: Names of the heads that the term uses, if any. Two losses that name the same head share it.
    """

    uses_teacher = True
    reads_patches: tuple[str, ...] = ('student_global', 'student_local', 'teacher_global')

    def __init__(self, weight: Schedule | float = 1.0, heads: Sequence[str] = ()) -> None:
        super().__init__()
        self.weight = as_schedule(weight)
        self.heads = tuple(heads)

    def forward(self, step: Step) -> Float[Tensor, '']:
        """The unweighted term."""
        raise TypeError(f'{type(self).__name__} does not define forward(step); a loss is a function of a Step.')

    def follow_teacher(self, teacher: nn.Module, progress: float) -> None:
        """React to a new teacher; most losses do nothing.

        Called once when training is set up, with progress 0, and after every update of the teacher.

        Args:
            teacher: With ``backbone`` and ``heads``; read only.
            progress: Share of training done, in [0, 1].
        """
