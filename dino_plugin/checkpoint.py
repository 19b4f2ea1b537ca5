"""Checkpoint files: read them without running code from them, find the backbone inside, load it strictly."""

import argparse
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor, nn

_SHOWN_KEYS = 5


class LoadReport(NamedTuple):
    """What `load_backbone` did; the keys are timm's."""

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    resampled: list[str]

    def __str__(self) -> str:
        text = f'{len(self.loaded)} loaded, {len(self.missing)} missing, {len(self.unexpected)} unexpected keys'
        return text + (f', {len(self.resampled)} position embedding(s) resampled' if self.resampled else '')


def load_checkpoint(path: str | Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Reads a `.safetensors` file, or a PyTorch file by the restricted unpickler only.

    Besides tensors and plain Python values, a PyTorch file may hold what mmengine's training checkpoints and DINO's
    released ones hold: numpy arrays and scalars, `HistoryBuffer`, `ConfigDict` and `argparse.Namespace`.
    Nothing else is ever imported or called, so that a file from a stranger cannot run code.

    Args:
        path: The file; `~` is expanded.
        map_location: As in `torch.load`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file needs other Python objects, is damaged, or does not hold a dictionary.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'Checkpoint {path} does not exist or is not a file.')
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


def use_safe_loading() -> None:
    """Makes mmengine read local checkpoints (`--resume`, `load_from`, `init_cfg`) by `load_checkpoint`.

    Some releases of mmengine fall back to the unrestricted unpickler, others cannot read their own training checkpoints
    with torch >= 2.6. Files from the network (`https://`, `s3://`) keep mmengine's own loaders.
    """
    from mmengine.runner import CheckpointLoader

    def load_from_local_file(filename: str, map_location: Any = None) -> dict[str, Any]:
        checkpoint = load_checkpoint(filename, map_location)
        if isinstance(checkpoint.get('meta'), dict):
            # mmengine's resume runs this text as a Python config. It writes another key itself ('cfg'), and only
            # compares numbers of GPUs with what it finds.
            checkpoint['meta'].pop('config', None)
        return checkpoint

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local_file, force=True)


def backbone_state(checkpoint: Mapping[str, Any], source: str = 'teacher') -> dict[str, Tensor]:
    """The backbone's tensors under timm's names.

    Understands training checkpoints of this package, full checkpoints of the original DINO and iBOT code
    (`teacher` / `student`), and plain backbone files: exported ones, DINO's released backbones, and files whose names
    all share a `module.` or `backbone.` prefix. Heads are left out.

    Args:
        checkpoint: From `load_checkpoint`.
        source: `teacher` or `student`; a plain backbone file has only one network, which is returned for either.

    Raises:
        ValueError: If `source` is neither, or no backbone is found; the message lists the first keys.
    """
    if source not in ('teacher', 'student'):
        raise ValueError(f"source must be 'teacher' or 'student', got {source!r}.")
    state = checkpoint.get('state_dict', checkpoint)
    if isinstance(state, Mapping) and any(key.startswith('distillation.') for key in state):
        prefix = f'distillation.{source}.backbone.model.'
        found = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    else:
        if isinstance(checkpoint.get(source), Mapping):
            state = checkpoint[source]
        found = _without_prefix(_without_prefix(_tensors(state), 'module.'), 'backbone.')
    if not found:
        keys = list(checkpoint) if state is checkpoint else [*checkpoint, *state]
        raise ValueError(
            f'No {source} backbone found. Expected a training checkpoint of dino_plugin, a checkpoint of the original '
            f'DINO code with a {source!r} entry, or a plain file of tensors. First keys: {keys[:_SHOWN_KEYS]}.'
        )
    return found


def backbone_description(path: str | Path) -> dict[str, Any] | None:
    """`dict(model_name=..., timm_arguments={...})` of the backbone in a file, or None if the file does not tell.

    A training checkpoint has it in `meta`, an exported backbone in the `.json` beside it.
    """
    path = Path(path).expanduser()
    sidecar = path.with_suffix('.json')
    if path.suffix == '.safetensors':
        description = json.loads(sidecar.read_text()) if sidecar.is_file() else {}
    else:
        meta = load_checkpoint(path).get('meta')
        description = meta.get('backbone') or {} if isinstance(meta, Mapping) else {}
    if 'model_name' not in description:
        return None
    return {'model_name': description['model_name'], 'timm_arguments': dict(description.get('timm_arguments', {}))}


