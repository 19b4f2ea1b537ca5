"""Options of the optimiser when a run is resumed: the config rules, a schedule goes on where it was."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

_BASE = 'base_param_settings'
Group = Mapping[str, Any]


def under_config(state: Mapping[str, Any], own: Sequence[Group]) -> dict[str, Any]:
    """The state of a checkpoint's optimiser with the options of this run's config; what that changes is logged.

    Where a schedule moves an option, the group has the config's value as ``initial_<option>``, and

        value = value in the checkpoint * initial value of the config / initial value in the checkpoint

    so it keeps its place in the schedule. The same config changes nothing, bit for bit.

    Args:
        state: Of mmengine's wrapper of an optimiser, which keeps the options of a base group beside the others.
        own: The wrapper's groups, as this run built them from its config.
    """
    base = [state[_BASE]] if _BASE in state else []
    saved = [*state['param_groups'], *base]
    if changed := changed_options(saved, own):
        print_log(f'The config rules, and differs from the checkpoint: {changed}.', 'current', logging.WARNING)
    groups = [
        {name: _value(name, theirs, ours) for name in ours} | {'params': theirs['params']}
        for theirs, ours in zip(saved, own, strict=True)
    ]
    return {**state, 'param_groups': groups[: len(state['param_groups'])], **({_BASE: groups[-1]} if base else {})}


def changed_options(saved: Sequence[Group], own: Sequence[Group]) -> str:
    """'lr 0.001 -> 1e-05, weight_decay 0.04 -> 0.4'; of several groups the one with the largest value now."""
    changed: dict[str, list[tuple]] = {}
    for theirs, ours in zip(saved, own, strict=True):
        for name in ours:
            now, before = _initial(name, ours), _initial(name, theirs)
            number = isinstance(now, float | int | tuple) and not isinstance(now, bool)
            if number and before is not None and now != before:
                changed.setdefault(name, []).append((now, before))
    largest = {name: max(pairs) for name, pairs in changed.items() if not name.startswith('initial_')}
    return ', '.join(f'{name} {_text(before)} -> {_text(now)}' for name, (now, before) in largest.items())


def _value(name: str, saved: Group, own: Group) -> Any:
    if name == 'betas' and 'initial_momentum' in own:  # mmengine's schedules of momentum write it, too
        return saved[name]
    if name == 'params' or f'initial_{name}' not in own or f'initial_{name}' not in saved:
        return own[name]
    now, before = _initial(name, own), _initial(name, saved)
    if now == before:
        return saved[name]
    return saved[name] * now / before if before else now


def _initial(name: str, group: Group) -> Any:
    """The option as the config has it."""
    return group.get(f'initial_{name}', group.get(name))


def _text(value: Any) -> str:
    return str(value) if isinstance(value, tuple) else f'{value:.4g}'
