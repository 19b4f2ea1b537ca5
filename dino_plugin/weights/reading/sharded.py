"""Reading PyTorch's distributed checkpoints, folders with `.metadata` and `*.distcp`, without running their code."""

import io
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_load = torch.load  # as it is outside of mmengine's loaders
_METADATA = '.metadata'
REST = 'training.pth'  # in folders that our trainings write: what is no tensor of model or optimiser


def is_sharded(folder: Path) -> bool:
    """Whether a path is the folder of a distributed checkpoint."""
    return (folder / _METADATA).is_file()


def load_sharded(folder: Path, optimizers: bool = False) -> dict[str, Tensor]:
    """The tensors of a distributed checkpoint, whole, under their full names.

    The folder says in a pickle where the pieces are. PyTorch's own reader unpickles it freely; here no class of it is
    imported. The pieces are read with the restricted unpickler.

    Args:
        folder: With `.metadata`.
        optimizers: With the tensors of optimisers.

    Raises:
        ValueError: If a piece is missing, damaged, compressed, or does not fit the others.
    """
    try:
        description = _Description(io.BytesIO((folder / _METADATA).read_bytes())).load()
        places = {
            (key.fqn, _numbers(getattr(key, 'offset', ()))): place for key, place in description.storage_data.items()
        }
        sizes = {
            name: _numbers(tensor.size)
            for name, tensor in description.state_dict_metadata.items()
            if hasattr(tensor, 'chunks') and (optimizers or not name.startswith('optim'))
        }
        pieces: dict[str, dict[tuple[int, ...], Tensor]] = {name: {} for name in sizes}
        with _no_imports():
            for (name, offset), place in places.items():
                if name in pieces:
                    pieces[name][offset] = _piece(folder, place)
        return {name: _joined(name, size, pieces[name]) for name, size in sizes.items()}
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f'The distributed checkpoint {folder} cannot be read ({type(error).__name__}: {error}). Copy all its files '
            'again. If you trust its origin (this unpickles it freely), PyTorch itself makes a file of it: '
            f'python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} checkpoint.pth'
        ) from error


class _Record:
    """Stands for any object in the description: only its attributes, nothing that runs."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, Mapping) else {})


class _Description(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Sizes are tuples; whatever else the file names is not imported."""
        return tuple if (module, name) == ('torch', 'Size') else _Record


@contextmanager
def _no_imports() -> Iterator[None]:
    """Tensors need no classes, but other packages allow some; mmengine allows `getattr`."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(allowed)


def _piece(folder: Path, place: Any) -> Tensor:
    path = folder / str(place.relative_path)
    if path.parent != folder or not path.is_file():
        raise ValueError(f'{place.relative_path} is no file in the folder')
    if getattr(place, 'transform_descriptors', None):
        raise ValueError('its pieces went through transformations')
    if not 0 <= place.offset <= place.offset + place.length <= path.stat().st_size:
        raise ValueError(f'{path.name} is truncated')
    with path.open('rb') as file:
        file.seek(place.offset)
        content = io.BytesIO(file.read(place.length))
    if any(record.compress_type != zipfile.ZIP_STORED for record in zipfile.ZipFile(content).infolist()):
        raise ValueError(f'a piece of {path.name} is compressed, which PyTorch never does')
    content.seek(0)
    try:
        piece = _load(content, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:
        piece = None
    if not isinstance(piece, Tensor) or piece.nbytes > place.length:
        raise ValueError(f'a piece of {path.name} is no tensor, or larger than its bytes')
    return piece


def _joined(name: str, size: tuple[int, ...], pieces: Mapping[tuple[int, ...], Tensor]) -> Tensor:
    """The whole tensor, of pieces by their first index."""
    if sum(piece.numel() for piece in pieces.values()) != math.prod(size):
        raise ValueError(f'the pieces of {name} are not the whole tensor')
    whole = torch.zeros(size, dtype=next(iter(pieces.values())).dtype)
    for offset, piece in pieces.items():
        place = tuple(slice(start, start + length) for start, length in zip(offset, piece.shape, strict=True))
        if whole[place].shape != piece.shape:
            raise ValueError(f'a piece of {name} reaches beyond it')
        whole[place] = piece
    return whole


def _numbers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values or ())
