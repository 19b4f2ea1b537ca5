"""Reading checkpoint files without running code from them."""

import argparse
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy
import torch
from torch import Tensor

from dino_plugin.weights.networks.descriptions import read_card
from dino_plugin.weights.reading.file_checks import check_archive, check_claims, num_bytes, sha256_of
from dino_plugin.weights.reading.sharded import REST, is_sharded, load_sharded
from dino_plugin.weights.reading.sources import is_downloadable, is_remote, local_file

_load = torch.load  # as it is outside of mmengine's loaders, see `mmengine_loaders`
# What PyTorch, zipfile and numpy raise for files that are not what they say.
_DAMAGES = (
    RuntimeError, EOFError, OSError, KeyError, IndexError, AttributeError, TypeError, ValueError, MemoryError,
    OverflowError, zipfile.BadZipFile,
)  # fmt: skip


def load_checkpoint(source: str | Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Reads a `.safetensors` file, a folder of `.distcp` files, or a PyTorch file with the restricted unpickler.

    Besides tensors and plain Python values, a PyTorch file may hold what mmengine's training checkpoints and DINO's
    released ones hold: numpy arrays and scalars, `HistoryBuffer`, `ConfigDict` and `argparse.Namespace`.
    Nothing else is imported or called, so no file can run code.

    Args:
        source: A path, `https://...` or `hf-hub:owner/name`, see `local_file`. Other addresses, such as
            `torchvision://resnet50`, go to mmengine's loaders, which are restricted in the same way.
        map_location: As in `torch.load`.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If a download fails.
        ValueError: If the file holds other Python objects, is damaged, claims more than it holds, or is not a
            dictionary.
    """
    if is_remote(source) and not is_downloadable(source):
        from mmengine.runner import CheckpointLoader

        return CheckpointLoader.load_checkpoint(str(source), map_location)
    path = local_file(source)
    if is_sharded(path):
        return _load_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f'Checkpoint {path} does not exist, or has neither model.safetensors nor .metadata.')
    name = str(path) if path == Path(source) else f'{source} (in {path})'
    if path.suffix == '.safetensors':
        checkpoint = _load_safetensors(path, map_location, name)
    else:
        checkpoint = load_pytorch_file(path, map_location, name)
    _check_hash(path, name)
    return checkpoint


def _load_folder(folder: Path) -> dict[str, Any]:
    """A folder of our trainings as their files are, without the optimiser's state; of others, the tensors."""
    tensors = load_sharded(folder)
    if not (folder / REST).is_file():
        return tensors
    rest = load_pytorch_file(folder / REST, 'cpu', str(folder / REST))
    rest.pop('optimizer', None)
    return {**rest, 'state_dict': {name.removeprefix('model.'): value for name, value in tensors.items()}}


def load_pytorch_file(file: Path | BytesIO, map_location: Any, name: str) -> dict[str, Any]:
    """Reads a PyTorch file, or a buffer with its bytes, as `load_checkpoint` does.

    Args:
        file: To read.
        map_location: As in `torch.load`.
        name: Of the file in messages.
    """
    try:
        check_archive(file)
        if isinstance(file, BytesIO):
            file.seek(0)
        with _only_allowed_globals():
            checkpoint = _load(file, map_location=map_location, weights_only=True)
        check_claims(checkpoint, num_bytes(file))
    except UnpicklingError as error:
        raise ValueError(_refusal(file, name, str(error))) from error
    except _DAMAGES as error:
        raise ValueError(_damaged(file, name, error)) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'Checkpoint {name} holds a {type(checkpoint).__name__}; expected a dictionary.')
    return checkpoint


@contextmanager
def _only_allowed_globals() -> Iterator[None]:
    """Nothing else may be imported by a file, whatever other packages allow; mmengine allows `getattr`."""
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(_allowed_globals())
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


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


def _load_safetensors(path: Path, map_location: Any, name: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    device = str(map_location) if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        return load_file(path, device=device)
    except (SafetensorError, *_DAMAGES) as error:
        raise ValueError(_damaged(path, name, error)) from error


def _check_hash(path: Path, name: str) -> None:
    """Compares an exported backbone with the SHA-256 in its description."""
    stated = (read_card(path) or {}).get('sha256')
    if stated is not None and sha256_of(path) != stated:
        raise ValueError(
            f'Checkpoint {name} is not the file that {path.with_suffix(".json")} describes: its SHA-256 differs. Copy '
            'or export both again.'
        )


def _refusal(file: Path | BytesIO, name: str, reason: str) -> str:
    found = re.search(r"(?:GLOBAL |class ')([\w.]+)", reason)
    if found is None:
        detail = re.search(r'WeightsUnpickler error: (.*)', reason)
        return _damaged(file, name, detail.group(1) if detail else reason)
    if found.group(1).endswith('.ShardedTensor'):
        return (
            f'Checkpoint {name} is refused: it holds the part of one process (FSDP), not whole tensors. Take the file '
            'that the same training wrote whole, such as eval/training_*/teacher_checkpoint.pth of DINOv2.'
        )
    return (
        f'Checkpoint {name} is refused: it imports {found.group(1)}, which weights do not need and which could run any '
        'code. If you trust the origin of the file, open it once with the code that wrote it, in an environment of its '
        "own, and save the tensors alone: torch.save({'state_dict': network.state_dict()}, 'converted.pth')."
    )


def _damaged(file: Path | BytesIO, name: str, error: Exception | str) -> str:
    return (
        f'Checkpoint {name} ({num_bytes(file)} bytes) cannot be read; it is truncated, damaged or no checkpoint: '
        f'{str(error).strip()}. Copy or download it again.'
    )
