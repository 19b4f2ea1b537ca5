"""What every module is given and gives, in the order of execution; gradients in the order of the backward pass."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


class Passed(NamedTuple):
    """One call of a module, or the gradient that reached its output.

    Attributes:
        name: Of the module in the model.
        kind: Its class.
        largest_in: Largest magnitude of what it was given; NaN or infinity if one value is.
        largest_out: Of what it gave.
    """

    name: str
    kind: str
    largest_in: float
    largest_out: float

    @property
    def broke(self) -> bool:
        """Whether it was given finite numbers and gave others."""
        return is_finite(self.largest_in) and not is_finite(self.largest_out)


class ModuleWatch:
    """While this context lasts, ``forward`` and ``backward`` grow.

    A module is noted when it ends, so after the modules inside it. What functions between modules did is seen at the
    module around them.

    Args:
        model: Whose modules, all of them, are watched.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.forward: list[Passed] = []
        self.backward: list[Passed] = []
        self._handles: list[Any] = []

    def __enter__(self) -> 'ModuleWatch':
        for name, module in self.model.named_modules():
            if name:
                hook = self._listener(name, type(module).__name__)
                self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def first_broken(self) -> int | None:
        """Place in ``forward`` of the first call that was given, or gave, something not finite."""
        found = (
            place for place, passed in enumerate(self.forward) if not is_finite(passed.largest_in + passed.largest_out)
        )
        return next(found, None)

    @property
    def first_broken_gradient(self) -> tuple[Passed | None, Passed] | None:
        """The last finite gradient before the first other one, and that one, from the loss on."""
        for number, passed in enumerate(self.backward):
            if not is_finite(passed.largest_out):
                return (self.backward[number - 1] if number else None), passed
        return None

    def _listener(self, name: str, kind: str) -> Any:
        def listen(module: nn.Module, inputs: tuple, keywords: dict, output: Any) -> None:
            self.forward.append(Passed(name, kind, largest((inputs, keywords)), largest(output)))
            for tensor in _tensors(output):
                if tensor.requires_grad:
                    tensor.register_hook(lambda grad: self._note_gradient(name, kind, grad))

        return listen

    def _note_gradient(self, name: str, kind: str, gradient: Tensor) -> None:
        self.backward.append(Passed(name, kind, 0.0, largest(gradient)))


def largest(values: Any) -> float:
    """Largest magnitude in all tensors of real numbers in it; NaN or infinity if one value is; 0 without tensors."""
    found = 0.0
    for tensor in _tensors(values):
        if tensor.numel():
            magnitude = float(tensor.detach().abs().amax())  # NaN wins
            found = magnitude if magnitude != magnitude or magnitude > found else found
        if found != found:
            break
    return found


def is_finite(magnitude: float) -> bool:
    """False for NaN and infinity."""
    return magnitude < float('inf')


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and torch.is_floating_point(leaf))
