"""Learning rate and weight decay as functions of progress."""

from mmengine.optim import _ParamScheduler

from dino_plugin.core.schedules import Schedule, as_schedule
from dino_plugin.engine.training.build import build
from dino_plugin.registry import TASK_UTILS


class ProgressScheduler(_ParamScheduler):
    """A hyperparameter of the optimiser as a function of progress.

    value(step) = value in the optimiser's config * schedule(step / end)

    The schedule gives a *factor*: learning rates of groups keep their ratios, and a weight decay of 0 stays 0
    (mmengine's own cosine raises it). mmengine fills in ``end``, the length of training.

    Args:
        optimizer: The optimiser or its wrapper.
        param_name: 'lr', 'weight_decay', …
        schedule: A schedule, its config, or a number.
        end: Steps of training.
        by_epoch: Count epochs instead of iterations.
        last_step: As in mmengine.
    """

    def __init__(
        self,
        optimizer,
        param_name: str,
        schedule: Schedule | dict | float,
        end: int,
        by_epoch: bool = True,
        last_step: int = -1,
    ) -> None:
        self.schedule = as_schedule(build(TASK_UTILS, schedule) if isinstance(schedule, dict) else schedule)
        super().__init__(optimizer, param_name, end=end, by_epoch=by_epoch, last_step=last_step)

    def _get_value(self) -> list[float]:
        factor = self.schedule(self.last_step / self.end)
        return [base * factor for base in self.base_values]

    def state_dict(self) -> dict:
        """The state without the schedule and the length of training, which come from the config.

        So a checkpoint has plain values only, and a run resumed with another length follows the new length.
        """
        return {key: value for key, value in super().state_dict().items() if key not in ('schedule', 'end')}
