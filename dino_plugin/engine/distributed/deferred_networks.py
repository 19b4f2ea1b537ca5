"""Networks that were built without weights get them when each process holds a part."""

from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class DeferredNetworks:
    """The networks of a model built with ``defer_weights``.

    Student and teacher start alike, and so does an anchor, so all weights are those of the student.

    Args:
        model: A `SelfDistillationModel`, before its networks are cut.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.planned = _tensors(model.distillation.student)

    def draw(self, device: str) -> None:
        """Draw the weights, one tensor at a time; each process keeps its parts of it."""
        distillation = self.model.distillation
        for network in (distillation.student, distillation.teacher):
            self._fill(network, device, '')
        for loss in distillation.losses.values():
            for part in loss.children():
                if any(tensor.is_meta for tensor in part.parameters()):
                    self._fill(part, device, 'backbone.')  # an anchor is a copy of the teacher's
        self.model.deferred, self.planned = None, {}
        self.model.to(device)

    def _fill(self, part: nn.Module, device: str, prefix: str) -> None:
        part.to_empty(device=device)
        for name, tensor in _tensors(part).items():
            whole = self.model.deferred.value_of(self.planned[prefix + name]).to(device)
            if isinstance(tensor, DTensor):
                whole = distribute_tensor(whole, tensor.device_mesh, tensor.placements).to_local()
                tensor = tensor.to_local()
            tensor.data.copy_(whole)


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return dict((*network.named_parameters(), *network.named_buffers()))
