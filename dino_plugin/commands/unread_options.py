"""Options of the command line that change nothing: names that neither the runner nor the tools read."""

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

# What else is read: by Config, by the tools, and by hooks of mmengine.
_OTHERS = {
    'runner_type', 'auto_scale_lr', 'tta_model', 'tta_pipeline', 'custom_imports', 'default_scope', 'env_cfg',
    'model_wrapper_cfg', 'sync_bn', 'find_unused_parameters', 'class_names', 'test_pipeline',
}  # fmt: skip
# Sections whose unknown keys nobody refuses.
_KEYS = {
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
}


def read_names() -> set[str]:
    """The names at the top of a config that something reads."""
    return _OTHERS | inspect.signature(Runner).parameters.keys() - {'cfg'}


def unread_options(cfg: Config, names: Iterable[str]) -> list[str]:
    """A line for each option that has no effect, with the nearest names that have one.

    Args:
        cfg: The config with the options.
        names: Of the options, such as `train_cfg.max_epochs`.
    """
    read = read_names()
    lines = []
    for name in names:
        first, dot, rest = name.partition('.')
        section, _, key = name.rpartition('.')
        if first not in read:
            places = [place for place in _places(cfg, name) if place.partition('.')[0] in read]
            similar = [f'{other}{dot}{rest}' for other in difflib.get_close_matches(first, sorted(read))]
            lines.append(_line(name, places or similar))
        elif section in _KEYS and key not in _KEYS[section]:
            similar = difflib.get_close_matches(key, sorted(_KEYS[section]), cutoff=0) or sorted(_KEYS[section])
            lines.append(_line(name, [f'{section}.{other}' for other in similar]))
    return lines


def _line(name: str, nearest: list[str]) -> str:
    short = ' Shorter: --images DIR.' if name.rpartition('.')[2] == 'data_root' else ''
    return (
        f'{name} has no effect: nothing reads it.' + (f' Nearest: {", ".join(nearest[:3])}.' if nearest else '') + short
    )


def _places(settings: Any, name: str, path: str = '') -> Iterator[str]:
    """Full names in the config that end like the option."""
    entries = settings.items() if isinstance(settings, dict | Config) else enumerate(settings)
    for key, value in entries:
        place = f'{path}.{key}' if path else str(key)
        if place.endswith(f'.{name}'):
            yield place
        if isinstance(value, dict) or (isinstance(value, list | tuple) and any(isinstance(v, dict) for v in value)):
            yield from _places(value, name, place)
