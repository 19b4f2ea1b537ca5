"""Weights that are drawn later, one tensor at a time: a network larger than the memory of a process can be built."""

import functools
from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_TRUNCATED_NORMAL = nn.init._no_grad_trunc_normal_


class DeferredWeights(TorchDispatchMode):
    """Within this, networks are built without memory, on the meta device, and what would be computed is noted.

        with DeferredWeights() as deferred:
            network = Network()
        weights = deferred.value_of(network.layer.weight)

    :meth:`value_of` computes what is noted for one tensor. Random numbers are a function of the seed and of how many
    random operations came before, so they are the same in each process and in any order of calls; they differ from
    those of a network that is built at once.

    Args:
        seed: Of the random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self._device = torch.device('meta')
        self._notes: dict[int, list[_Note]] = defaultdict(list)  # by the memory that is written
        self._num_notes = self._num_random = 0

    def __enter__(self) -> 'DeferredWeights':
        """Note from here on."""
        # It compares what it drew, and leaves tensors without memory as they are.
        nn.init._no_grad_trunc_normal_ = self._note_truncated_normal
        self._device.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """Note no more."""
        super().__exit__(*error)
        self._device.__exit__(*error)
        nn.init._no_grad_trunc_normal_ = _TRUNCATED_NORMAL

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Do and note it."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        self._note(function, args, kwargs, result)
        return result

    def _note_truncated_normal(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._note(_TRUNCATED_NORMAL, (tensor, *args), kwargs, tensor, changes=True)
        return tensor

    def _note(self, function: Any, args: tuple, kwargs: dict, result: Any, changes: bool = False) -> None:
        before = {_memory(tensor) for tensor in tree_leaves((args, kwargs)) if _is_meta(tensor)}
        changes = changes or function._schema.is_mutable
        self._num_random += function is _TRUNCATED_NORMAL or torch.Tag.nondeterministic_seeded in function.tags
        self._num_notes += 1
        note = _Note(self._num_notes, function, args, kwargs, result, self._num_random)
        for memory in {_memory(tensor) for tensor in tree_leaves(result) if _is_meta(tensor)}:
            if changes or memory not in before:  # else it is a view
                self._notes[memory].append(note)

    @torch.no_grad()
    def value_of(self, tensor: Tensor) -> Tensor:
        """What the tensor would hold, on the CPU.

        Raises:
            ValueError: If it was not made within this context.
        """
        with torch.random.fork_rng(devices=[]):
            return self._value(tensor, len(self._notes[_memory(tensor)])).clone()

    def _value(self, tensor: Tensor, number: int) -> Tensor:
        """The tensor after so many of the operations that wrote its memory."""
        notes = self._notes[_memory(tensor)][:number]
        if not notes:
            raise ValueError('DeferredWeights: this tensor was not made within the context.')
        memory = torch.empty(tensor.untyped_storage().nbytes() // tensor.element_size(), dtype=tensor.dtype)
        for note in notes:
            given = functools.partial(self._given, tensor=tensor, memory=memory, order=note.order)
            args, kwargs = tree_map(given, (note.args, note.kwargs))
            torch.manual_seed(hash((self.seed, note.random)) % 2**63)
            found = tree_leaves(note.function(*args, **kwargs))
            for written, value in zip(tree_leaves(note.result), found, strict=True):
                if _is_meta(written) and _memory(written) == _memory(tensor):
                    _place(written, memory).copy_(value.clone())
        return _place(tensor, memory)

    def _given(self, value: Any, tensor: Tensor, memory: Tensor, order: int) -> Any:
        """An argument as it was: this memory, another one at that time, or a plain value."""
        if isinstance(value, torch.device):
            return torch.device('cpu')
        if not _is_meta(value):
            return value
        if _memory(value) == _memory(tensor):
            return _place(value, memory)
        return self._value(value, sum(other.order <= order for other in self._notes[_memory(value)]))


class _Note(NamedTuple):
    order: int
    function: Any
    args: tuple
    kwargs: dict
    result: Any
    random: int


def _is_meta(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _place(tensor: Tensor, memory: Tensor) -> Tensor:
    """The tensor as a view of real memory."""
    return memory.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
