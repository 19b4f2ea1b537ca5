"""What detectors need of mmcv's compiled module ``mmcv._ext``, by torchvision and PyTorch, on any device.

Names and arguments are those of that module: results go into a tensor that the caller made.
"""

from collections.abc import Callable
from typing import Any

import torch
import torchvision.ops
from torch import Tensor
from torch.nn.functional import one_hot

__all__ = [
    'get_compiler_version', 'get_compiling_cuda_version', 'ms_deform_attn_backward', 'ms_deform_attn_forward', 'nms',
    'roi_align_backward', 'roi_align_forward', 'sigmoid_focal_loss_backward', 'sigmoid_focal_loss_forward',
]  # fmt: skip


def get_compiler_version() -> str:
    """No compiler."""
    return 'none: operations by torchvision'


def get_compiling_cuda_version() -> str:
    """No compiler."""
    return 'not available'


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Places of the boxes that stay, by falling score; ``offset`` is added to widths and heights."""
    corners = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torchvision.ops.nms(corners.float(), scores.float(), iou_threshold)


def roi_align_forward(maps: Tensor, boxes: Tensor, output: Tensor, *_: Tensor, **options: Any) -> None:
    """Means of bilinear samples in the cells of each box."""
    output.copy_(_roi_align(maps, boxes, **options))


def roi_align_backward(gradient: Tensor, boxes: Tensor, *rest: Any, **options: Any) -> None:
    """The gradient of the maps, added to the last tensor. The operation is linear: any maps give it."""
    into = rest[-1]
    into += _gradients(lambda maps: _roi_align(maps, boxes, **options), [torch.zeros_like(into)], gradient)[0]


def _roi_align(
    maps: Tensor,
    boxes: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> Tensor:
    if pool_mode != 1:
        raise RuntimeError("RoIAlign: only pool_mode='avg' without mmcv's compiled operations.")
    size = (aligned_height, aligned_width)
    return torchvision.ops.roi_align(maps, boxes.to(maps.dtype), size, spatial_scale, sampling_ratio or -1, aligned)


def sigmoid_focal_loss_forward(
    scores: Tensor, classes: Tensor, weights: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """The loss of each score; a class that is too large is the background."""
    output.copy_(_focal_loss(scores, classes, weights, gamma, alpha))


def sigmoid_focal_loss_backward(
    scores: Tensor, classes: Tensor, weights: Tensor, into: Tensor, gamma: float, alpha: float
) -> None:
    """Its derivative for each score."""
    into.copy_(
        _gradients(lambda free: _focal_loss(free, classes, weights, gamma, alpha), [scores], torch.ones_like(scores))[0]
    )


def _focal_loss(scores: Tensor, classes: Tensor, weights: Tensor, gamma: float, alpha: float) -> Tensor:
    truth = one_hot(classes.clamp(max=scores.shape[1]), scores.shape[1] + 1)[:, :-1].to(scores.dtype)
    loss = torchvision.ops.sigmoid_focal_loss(scores, truth, alpha, gamma)
    return loss * weights[classes.clamp(max=len(weights) - 1), None] if len(weights) else loss


def ms_deform_attn_forward(
    values: Tensor, shapes: Tensor, starts: Tensor, places: Tensor, weights: Tensor, im2col_step: int
) -> Tensor:
    """Deformable attention over several maps."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(values, shapes.tolist(), places, weights)


def ms_deform_attn_backward(
    values: Tensor,
    shapes: Tensor,
    starts: Tensor,
    places: Tensor,
    weights: Tensor,
    gradient: Tensor,
    *into: Tensor,
    im2col_step: int,
) -> None:
    """The gradients of values, places and weights, into the last three tensors."""

    def attend(values: Tensor, places: Tensor, weights: Tensor) -> Tensor:
        return ms_deform_attn_forward(values, shapes, starts, places, weights, im2col_step)

    for target, found in zip(into, _gradients(attend, [values, places, weights], gradient)):
        target.copy_(found)


def _gradients(function: Callable[..., Tensor], inputs: list[Tensor], gradient: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        free = [tensor.detach().requires_grad_() for tensor in inputs]
        return torch.autograd.grad(function(*free), free, gradient)
