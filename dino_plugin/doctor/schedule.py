"""Everything that changes over a training, as curves and as findings."""

from collections.abc import Iterable, Mapping

from mmengine.config import Config

from dino_plugin.core.distillation import SelfDistillation
from dino_plugin.core.schedules import as_schedule
from dino_plugin.doctor.findings import Finding
from dino_plugin.engine.training.build import build
from dino_plugin.registry import TASK_UTILS

POINTS = 201
MOST_DECAY = 2e-3  # learning rate times weight decay; our recipes have at most 5e-4
Curve = list[float]


def curves_of(distillation: SelfDistillation, cfg: Config, rate: float) -> dict[str, Curve]:
    """Values at 201 points of progress from 0 to 1, by name.

    Args:
        distillation: Its momentum if a loss uses the teacher, and weights and temperatures of its losses.
        cfg: Its schedulers of the optimiser, as far as they are a `ProgressScheduler`.
        rate: The optimiser's learning rate, after the rule for the batch.
    """
    schedules = {'teacher momentum': distillation.momentum} if distillation.uses_teacher else {}
    for name, loss in distillation.losses.items():
        schedules[f'weight of {name}'] = loss.weight
        if hasattr(loss, 'teacher_temperature'):
            schedules[f'teacher temperature of {name}'] = loss.teacher_temperature
    base = {'lr': rate, 'weight_decay': cfg.optim_wrapper.optimizer.get('weight_decay', 0.0)}
    curves = {name: [schedule(point / (POINTS - 1)) for point in range(POINTS)] for name, schedule in schedules.items()}
    for scheduler in cfg.get('param_scheduler') or []:
        if str(scheduler.type).endswith('ProgressScheduler') and scheduler.param_name in base:
            schedule = scheduler.schedule
            factor = as_schedule(build(TASK_UTILS, schedule) if isinstance(schedule, dict) else schedule)
            value = base[scheduler.param_name]
            curves[scheduler.param_name] = [value * factor(point / (POINTS - 1)) for point in range(POINTS)]
    return curves


def judge_schedule(
    curves: Mapping[str, Curve], steps: int, frozen: Mapping[str, float], student: Mapping[str, float]
) -> list[Finding]:
    """Findings.

    Args:
        curves: As from `curves_of`.
        steps: Of the whole training.
        frozen: Shares of the training in which 'backbone' and 'last layer' do not change.
        student: The student's temperature by loss.
    """
    said = [Finding('ok', 'length', f'{steps:,} steps')]
    rate = curves.get('lr', [1.0])
    peak = rate.index(max(rate)) / (POINTS - 1)
    if max(rate) <= 0:
        said.append(Finding('fault', 'learning rate', '0 for the whole training', 'optim_wrapper.optimizer.lr=5e-4'))
    elif 'lr' in curves:
        found = f'the learning rate is highest, {max(rate):.3g}, after {peak:.0%}'
        remedy = 'a shorter one: param_scheduler.0.schedule.share=0.1' if peak > 0.5 else ''
        said.append(Finding('warning' if peak > 0.5 else 'ok', 'warm-up', found, remedy))
    rates_and_decays = zip(curves.get('lr', ()), curves.get('weight_decay', ()))
    shrinks = max((rate * decay for rate, decay in rates_and_decays), default=0)
    if shrinks > MOST_DECAY:
        found = f'times the learning rate it is up to {shrinks:.1e}: weights fade within {1 / shrinks:.0f} steps'
        said.append(Finding('warning', 'weight decay', found, 'optim_wrapper.optimizer.weight_decay=0.04'))
    said += _of_momentum(curves.get('teacher momentum', []), steps)
    for part, share in frozen.items():
        if share > 0.5:
            found = f'the {part} does not change for {share:.0%} of the training'
            said.append(Finding('warning', 'freeze', found, f'optim_wrapper.freeze_{part.replace(" ", "_")}=0.1'))
    for name, temperature in student.items():
        hottest = max(curves.get(f'teacher temperature of {name}', [0.0]))
        if hottest >= temperature:
            found = f"teacher {hottest:.3g}, student {temperature:.3g}: targets no sharper than the student's answers"
            said.append(Finding('warning', f'temperatures of {name}', found, 'a lower teacher_temperature: 0.04'))
    return said


def _of_momentum(momentum: Curve, steps: int) -> list[Finding]:
    if not momentum:
        return []  # no loss uses the teacher
    if not momentum[0]:
        found = 'it is 0: the teacher is the student'
        return [Finding('warning', 'teacher momentum', found, 'model.momentum.start=0.99')]
    memory = 1 / max(1e-12, 1 - momentum[0])
    if memory <= steps / 2:
        return []
    found = f'the teacher averages {memory:,.0f} steps of {steps:,}: it hardly leaves its start'
    return [Finding('warning', 'teacher momentum', found, 'a lower model.momentum.start, such as 0.99')]


def temperatures(losses: Iterable[tuple[str, object]]) -> dict[str, float]:
    """The student's temperature of each loss that has one."""
    return {name: loss.student_temperature for name, loss in losses if hasattr(loss, 'student_temperature')}