def load_backbone(
    model: nn.Module, state: Mapping[str, Tensor], allow_mismatch: bool = False, name: str = 'the checkpoint'
) -> LoadReport:
    """Loads tensors under timm's names into a timm model, strictly, and logs how many keys matched.

    A `pos_embed` of another (square) grid is resampled with timm's bicubic, antialiased interpolation. Any other
    difference in shape is refused, with `allow_mismatch` too.

    Args:
        model: A timm model; changed in place, and only if the load is not refused.
        state: From `backbone_state`.
        allow_mismatch: Load although keys are missing or left over (but not if no key at all matches).
        name: What messages call the source of `state`; best the path of the file.

    Raises:
        ValueError: If the keys or shapes differ; the message lists the first keys of both sides with their shapes.
    """
    from mmengine.logging import print_log

    own = model.state_dict()
    state, resampled = _fit_position_embedding(model, own, state)
    report = LoadReport(
        loaded=[key for key in state if key in own],
        missing=[key for key in own if key not in state and not key.endswith('num_batches_tracked')],
        unexpected=[key for key in state if key not in own],
        resampled=resampled,
    )
    reshaped = [key for key in report.loaded if own[key].shape != state[key].shape]
    if reshaped or not report.loaded or ((report.missing or report.unexpected) and not allow_mismatch):
        raise ValueError(_mismatch(name, report, reshaped, own, state))
    model.load_state_dict(state, strict=False)
    print_log(f'Backbone from {name}: {report}.', logger='current')
    return report


def _allowed_globals() -> list[Any]:
    """What a training checkpoint may name besides PyTorch's own list; none of it runs code chosen by the file."""
    from mmengine.config import ConfigDict
    from mmengine.logging import HistoryBuffer

    def method_of_history(owner: Any, name: str) -> Any:
        # HistoryBuffer pickles its methods as getattr(HistoryBuffer, 'mean'); a free getattr would reach `__globals__`.
        if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
            raise UnpicklingError(f'GLOBAL getattr({owner!r}, {name!r})')
        return getattr(owner, name)

    core = numpy._core if hasattr(numpy, '_core') else numpy.core
    array_makers = [core.multiarray._reconstruct, core.multiarray.scalar]
    # numpy 2 renamed numpy.core to numpy._core; a file may have been written by either.
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
        f'Checkpoint {path} is refused: it wants to import {found.group(1)}, which is not needed to hold weights and '
        'could run any code. If you trust where the file is from, convert it once: '
        f"`checkpoint = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
        "torch.save({'state_dict': checkpoint['state_dict']}, 'converted.pth')`; keep the entry that holds the weights."
    )


def _damaged(path: Path, error: Exception | str) -> str:
    return (
        f'Checkpoint {path} ({path.stat().st_size} bytes) cannot be read; it is truncated, damaged or no checkpoint: '
        f'{str(error).strip()}. Copy or download it again.'
    )


def _tensors(state: Any) -> dict[str, Tensor]:
    items = state.items() if isinstance(state, Mapping) else ()
    return {key: value for key, value in items if isinstance(value, Tensor)}


def _without_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under `prefix`, without it; all entries when none is under it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)} or state


def _fit_position_embedding(
    model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Resamples `pos_embed` to the model's grid if its number of positions is the only difference."""
    state = dict(state)
    old, new = state.get('pos_embed'), own.get('pos_embed')
    grid = getattr(getattr(model, 'patch_embed', None), 'grid_size', None)
    if old is None or new is None or grid is None or old.ndim != 3 or new.ndim != 3:
        return state, []
    num_prefix = new.shape[1] - grid[0] * grid[1]
    side = math.isqrt(max(old.shape[1] - num_prefix, 0))
    if old.shape == new.shape or old.shape[2] != new.shape[2] or side * side != old.shape[1] - num_prefix or side == 0:
        return state, []
    from timm.layers import resample_abs_pos_embed

    state['pos_embed'] = resample_abs_pos_embed(old, list(grid), num_prefix_tokens=num_prefix)
    return state, ['pos_embed']


def _mismatch(
    name: str, report: LoadReport, reshaped: list[str], own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> str:
    def shapes(keys: list[str], of: Mapping[str, Tensor]) -> str:
        shown = ', '.join(f'{key} {tuple(of[key].shape)}' for key in keys[:_SHOWN_KEYS])
        return shown + (f' and {len(keys) - _SHOWN_KEYS} more' if len(keys) > _SHOWN_KEYS else '')

    lines = [f'The backbone in {name} does not fit the model: {report}.']
    if report.missing:
        lines.append(f'The model also has: {shapes(report.missing, own)}.')
    if report.unexpected:
        lines.append(f'The checkpoint also has: {shapes(report.unexpected, state)}.')
    for key in reshaped[:_SHOWN_KEYS]:
        lines.append(f'{key} is {tuple(state[key].shape)} in the checkpoint and {tuple(own[key].shape)} in the model.')
    lines.append('Build the model with the name and arguments the checkpoint was trained with')
    lines[-1] += '.' if reshaped or not report.loaded else ', or set allow_mismatch=True.'
    return '\n'.join(lines)
