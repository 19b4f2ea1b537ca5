"""What differs between two configs."""

from collections.abc import Mapping
from typing import Any


def changed_values(old: Any, new: Any, name: str = '') -> dict[str, tuple[Any, Any]]:
    """{dotted name: (old value, new value)}; lists equal tuples, as they do after a config was written to a file.

    Args:
        old: Plain values in dicts and lists.
        new: Likewise; what only one of the two has is None in the other.
        name: In front of all names.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = {str(key): (old.get(key), new.get(key)) for key in {*old, *new}}
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        pairs = {str(index): pair for index, pair in enumerate(zip(old, new))}
    else:
        return {} if old == new else {name: (old, new)}
    prefix = f'{name}.' if name else ''
    return {place: pair for key, both in pairs.items() for place, pair in changed_values(*both, prefix + key).items()}
