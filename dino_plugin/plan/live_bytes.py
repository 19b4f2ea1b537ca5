"""How many bytes of tensors live at once while code runs, on real tensors or on shapes alone."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, each storage once, until nothing holds it any more.

    A value that the host would read from a tensor without numbers is 1, so that code which asks "is it finite?" goes
    on.

    Args:
        known: Tensors that were there before; they are not counted.
        weights: Of the network. Copies of them in another type, as autocast makes them, are counted apart.

    Attributes:
        now: Bytes that live, without `copies`.
        peak: Most of them at any time.
        copies: Most bytes of copies of weights at any time.
    """

    def __init__(self, known: Iterable[Tensor], weights: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = self.copies = self._copies_now = 0
        self._known = {tensor.untyped_storage()._cdata: (0, False) for tensor in known}
        self._weights = {weight.untyped_storage()._cdata for weight in weights}

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run an operation and count its results."""
        if operation is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return args[0].dtype == torch.bool or 1
        results = operation(*args, **(kwargs or {}))
        copied = operation is torch.ops.aten._to_copy.default
        is_copy = copied and args[0].untyped_storage()._cdata in self._weights
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._count(result, is_copy)
        return results

    def forget(self, tensor: Tensor) -> None:
        """Count a tensor no longer, though it lives on."""
        key = tensor.untyped_storage()._cdata
        self._gone(key)
        self._known[key] = (0, False)

    def _count(self, tensor: Tensor, is_copy: bool) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known[key] = (size, is_copy)
        weakref.finalize(storage, self._gone, key)
        if is_copy:
            self._copies_now += size
            self.copies = max(self.copies, self._copies_now)
        else:
            self.now += size
            self.peak = max(self.peak, self.now)

    def _gone(self, key: int) -> None:
        size, is_copy = self._known.pop(key, (0, False))
        if is_copy:
            self._copies_now -= size
        else:
            self.now -= size
