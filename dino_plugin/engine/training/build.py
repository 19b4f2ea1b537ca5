"""Configs -> objects, which may take numbers from each other."""

import inspect
from importlib.util import find_spec

from mmengine.registry import Registry

from dino_plugin.registry import MODELS, TASK_UTILS


def build(registry: Registry, config: dict, **known):
    """Build ``config`` and the configs in it; constructors with an argument of a ``known`` name get that value.

    So a number stands once in a config: the ``in_dim`` of a head is the ``embed_dim`` of the backbone, the
    ``prototypes`` of a target are those of its head. Dicts inside with a ``type`` (schedules, targets, functions that
    compute a number, networks) are built first. A value in the config wins.

    Raises:
        TypeError: If ``config`` is no dict with a ``type``.
        ImportError: If the ``type`` is a dotted name of a package that is not installed, such as Lightly.
    """
    if not isinstance(config, dict) or 'type' not in config:
        raise TypeError(f"Expected a dict with a 'type', such as dict(type='dino_plugin.DINOHead'), not {config!r}.")
    nested = {
        key: build(_registry_of(value), value, **known) if isinstance(value, dict) and 'type' in value else value
        for key, value in config.items()
    }
    cls = registry.get(config['type']) if isinstance(config['type'], str) else config['type']
    if cls is None:
        _require_package(config['type'])
    else:
        accepted = inspect.signature(cls).parameters
        nested = {key: value for key, value in known.items() if key in accepted} | nested
    return registry.build(nested)


def _registry_of(config: dict) -> Registry:
    return TASK_UTILS if not isinstance(config['type'], str) or TASK_UTILS.get(config['type']) else MODELS


def _require_package(name: str) -> None:
    package, *inside = name.split('.')
    if inside and find_spec(package) is None:
        raise ImportError(f'{name} needs the package {package!r}, which is not installed: pip install {package}')
