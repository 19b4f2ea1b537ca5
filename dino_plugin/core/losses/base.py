"""``Step``: all that a loss may see. ``Loss``: what a loss is."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from dino_plugin.core.schedules import Schedule, as_schedule
from dino_plugin.core.views import Tokens, ViewBatch


class Step(NamedTuple):
    """One forward pass of student and teacher, as the losses see it.

    Args:
        views: What went in, normalised.
        student_global: The student's tokens of the global views.
        student_local: The student's tokens of the local views; None where there are none.
        teacher_global: The teacher's tokens of the global views; they carry no gradient.
        student_heads: Heads by name.
        teacher_heads: The teacher's heads by the same names; frozen.
        progress: Share of training already done, in [0, 1].
    """

    views: ViewBatch
    student_global: Tokens
    student_local: Tokens | None
    teacher_global: Tokens
    student_heads: Mapping[str, nn.Module]
    teacher_heads: Mapping[str, nn.Module]
    progress: float


class Loss(nn.Module):
    """A term of the objective: ``forward(step) -> scalar``, weighted by a schedule.

    Args:
        weight: Factor of the term; a number or a schedule of progress.
        head: Name of the head that turns tokens into scores, for terms that use one. Two losses that name the same
            head share it.
    """

    def __init__(self, weight: Schedule | float = 1.0, head: str | None = None) -> None:
        super().__init__()
        self.weight = as_schedule(weight)
        self.head = head

    def forward(self, step: Step) -> Float[Tensor, '']:
        """The unweighted term."""
        raise TypeError(f'{type(self).__name__} does not define forward(step); a loss is a function of a Step.')
