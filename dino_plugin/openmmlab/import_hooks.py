"""Actions that run when another module is imported."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

Execute = Callable[[ModuleType], None]


def after_import(name: str, action: Execute) -> None:
    """Calls ``action(module)`` once: now if ``name`` is imported already, otherwise when it is imported.

    So ``import dino_plugin`` need not import packages that may never be used.
    """

    def execute_and_act(execute: Execute, module: ModuleType) -> None:
        execute(module)
        action(module)

    if name in sys.modules:
        action(sys.modules[name])
    else:
        around_import(name, execute_and_act)


def around_import(name: str, run: Callable[[Execute, ModuleType], None]) -> None:
    """Calls ``run(execute, module)`` in place of ``execute(module)`` when ``name`` is imported for the first time."""
    if name not in sys.modules:
        sys.meta_path.insert(0, _Waiting(name, run))


class _Waiting(MetaPathFinder):
    """Leaves every import to the next finders, and changes how the module it waits for is executed."""

    def __init__(self, name: str, run: Callable[[Execute, ModuleType], None]) -> None:
        self.name = name
        self.run = run

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: self.run(execute, module)
        return spec
