"""Checks at import, without importing them, that mmengine and mmcv are usable.

Two families of packages provide the same modules: onedl-* (maintained) and OpenMMLab's own. One of them must be
installed, complete and new enough. Both together overwrite each other's files.
"""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

CURE = 'pip install "dino_plugin[onedl]"'

# module -> {distribution: oldest version that works}
PROVIDERS = {
    'mmengine': {
        'onedl-mmengine': '0.10.12',
        'mmengine': '0.10.7',  # the first without a clash between its optimizers and transformers'
        'mmengine-lite': '0.10.7',
    },
    'mmcv': {
        'onedl-mmcv': '2.3.6',
        'mmcv': '2.0.1',
        'mmcv-lite': '2.0.1',
    },
}


def require_openmmlab() -> None:
    """Checks that mmengine and mmcv can be used.

    Raises:
        ImportError: If one of them is missing or too old, or both families are installed together. The message has the
            pip command that repairs it.
    """
    installed = {name: found for name in _names() if (found := installed_version(name)) is not None}
    onedl = sorted(name for name in installed if name.startswith('onedl-'))
    official = sorted(set(installed) - set(onedl))
    if onedl and official:
        raise ImportError(
            f'{_join(onedl)} and {_join(official)} are installed together and overwrite each other, so keep one '
            f'family: pip uninstall -y {" ".join(onedl + official)} && {CURE}'
        )
    missing = [module for module in PROVIDERS if find_spec(module) is None]
    if missing:
        cure = CURE if onedl or not official else 'pip install "dino_plugin[openmmlab]"'
        raise ImportError(f'dino_plugin needs {_join(missing)}, not installed here: {cure}')
    for oldest in PROVIDERS.values():
        for name in oldest.keys() & installed.keys():
            if _numbers(installed[name]) < _numbers(oldest[name]):
                raise ImportError(
                    f'{name} {installed[name]} is too old for dino_plugin, which needs {oldest[name]} or newer: '
                    f'pip install --upgrade "{name}>={oldest[name]}"'
                )


def _names() -> Iterable[str]:
    return (name for oldest in PROVIDERS.values() for name in oldest)


def installed_version(name: str) -> str | None:
    """Version of an installed distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(version_text: str) -> tuple[int, ...]:
    """'0.11.0rc3' -> (0, 11, 0): a release candidate counts as its release."""
    return tuple(int(number) for number in re.findall(r'\d+', version_text)[:3])


def _join(names: list[str]) -> str:
    return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)
