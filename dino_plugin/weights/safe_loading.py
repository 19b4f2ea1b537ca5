"""Reading checkpoint files without running code from them."""

import argparse
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy
import torch
from torch import Tensor


def load_checkpoint(path: str | Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Reads a `.safetensors` file, or a PyTorch file with the restricted unpickler.

    Besides tensors and plain Python values, a PyTorch file may hold what mmengine's training checkpoints and DINO's
    released ones hold: numpy arrays and scalars, `HistoryBuffer`, `ConfigDict` and `argparse.Namespace`.
    Nothing else is imported or called, so no file can run code.

    Args:
        path: The file, or a Hugging Face folder with `model.safetensors`; `~` is expanded.
        map_location: As in `torch.load`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds other Python objects, is damaged, or is not a dictionary.
    """
    path = weights_file(path)
    if not path.is_file():
        raise FileNotFoundError(f'Checkpoint {path} does not exist, or is a folder without model.safetensors.')
    if path.suffix == '.safetensors':
        return _load_safetensors(path, map_location)
    try:
        with torch.serialization.safe_globals(_allowed_globals()):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise ValueError(_refusal(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(_damaged(path, error)) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'Checkpoint {path} holds a {type(checkpoint).__name__}; expected a dictionary.')
    return checkpoint


def weights_file(path: str | Path) -> Path:
    """The file itself, or `model.safetensors` of a Hugging Face folder."""
    path = Path(path).expanduser()
    weights = path / 'model.safetensors'
    return weights if weights.is_file() else path


def use_safe_loading() -> None:
    """Makes mmengine read local checkpoints (`--resume`, `load_from`, `init_cfg`) with `load_checkpoint`.

    Some versions of mmengine use the unrestricted unpickler; others cannot read their own checkpoints with torch 2.6 or
    newer. Remote files (`https://`, `s3://`) keep mmengine's loaders.
    """
    from mmengine.runner import CheckpointLoader

    def load_from_local_file(filename: str, map_location: Any = None) -> dict[str, Any]:
        checkpoint = load_checkpoint(filename, map_location)
        if isinstance(checkpoint.get('meta'), dict):
            # mmengine's resume runs this text as a Python config. It writes 'cfg' itself, not 'config', and needs
            # it only to compare numbers of GPUs.
            checkpoint['meta'].pop('config', None)
        return checkpoint

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local_file, force=True)


def _allowed_globals() -> list[Any]:
    """Names that a training checkpoint may import besides PyTorch's own list; none runs code chosen by the file."""
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    def method_of_history(owner: Any, name: str) -> Any:
        # HistoryBuffer pickles its methods as getattr(HistoryBuffer, 'mean'); another could reach `__globals__`.
        if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
            raise UnpicklingError(f'GLOBAL getattr({owner!r}, {name!r})')
        return getattr(owner, name)

    core = numpy._core if hasattr(numpy, '_core') else numpy.core
    array_makers = [core.multiarray._reconstruct, core.multiarray.scalar]
    # numpy 2 renamed numpy.core to numpy._core; files hold either name.
    named = [(maker, f'numpy.{old}.multiarray.{maker.__name__}') for maker in array_makers for old in ('core', '_core')]
    dtypes = {type(numpy.dtype(code)) for code in '?bBhHiIlLqQefd'}
    named += [(method_of_history, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    return [*named, numpy.ndarray, numpy.dtype, *dtypes, HistoryBuffer, ConfigDict, argparse.Namespace]


def _load_safetensors(path: Path, map_location: Any) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    device = str(map_location) if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        return load_file(path, device=device)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(_damaged(path, error)) from error


def _refusal(path: Path, reason: str) -> str:
    found = re.search(r"(?:GLOBAL |class ')([\w.]+)", reason)
    if found is None:
        detail = re.search(r'WeightsUnpickler error: (.*)', reason)
        return _damaged(path, detail.group(1) if detail else reason)
    return (
        f'Checkpoint {path} is refused: it imports {found.group(1)}, which weights do not need and which could run any '
        'code. If you trust the origin of the file, convert it once: '
        f"`checkpoint = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
        "torch.save({'state_dict': checkpoint['state_dict']}, 'converted.pth')`; keep the entry that holds the weights."
    )


def _damaged(path: Path, error: Exception | str) -> str:
    return (
        f'Checkpoint {path} ({path.stat().st_size} bytes) cannot be read; it is truncated, damaged or no checkpoint: '
        f'{str(error).strip()}. Copy or download it again.'
    )
