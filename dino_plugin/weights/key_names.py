"""Renaming tensors by the tables of `layouts`."""

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from dino_plugin.weights.layouts import ORIGINAL, WITH_SIGNS, Layout, Names


def layout_of(keys: Iterable[str]) -> Layout:
    """The layout that a file's keys are in; `ORIGINAL` (nearly timm's names) if none of the others."""
    keys = list(keys)
    return next((layout for layout in WITH_SIGNS if any(matching(keys, sign) for sign in layout.signs)), ORIGINAL)


def matching(keys: Iterable[str], name: str) -> list[str]:
    """Those of the keys that a name of a table stands for."""
    pattern = _pattern(name)
    return [key for key in keys if pattern.fullmatch(key)]


def names_from_timm(layout: Layout, gated: bool) -> Names:
    """(name in timm, name there)."""
    return tuple((timm_name, there) for there, timm_name in layout.names + (layout.gated_mlp if gated else layout.mlp))


def names_to_timm(layout: Layout, keys: Iterable[str]) -> Names:
    """(name there, name in timm), for a file with these keys."""
    gated = bool(layout.gated_mlp) and bool(matching(keys, layout.gated_mlp[0][0]))
    return layout.names + (layout.gated_mlp if gated else layout.mlp)


def rename(state: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """The tensors under new names; a key that no old name stands for stays what it is.

    Raises:
        ValueError: If two keys get one name.
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
            raise ValueError(f'{key} and another key both stand for {new}')
        result[new] = value
    return result


def _pattern(name: str) -> re.Pattern:
    return re.compile(re.escape(name).replace(r'\{\}', r'(\d+)') + r'(\..+)?')
