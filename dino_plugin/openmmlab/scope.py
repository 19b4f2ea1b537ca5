"""Functions that a config names."""

from collections.abc import Callable
from functools import wraps


def named_in_configs(function: Callable) -> Callable:
    """``function`` that takes no notice of a ``_scope_``.

    mmengine adds one to what a config inherits from another package, and takes it away again from what it builds, but
    not from the arguments of a ``collate_fn``.
    """

    @wraps(function)
    def without_scope(*args, _scope_: str | None = None, **kwargs):
        return function(*args, **kwargs)

    return without_scope
