"""Learning rate and weight decay as functions of progress."""

from mmengine.optim import _ParamScheduler

from dino_plugin.core.schedules import Schedule, as_schedule
from dino_plugin.engine.training.build import build
from dino_plugin.registry import TASK_UTILS

_OF_CONFIG = ('param_name', 'base_values', 'schedule', 'end')


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
        """The state without what the config gives: option, its values, schedule, and length of training.

        So a checkpoint has plain values only, and a resumed run follows the schedule, the length and the values (the
        learning rate, scaled for its batch) of its own config.
        """
        return {key: value for key, value in super().state_dict().items() if key not in _OF_CONFIG}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from the step of another run, by the config of this one."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key not in _OF_CONFIG})
        if self._global_step < self.end:
            self.last_step = self._global_step  # mmengine stops at the end of the other run, one step before
            for group, base, value in zip(self.optimizer.param_groups, self.base_values, self._get_value()):
                group.update({f'initial_{self.param_name}': base, self.param_name: value})
