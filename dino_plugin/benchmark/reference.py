"""A checkout of facebookresearch/dino that the user has: its own code, run beside ours in this process."""

import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

MODULES = ('utils', 'vision_transformer', 'main_dino', 'eval_knn', 'eval_video_segmentation')


class Reference:
    """Modules of the checkout, imported under their own names without leaving these names in this process.

    Nothing of the checkout is changed, on disk or in what its functions compute.

    Args:
        path: The checkout.

    Raises:
        ValueError: If it holds no ``main_dino.py``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._modules: dict[str, ModuleType] = {}
        if not (self.path / 'main_dino.py').is_file():
            raise ValueError(
                f'{path} is no checkout of facebookresearch/dino: it has no main_dino.py. '
                'git clone https://github.com/facebookresearch/dino and give its folder as --reference.'
            )

    def module(self, name: str) -> ModuleType:
        """One of its modules; the others that it imports come with it."""
        if name not in self._modules:
            strangers = {known: sys.modules.pop(known) for known in MODULES if known in sys.modules}
            writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
            sys.modules.update(self._modules)
            sys.path.insert(0, str(self.path))
            importlib.invalidate_caches()
            try:
                importlib.import_module(name)
            finally:
                sys.path.remove(str(self.path))
                sys.dont_write_bytecode = writes
                self._modules |= {known: sys.modules.pop(known) for known in MODULES if known in sys.modules}
                sys.modules.update(strangers)
        return self._modules[name]

    @contextmanager
    def running_on(self, device: str) -> Iterator[None]:
        """Let its code run in one process, on CPU too, and keep its messages off the screen.

        It calls ``.cuda()`` on every tensor, waits for a GPU after each step, and sums over processes in its loss; on a
        CPU, and with one process, these calls do nothing here.
        """
        with ExitStack() as changes:
            changes.enter_context(redirect_stdout(io.StringIO()))
            changes.enter_context(warnings.catch_warnings())
            warnings.simplefilter('ignore')
            if torch.device(device).type == 'cpu':
                changes.enter_context(patch.object(torch.Tensor, 'cuda', _stay))
                changes.enter_context(patch.object(torch.cuda, 'synchronize', lambda *_: None))
            if main := self._modules.get('main_dino'):
                changes.enter_context(patch.object(main, 'dist', _OneProcess))
            yield


def _stay(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return tensor


class _OneProcess:
    """Stands in for ``torch.distributed``."""

    @staticmethod
    def all_reduce(tensor: torch.Tensor) -> None:
        """The sum over one process."""

    @staticmethod
    def get_world_size() -> int:
        """One."""
        return 1
