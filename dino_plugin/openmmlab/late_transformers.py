"""mmengine without the seconds that transformers takes to import.

mmengine imports transformers, if it is installed, for one optimiser, Adafactor; with peft beside it this is half of the
time that a program here needs to start. Here transformers is imported when a config asks for that optimiser.
"""

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from dino_plugin.openmmlab.import_hooks import Execute, around_import


def import_transformers_late() -> None:
    """Acts when mmengine's optimisers are imported; not if transformers or they are already."""
    around_import('mmengine.optim.optimizer.builder', _without_transformers)


def _without_transformers(execute: Execute, module: ModuleType) -> None:
    if 'transformers' in sys.modules or find_spec('transformers') is None:
        execute(module)
        return
    sys.modules['transformers'] = None  # type: ignore[assignment]  # Python's way to say: cannot be imported
    try:
        execute(module)
    finally:
        del sys.modules['transformers']
    module.OPTIMIZERS.register_module(name='Adafactor', module=adafactor)
    module.TRANSFORMERS_OPTIMIZERS.append('Adafactor')


def adafactor(params: Any, **options: Any) -> Any:
    """The optimiser of transformers; mmengine reads the name of the first argument."""
    from transformers import Adafactor

    return Adafactor(params, **options)
