"""Functions that a config can name."""

from collections.abc import Callable
from functools import wraps


def named_in_configs(function: Callable) -> Callable:
    """``function``, ignoring an argument ``_scope_``.

    mmengine adds ``_scope_`` to dicts inherited from another package's config. It removes it when it builds, but not
    from the arguments of a ``collate_fn``.
    """

    @wraps(function)
    def without_scope(*args, _scope_: str | None = None, **kwargs):
        return function(*args, **kwargs)

    return without_scope
