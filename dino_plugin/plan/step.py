"""One training step of a model in shapes: parameters, bytes and operations."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from dino_plugin.core.losses import soft_targets
from dino_plugin.core.views import ViewBatch
from dino_plugin.engine.precision import PRECISIONS
from dino_plugin.engine.training.model import SelfDistillationModel
from dino_plugin.plan.live_bytes import LiveBytes
from dino_plugin.plan.operations import Operations
from dino_plugin.weights import positions


class Step(NamedTuple):
    """What one step of one process takes; bytes, unless it says otherwise.

    Attributes:
        parameters: Numbers in the backbone, as it is exported.
        student: Weights that may learn, with the heads.
        teacher: Its weights.
        others: Anchors, frozen teachers, and all buffers.
        gradients: Of the weights that learn.
        optimizer: Its state, such as Adam's two moments.
        copies: Copies of weights in half precision.
        activations: What lives at once besides: kept for the backward pass, and the largest results on the way.
        operations: Floating-point operations; a multiplication and an addition are two. Recomputed ones count again.
        gathered: Of the student under sharding: what each GPU gathers in half precision to compute one block, while it
            fetches the next.
    """

    parameters: int
    student: int
    teacher: int
    others: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    operations: int
    gathered: int


def measured_step(model: SelfDistillationModel, optim_wrapper: dict[str, Any], views: ViewBatch) -> Step:
    """Forward, backward, optimiser and teacher, on tensors without numbers.

    It runs as on a GPU, as far as a CPU's operations tell: attention is fused, a loss takes all samples at once.

    Args:
        model: On the meta device; it stays there.
        optim_wrapper: Its config. The precision 'auto' is bf16.
        views: Of the whole batch; their numbers mean nothing.

    Raises:
        ValueError: If the size of a result depends on numbers, as in some losses of other packages.
    """
    wrapper_config = copy.deepcopy(optim_wrapper)
    if wrapper_config.get('precision', 'auto') == 'auto':
        wrapper_config['precision'] = 'bf16'
    fake = copy.deepcopy(model)
    with FakeTensorMode(allow_non_fake_inputs=True), as_on_a_gpu(fake):
        fake.distillation.to_empty(device='cpu')
        views = views._replace(**{name: torch.empty_like(block) for name, block in _blocks(views)})
        wrapper = build_optim_wrapper(fake, wrapper_config)
        try:
            return run_step(fake, wrapper, views)
        except DynamicOutputShapeException as error:
            raise ValueError(
                f'{error.func} gives a result whose size depends on the numbers in it, so this recipe has no plan: '
                'measure it, dino-plugin train CONFIG --smoke and then a few steps on the GPU.'
            ) from error


def run_step(model: SelfDistillationModel, wrapper: Any, views: ViewBatch) -> Step:
    """The step of a model whose tensors have numbers or not; the wrapper is that of its optimiser."""
    student, teacher = model.distillation.student, model.distillation.teacher
    dtype = PRECISIONS[wrapper.precision]
    every = [*model.parameters(), *model.buffers()]
    live = LiveBytes([*every, *(block for _, block in _blocks(views))], model.parameters())
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in learning:
        weight.register_post_accumulate_grad_hook(lambda weight: live.forget(weight.grad))
    model.progress = 0.5
    half = nullcontext() if dtype is None else torch.autocast('cpu', dtype=dtype)
    with Operations() as operations, live:
        with half:
            loss = torch.stack([loss.float() for loss in model(views, 'loss').values()]).sum()
        loss.backward()
    del loss
    gradients = size_of(weight.grad for weight in learning if weight.grad is not None)
    wrapper.optimizer.step()
    state = [value for values in wrapper.optimizer.state.values() for value in values.values()]
    return Step(
        parameters=sum(weight.numel() for weight in student.backbone.parameters()),
        student=size_of(student.parameters()),
        teacher=size_of(teacher.parameters()),
        others=size_of(every) - size_of(student.parameters()) - size_of(teacher.parameters()),
        gradients=gradients,
        optimizer=size_of(value for value in state if isinstance(value, Tensor)),
        copies=live.copies,
        activations=live.peak,
        operations=operations.total,
        gathered=_gathered(student),
    )


def size_of(tensors: Iterable[Tensor]) -> int:
    """Their bytes."""
    return sum(tensor.nbytes for tensor in tensors)


def _blocks(views: ViewBatch) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in views._asdict().items() if isinstance(value, Tensor)]


def _gathered(student: Any) -> int:
    """Weights outside of blocks in bf16; of the largest block or head, two in bf16 and the gradients in float32."""
    blocks = [*getattr(student.backbone.model, 'blocks', [student.backbone.model]), *student.heads.values()]
    sizes = [sum(weight.numel() for weight in block.parameters()) for block in blocks]
    outside = sum(weight.numel() for weight in student.parameters()) - sum(sizes)
    return 2 * outside + (2 * 2 + 4) * max(sizes)


@contextmanager
def as_on_a_gpu(model: nn.Module) -> Iterator[None]:
    """No choice that is only for CPUs, and no tensor without numbers in a cache that outlives this."""
    for module in model.modules():
        if hasattr(module, 'attention_choice'):
            module.attention_choice.attentions.clear()
    uncached = positions.cached_weights.__wrapped__
    with patch.object(soft_targets, 'PIECE', 2**62), patch.object(positions, 'cached_weights', uncached):
        yield
