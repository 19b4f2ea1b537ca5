"""The networks in a checkpoint that holds several, such as student and teacher, and choosing one by name."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dino_plugin.weights.adapters import merged
from dino_plugin.weights.key_tables.key_names import under
from dino_plugin.weights.key_tables.layouts import WITH_MARKERS

_SOURCES = ('teacher', 'student')
# Words in the path of a network: the moving average, what is trained, other parts. `anchor` is Lightly's MSN.
_WORDS = {
    'other': {'criterion', 'decoder', 'head', 'heads', 'loss', 'neck'},
    'teacher': {'teacher', 'teachers', 'momentum', 'ema', 'average', 'averaged', 'avg', 'swa', 'target', 'key', 'k'},
    'student': {'student', 'students', 'query', 'q', 'online', 'anchor'},
}
# Networks that only give targets: DINOv3's Gram anchoring, tokenizers of masked image modelling.
_HELPERS = {'gram', 'generator', 'tokenizer'}
# Lightning's WeightAveraging moves the average to `state_dict`, and the trained network here.
_TRAINED_ENTRY = 'current_model_state'
# Our own trainings.
_OURS = re.compile(r'(?P<root>(?:.+\.)?distillation\.(?:teacher|student)\.backbone\.model\.).+')
# Added inside names by torch.compile, activation checkpointing and FSDP.
_WRAPPERS = re.compile(r'(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.')
# Before the names of a network that is not recognised by its first layer.
_PREFIXES = (
    'state_dict.',
    'model.',
    'module.',
    'backbone.',
    'vit.',
    'dinov2.',
    'dinov2_with_registers.',
    'dinov3_vit.',
)


class Network(NamedTuple):
    """One network of a file: where it is, whose it is by its path (None if the path does not say), its tensors."""

    path: str
    role: str | None
    tensors: dict[str, Tensor]

    def __str__(self) -> str:
        return f'{self.path!r}' + (f' ({self.role})' if self.role else '')


def networks(checkpoint: Mapping[str, Any]) -> list[Network]:
    """All networks of a checkpoint, in its order.

    A network begins where the name of a first layer stands: of a timm model, or of one of the `layouts`. If there is
    none, it begins after the words for teacher and student, and usual prefixes such as `module.`. Low-rank adapters are
    merged into the weights.

    Raises:
        ValueError: If adapters are not complete, see `merged`.
    """
    state = _flat(checkpoint)
    first_layer = _first_layer()
    found = [match for key in state if (match := _OURS.fullmatch(key) or first_layer.fullmatch(key))]
    roots = _separate(dict.fromkeys(match['root'] for match in found)) or dict.fromkeys(map(_named_part, state))
    parts: dict[str, dict[str, Tensor]] = {root: {} for root in roots}
    for key, value in state.items():
        if inside := [root for root in roots if key.startswith(root)]:
            root = max(inside, key=len)
            parts[root][key[len(root) :]] = value
    by_mmengine = 'message_hub' in checkpoint or 'ema_state_dict.steps' in state
    return [
        Network(root.rstrip('.'), _role(root, by_mmengine), merged(tensors if found else _without_prefixes(tensors)))
        for root, tensors in parts.items()
        if tensors
    ]


def chosen(found: list[Network], source: str) -> Network | None:
    """The network that is meant by `teacher`, `student` or a part of its path, such as `encoder_k`; None: not there.

    Next to a network with the name of the one, a network without a name is the other; if all are without names, it is
    both.

    Raises:
        ValueError: If the names do not tell which of several networks with different weights it is.
    """
    if source in _SOURCES:
        of_source = [network for network in found if network.role == source]
        meant = of_source or [network for network in found if network.role is None]
    else:
        exact = [network for network in found if network.path == source]
        meant = exact or [network for network in found if f'.{source}.' in f'.{network.path}.']
    if not meant:
        return None
    if not all(_equal(network.tensors, meant[0].tensors) for network in meant[1:]):
        raise ValueError(
            f'Several networks of the checkpoint could be the {source!r} and their weights differ: '
            f'{", ".join(map(str, meant))}. {how_to_choose(found)}'
        )
    return meant[0]


def how_to_choose(found: Iterable[Network]) -> str:
    """What the file holds, and the options that choose."""
    listed = ', '.join(map(str, found))
    return (
        f'The file holds: {listed}. Name one, in full or the part of its path that is its own: '
        "checkpoint_source='encoder_k' (--source encoder_k in an export)."
    )


def _flat(content: Mapping[Any, Any], path: str = '') -> dict[str, Tensor]:
    """All tensors of nested dictionaries, with their keys joined by dots."""
    flat: dict[str, Tensor] = {}
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping):
            flat |= _flat(value, f'{path}{key}.')
        elif isinstance(key, str) and isinstance(value, Tensor):
            flat[path + _WRAPPERS.sub('', key)] = value
    return flat


@cache
def _first_layer() -> re.Pattern:
    """The key of a tensor by which a network is recognised; `root` is what stands before it."""
    import timm

    layers = [getattr(timm.get_pretrained_cfg(name), 'first_conv', None) for name in timm.list_models()]
    # In other files `encoder` is the name of a network, not, as in some of timm, of its part.
    names = {layer for layer in layers if isinstance(layer, str) and not layer.startswith('encoder.')}
    timms = {re.escape(f'{name}.weight') for name in names}
    others = {re.escape(name) + r'(?:\..+)?' for layout in WITH_MARKERS for name in layout.markers}
    return re.compile(rf'(?P<root>(?:[^.]+\.)*?)(?:{"|".join(sorted(timms | others))})')


def _separate(roots: Iterable[str]) -> list[str]:
    """Without roots inside another network, such as those of a hybrid's convolutions, unless they have a role."""
    roots = sorted(roots, key=len)
    kept: list[str] = []
    for root in roots:
        outer = max((other for other in kept if root.startswith(other)), key=len, default=None)
        if outer is None or _role(root[len(outer) :]):
            kept.append(root)
    return kept


def _named_part(key: str) -> str:
    """The beginning of a key that says whose it is; digits begin the network's own layers."""
    segments = re.split(r'\.\d+\.', key)[0].split('.')[:-1]
    named = [index for index, segment in enumerate(segments) if _role(segment) in _SOURCES]
    return ''.join(f'{segment}.' for segment in segments[: named[-1] + 1]) if named else ''


def _role(path: str, by_mmengine: bool = False) -> str | None:
    """`teacher`, `student`, `other` or None, by the last segment of a path that tells."""
    segments = [segment for segment in path.split('.') if segment]
    words = [{word.lower() for word in re.findall('[A-Z]+(?![a-z])|[A-Z]?[a-z]+', segment)} for segment in segments]
    if any(_HELPERS & of_segment for of_segment in words):
        return 'other'
    for segment, of_segment in zip(reversed(segments), reversed(words)):
        # mmengine's EMAHook saves the average as `state_dict`, and the trained network as `ema_state_dict`.
        if segment == _TRAINED_ENTRY or (by_mmengine and segment == 'ema_state_dict'):
            return 'student'
        for role, names in _WORDS.items():
            if names & of_segment:
                return role
    return None


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((prefix for prefix in _PREFIXES if any(key.startswith(prefix) for key in state)), None):
        state = under(prefix, state)
    return state


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
