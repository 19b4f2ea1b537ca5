"""Cut views out of decoded images and resize them on a device, by matrix products."""

import math

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dino_plugin.data.views.device_colour import WHITE
from dino_plugin.data.views.fine_levels import STEPS, is_fine
from dino_plugin.data.views.unfinished_views import DecodedImages, Size, Stack

SHARPNESS = -0.5  # parameter a of the bicubic kernel; OpenCV has -0.75
REACH = 2  # half width of the kernel, in pixels of the view or of the box, whichever has fewer


def cut_views(images: DecodedImages, views: slice, size: Size) -> Float32[Tensor, 'views batch channels _ _']:
    """Cut these views out of all images and resize them: bicubic and antialiased, as Pillow does it.

    view = down image across^T, where row i of ``down`` holds the weights of the image's rows for row i of the view

    Within 0.35 grey levels (mean absolute error) of Pillow, which rounds between the two products. On a GPU they are in
    float16, where whole levels are exact; for 128ths of a level they are in float32. Images of one stored shape share a
    product.

    Args:
        images: The batch.
        views: Numbers of these views in ``images.boxes``.
        size: Rows and columns of these views.

    Returns:
        Levels in [0, 255]: whole ones for uint8 pixels.
    """
    boxes = images.boxes[views].transpose(0, 1)[images.order]  # 'batch views 5', in the order of the buffer
    fine = is_fine(images.pixels)
    levels = boxes.new_empty((boxes.shape[1], len(boxes), images.stacks[0].channels, *size))
    for stack in images.stacks:
        members = slice(stack.first, stack.first + stack.images)
        part = cut_stack(images.pixels, stack, boxes[members], size)
        part = part.permute(1, 0, 3, 2, 4).float()
        part = part.mul_(1 / STEPS).clamp_(0, WHITE) if fine else part.clamp_(0, WHITE).round_()
        levels[:, images.order[members]] = part
    return levels


def cut_stack(
    pixels: Tensor, stack: Stack, boxes: Float32[Tensor, 'images views 5'], size: Size
) -> Float[Tensor, 'images views _ channels _']:
    """Cut views out of images of one stored shape; axes ``rows channels columns`` save a copy between the products."""
    dtype = torch.float32 if pixels.device.type == 'cpu' or is_fine(pixels) else torch.float16
    shape = stack.images, stack.rows, stack.columns, stack.channels
    image = pixels[stack.start :][: math.prod(shape)].view(shape)
    image = image.transpose(-1, -2).to(dtype, memory_format=torch.contiguous_format)
    top, left, rows, columns, flip = boxes.unbind(-1)
    down = bicubic_weights(top, rows, torch.zeros_like(flip), size[0], stack.rows).to(dtype)
    across = bicubic_weights(left, columns, flip, size[1], stack.columns).to(dtype)
    shorter = down.flatten(1, 2) @ image.flatten(2)
    shorter = shorter.unflatten(1, down.shape[1:3]).unflatten(-1, (stack.channels, stack.columns))
    return (shorter.flatten(2, 3) @ across.mT).unflatten(2, (size[0], stack.channels))


def bicubic_weights(
    start: Float32[Tensor, '*views'],
    length: Float32[Tensor, '*views'],
    flip: Float32[Tensor, '*views'],
    size: int,
    total: int,
) -> Float32[Tensor, '*views {size} {total}']:
    """Row i holds the weights of an image's pixels for pixel i of a view: 0 outside of the box, 1 in sum.

    Pixel x has weight k((x - centre) / s), where centre is the place of view pixel i in the image, and s is the
    reduction, at least 1. With a = -1/2,

    k(x) = (a + 2) |x|^3 - (a + 3) x^2 + 1           for |x| < 1
    k(x) = a |x|^3 - 5 a x^2 + 8 a |x| - 4 a         for 1 <= |x| < 2, and 0 beyond.

    Args:
        start: First pixel of the box.
        length: Pixels of the box.
        flip: 1 where the view is mirrored, else 0.
        size: Pixels of the view in this direction.
        total: Pixels of the image in this direction.

    References:
        Keys 1981, "Cubic convolution interpolation for digital image processing"; widened as Pillow does.
    """
    start, length, flip = (numbers[..., None] for numbers in (start, length, flip))
    place = torch.arange(size, device=start.device) + 0.5
    centre = start + torch.lerp(place.expand_as(flip + place), size - place, flip) * (length / size)
    pixel = torch.arange(total, device=start.device) + 0.5
    distance = (pixel - centre[..., None]).abs() / (length / size).clamp(min=1)[..., None]
    inside = ((pixel > start) & (pixel < start + length))[..., None, :]
    x, a = distance.clamp_(max=REACH), SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    weights = torch.where(x < 1, near, far) * inside
    return weights / weights.sum(-1, keepdim=True)
