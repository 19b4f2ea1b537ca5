"""A checkout of facebookresearch/dino that the user has: its own code, run beside ours in this process."""

import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch

MODULES = ('utils', 'vision_transformer', 'main_dino', 'eval_knn', 'eval_video_segmentation')
ONE_PROCESS = SimpleNamespace(all_reduce=lambda tensor: None, get_world_size=lambda: 1)


class Reference:
    """Modules of the checkout as attributes: ``reference.utils``; this process does not keep them under their names.

    Nothing of the checkout is changed, on disk or in what its functions compute.

    Args:
        path: The checkout.

    Raises:
        ValueError: If it holds no ``main_dino.py``.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Path(path).resolve()
        if not (folder / 'main_dino.py').is_file():
            raise ValueError(
                f'{path} is no checkout of facebookresearch/dino: it has no main_dino.py. '
                'git clone https://github.com/facebookresearch/dino and give its folder as --reference.'
            )
        importlib.invalidate_caches()
        writes_nothing = patch.object(sys, 'dont_write_bytecode', True)
        with patch.object(sys, 'path', [str(folder), *sys.path]), writes_nothing:
            for name in MODULES:
                setattr(self, name, importlib.import_module(name))
        for name in MODULES:
            del sys.modules[name]

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
            changes.enter_context(patch.object(self.main_dino, 'dist', ONE_PROCESS))
            if device == 'cpu':
                changes.enter_context(patch.object(torch.Tensor, 'cuda', lambda tensor, *_, **__: tensor))
                changes.enter_context(patch.object(torch.cuda, 'synchronize', lambda *_: None))
            yield
