"""Options of the optimiser when a run is resumed: the config rules, a schedule goes on where it was."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

_BASE = 'base_param_settings'
Group = Mapping[str, Any]


def under_config(state: Mapping[str, Any], own: Sequence[Group], base: Group | None) -> dict[str, Any]:
    """The state of a checkpoint's optimiser with the options of this run's config; what that changes is logged.

    Where a schedule moves an option, the group has the config's value as ``initial_<option>``, and

        value = value in the checkpoint * initial value of the config / initial value in the checkpoint

    so it keeps its place in the schedule. The same config changes nothing, bit for bit.

    Args:
        state: Of mmengine's wrapper of an optimiser.
        own: Groups of the optimiser's parameters, as this run built them from its config.
        base: The options that mmengine keeps beside several groups, for the log.

    Raises:
        ValueError: If the checkpoint's optimiser is of another kind, or groups its parameters otherwise.
    """
    saved = state['param_groups']
    if other := _difference(saved, own):
        raise ValueError(
            f"The checkpoint's optimiser is another: {other}. --resume needs the same optimizer, paramwise_cfg and "
            'networks. To start a new optimiser from the weights of this checkpoint, without --resume: '
            '--work-dir DIR --cfg-options load_from=PATH.'
        )
    if changed := changed_options(saved, own):
        print_log(f'The config rules, and differs from the checkpoint: {changed}.', 'current', logging.WARNING)
    ours = {**state, 'param_groups': [_group(*pair) for pair in zip(saved, own, strict=True)]}
    return ours if base is None else {**ours, _BASE: _group(state.get(_BASE, base), base)}


def _difference(saved: Sequence[Group], own: Sequence[Group]) -> str:
    """Why the state does not fit; empty if it does."""
    before, now = (_options(groups) for groups in (saved, own))
    missing, new = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    if lacking := [name for name in missing if before[name]] + [name for name in new if now[name]]:
        return f'{", ".join(lacking)} are options of one of them alone'
    parts = [[(group.get('module'), len(group['params'])) for group in groups] for groups in (saved, own)]
    if parts[0] != parts[1]:
        told = [f'{sum(size for _, size in each)} tensors in {len(each)} groups' for each in parts]
        return f'it has {told[0]}, this run has {told[1]}'
    return ''


def _options(groups: Sequence[Group]) -> dict[str, bool]:
    """Options by name; True for numbers, which no schedule added. PyTorch's flags differ between its versions."""
    return {
        name: isinstance(value, float | int | tuple | list)
        and not isinstance(value, bool)
        and name != 'params'
        and not name.startswith('initial_')
        and f'initial_{name}' not in group
        for group in groups
        for name, value in group.items()
    }


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


def _group(saved: Group, own: Group) -> dict[str, Any]:
    return {name: _value(name, saved, own) for name in own} | {'params': saved['params']}


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
