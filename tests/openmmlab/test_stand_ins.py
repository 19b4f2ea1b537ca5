"""Stand-ins for mmcv's compiled operations against loops written from their definitions."""

import math

import pytest
import torch

from dino_plugin.openmmlab import stand_ins


def overlap(a, b, offset):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    both = max(0, width) * max(0, height)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return both / (sum(areas) - both)


@pytest.mark.parametrize('offset', [0, 1])
def test_suppression_keeps_the_best_of_boxes_that_overlap(offset):
    corners = 10 * torch.rand(40, 2)
    boxes, scores = torch.cat([corners, corners + 5 * torch.rand(40, 2)], dim=1), torch.rand(40)
    kept = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index].tolist(), boxes[other].tolist(), offset) <= 0.3 for other in kept):
            kept.append(index)
    assert stand_ins.nms(boxes, scores, iou_threshold=0.3, offset=offset).tolist() == kept
    assert len(kept) < 40


def bilinear(image, y, x):
    rows, columns = image.shape
    if y < -1 or y > rows or x < -1 or x > columns:
        return 0 * image[0, 0]
    y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    low, side = y - top, x - left
    upper = image[top, left] * (1 - side) + image[top, right] * side
    return upper * (1 - low) + (image[bottom, left] * (1 - side) + image[bottom, right] * side) * low


def test_roi_align_is_the_mean_of_bilinear_samples_and_so_is_its_gradient():
    maps = torch.rand(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0, 2.0, 3, 20, 22], [1, 7.5, 1, 12, 9]], dtype=torch.float64)
    options = dict(aligned_height=2, aligned_width=3, spatial_scale=0.25, sampling_ratio=2, pool_mode=1, aligned=True)
    expected = []
    for image, left, top, right, bottom in boxes.tolist():
        left, top, right, bottom = (0.25 * edge - 0.5 for edge in (left, top, right, bottom))
        height, width = (bottom - top) / 2, (right - left) / 3
        for channel in range(3):
            for row in range(2):
                for column in range(3):
                    samples = [
                        bilinear(maps[int(image), channel], top + (row + dy) * height, left + (column + dx) * width)
                        for dy in (0.25, 0.75)
                        for dx in (0.25, 0.75)
                    ]
                    expected.append(sum(samples) / 4)
    expected = torch.stack(expected).reshape(2, 3, 2, 3)
    output, unused = torch.zeros_like(expected), torch.zeros(0)
    stand_ins.roi_align_forward(maps.detach(), boxes, output, unused, unused, **options)
    torch.testing.assert_close(output, expected.detach())
    gradient, found = torch.rand_like(output), torch.zeros_like(maps)
    stand_ins.roi_align_backward(gradient, boxes, unused, unused, found, **options)
    torch.testing.assert_close(found, torch.autograd.grad(expected, maps, gradient)[0])


@pytest.mark.parametrize('weights', [torch.zeros(0), torch.tensor([0.5, 2.0, 3.0])])
def test_the_focal_loss_is_its_equation_and_a_class_too_many_is_background(weights):
    scores, classes = torch.randn(5, 3, requires_grad=True), torch.tensor([0, 1, 2, 3, 0])
    expected = torch.zeros(5, 3)
    for row in range(5):
        for column in range(3):
            p, right = scores[row, column].sigmoid(), classes[row] == column
            loss = -0.25 * (1 - p) ** 2 * p.log() if right else -0.75 * p**2 * (1 - p).log()
            weight = weights[min(classes[row], 2)] if len(weights) else 1
            expected[row, column] = weight * loss
    output, found = torch.zeros(5, 3), torch.zeros(5, 3)
    stand_ins.sigmoid_focal_loss_forward(scores.detach(), classes, weights, output, gamma=2.0, alpha=0.25)
    torch.testing.assert_close(output, expected.detach())
    stand_ins.sigmoid_focal_loss_backward(scores.detach(), classes, weights, found, gamma=2.0, alpha=0.25)
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), scores)[0])
