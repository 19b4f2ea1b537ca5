"""Checkpoints as folders, of which each process writes and reads its own part.

A folder holds the files of ``torch.distributed.checkpoint``, with the tensors ``model.<name>`` and
``optim.<number of the parameter>.<name>``, and `REST`: what a checkpoint of mmengine has besides.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import load
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from dino_plugin.core.reduce import num_ranks
from dino_plugin.engine.distributed.safe_reader import SafeReader
from dino_plugin.weights.reading.sharded import REST
from dino_plugin.weights.safe_loading import load_checkpoint


def split(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint of mmengine by their names in the folder, and the rest of it."""
    optimizer = dict(checkpoint.get('optimizer', {}))
    state = optimizer.get('state', {})
    tensors = {f'model.{name}': value for name, value in checkpoint['state_dict'].items()}
    tensors |= {
        f'optim.{number}.{key}': value
        for number, values in state.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }
    rest = {key: value for key, value in checkpoint.items() if key not in ('state_dict', 'optimizer')}
    if 'optimizer' in checkpoint:
        plain = {
            number: {key: value for key, value in values.items() if not isinstance(value, Tensor)}
            for number, values in state.items()
        }
        rest['optimizer'] = optimizer | {'state': plain}
    return tensors, rest


def joined(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint of mmengine that was `split`."""
    checkpoint: dict[str, Any] = {**rest, 'state_dict': {}}
    state = {number: dict(values) for number, values in rest.get('optimizer', {}).get('state', {}).items()}
    for name, value in tensors.items():
        kind, _, name = name.partition('.')
        if kind == 'model':
            checkpoint['state_dict'][name] = value
        else:
            number, _, key = name.partition('.')
            state.setdefault(int(number), {})[key] = value
    if 'optimizer' in rest:
        checkpoint['optimizer'] = rest['optimizer'] | {'state': state}
    return checkpoint


def read_folder(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """The checkpoint, of which this process reads its part, whatever the number of processes that wrote it.

    Args:
        folder: Written by `ShardedRunner`.
        model: Its parameters are the place of the weights, so that there is no second copy of them.
        optimizer: Of this training, for the optimiser's state. None: it is left out.

    Raises:
        ValueError: If the folder is not of this package, or is damaged.
    """
    reader = SafeReader(folder)
    found = reader.read_metadata().state_dict_metadata
    stored = {name: entry for name, entry in found.items() if isinstance(entry, TensorStorageMetadata)}
    places = {f'model.{name}': value for name, value in model.state_dict().items()}
    places = {name: value for name, value in places.items() if name in stored and stored[name].size == value.shape}
    for number, parameter in enumerate(_parameters(optimizer)):
        for name in [name for name in stored if name.startswith(f'optim.{number}.')]:
            places[name] = _room(stored[name], parameter)
    load(places, storage_reader=reader, no_dist=num_ranks() == 1)
    return joined(places, load_checkpoint(folder / REST))


def in_parts(checkpoint: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """A whole checkpoint, cut like the model that it is for.

    Args:
        checkpoint: The same in each process.
        model: Sharded.
        optimizer: Of the same training, or None.
    """
    own, parameters = model.state_dict(), _parameters(optimizer)
    given = checkpoint.get('state_dict', checkpoint)
    state_dict = {name: _cut(value, own.get(name)) for name, value in given.items()}
    if 'optimizer' not in checkpoint:
        return {**checkpoint, 'state_dict': state_dict}
    state = {
        number: {key: _cut(value, parameters[number]) for key, value in values.items()}
        for number, values in checkpoint['optimizer']['state'].items()
        if number < len(parameters)
    }
    return {**checkpoint, 'state_dict': state_dict, 'optimizer': {**checkpoint['optimizer'], 'state': state}}


def _parameters(optimizer: torch.optim.Optimizer | None) -> list[Tensor]:
    groups = [] if optimizer is None else optimizer.param_groups
    return [parameter for group in groups for parameter in group['params']]


def _room(stored: TensorStorageMetadata, parameter: Tensor) -> Tensor:
    """Memory for an entry of the optimiser's state: cut like the parameter, or a whole number such as the step."""
    dtype = stored.properties.dtype
    same = stored.size == parameter.shape
    return (
        torch.zeros_like(parameter, dtype=dtype, requires_grad=False) if same else torch.zeros(stored.size, dtype=dtype)
    )


def _cut(value: Any, like: Tensor | None) -> Any:
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
