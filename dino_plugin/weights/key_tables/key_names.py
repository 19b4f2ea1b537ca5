"""Key names: recognising a layout, and renaming by the tables of `layouts`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from dino_plugin.weights.key_tables.layouts import ORIGINAL, WITH_MARKERS, Layout, Names


def under(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose keys begin with ``prefix``, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def layout_of(keys: Iterable[str]) -> Layout:
    """The layout of a file's keys; `ORIGINAL` (close to timm's names) if it is none of the others."""
    keys = list(keys)
    return next((layout for layout in WITH_MARKERS if any(matching(keys, name) for name in layout.markers)), ORIGINAL)


def matching(keys: Iterable[str], name: str) -> list[str]:
    """The keys that match a name of a table."""
    pattern = _pattern(name)
    return [key for key in keys if pattern.fullmatch(key)]


def names_from_timm(layout: Layout, gated: bool) -> Names:
    """Pairs (name in timm, name in the layout)."""
    return tuple((timm_name, name) for name, timm_name in layout.names + (layout.gated_mlp if gated else layout.mlp))


def names_to_timm(layout: Layout, keys: Iterable[str]) -> Names:
    """Pairs (name in the layout, name in timm), for a file with these keys."""
    gated = bool(layout.gated_mlp) and bool(matching(keys, layout.gated_mlp[0][0]))
    return layout.names + (layout.gated_mlp if gated else layout.mlp)


def rename(state: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """The tensors under new names, from pairs (old, new); a key that matches no old name stays unchanged.

    Raises:
        ValueError: If two keys get the same name.
    """
    patterns = [(_pattern(old), new) for old, new in names]

    def renamed(key: str) -> str:
        for pattern, new in patterns:
            if found := pattern.fullmatch(key):
                *numbers, rest = found.groups(default='')
                return new.format(*numbers) + rest
        return key

    result: dict[str, Tensor] = {}
    for key, value in state.items():
        if (new := renamed(key)) in result:
            raise ValueError(f'{key} and another key both become {new}')
        result[new] = value
    return result


def _pattern(name: str) -> re.Pattern:
    return re.compile(re.escape(name).replace(r'\{\}', r'(\d+)') + r'(\..+)?')
