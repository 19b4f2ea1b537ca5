"""mmengine's readers of checkpoints, without running code from them."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dino_plugin.weights.reading.file_checks import check_finite
from dino_plugin.weights.reading.sources import HUB
from dino_plugin.weights.safe_loading import load_checkpoint, load_pytorch_file


def use_safe_loading(checkpoint_module: ModuleType) -> None:
    """Makes mmengine read checkpoints as `load_checkpoint` does, wherever they are.

    mmengine itself unpickles freely: some versions always, others after a restricted attempt. It reads checkpoints for
    `--resume`, `load_from`, `init_cfg`, `last_checkpoint` and the functions of other packages, such as
    `mmseg.apis.init_model`; all of them ask `CheckpointLoader`. Paths, `http://`, `https://` and `hf-hub:` are read by
    `load_checkpoint`. Loaders of other addresses, also those registered later, keep their work, but `torch.load`
    is restricted in them, whatever they ask of it.

    Args:
        checkpoint_module: `mmengine.runner.checkpoint`; changed in place.
    """
    loader = checkpoint_module.CheckpointLoader
    loader.register_scheme(prefixes='', loader=load_from_file, force=True)
    loader.register_scheme(prefixes=('http://', 'https://', HUB), loader=load_from_http, force=True)
    # torchvision:// and open-mmlab:// are names of addresses.
    vars(checkpoint_module)['load_from_http'] = load_from_http
    inner = loader.load_checkpoint.__func__

    def load(cls: type, filename: str, map_location: Any = None, logger: Any = 'current') -> dict[str, Any]:
        with _restricted_unpickling(filename):
            checkpoint = inner(cls, filename, map_location, logger)
        check_finite(checkpoint, f'Checkpoint {filename}')
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
            # mmengine's resume runs this text as a Python config. It writes 'cfg' itself, not 'config', and needs
            # it only to compare numbers of GPUs.
            checkpoint['meta'].pop('config', None)
        return checkpoint

    loader.load_checkpoint = classmethod(load)


def load_from_file(filename: str, map_location: Any = None) -> dict[str, Any]:
    """`load_checkpoint` with mmengine's arguments, under a name whose beginning mmengine cuts off in its log."""
    return load_checkpoint(filename, map_location)


def load_from_http(filename: str, map_location: Any = None, **_) -> dict[str, Any]:
    """The same, for addresses."""
    return load_checkpoint(filename, map_location)


@contextmanager
def _restricted_unpickling(name: str) -> Iterator[None]:
    """`torch.load` reads as `load_pytorch_file` does."""
    free: Callable = torch.load

    def restricted(file: Any, map_location: Any = None, *_, **__) -> Any:
        file = Path(file) if isinstance(file, str | Path) else io.BytesIO(file.read())
        return load_pytorch_file(file, map_location, name)

    torch.load = restricted
    try:
        yield
    finally:
        torch.load = free
