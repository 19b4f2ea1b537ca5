"""The bilateral solver against the equation, with a matrix of all pairs of cells; what it does to masks."""

import cv2
import numpy as np
import pytest

from dino_plugin.evaluation.discovery import bilateral_solver
from dino_plugin.evaluation.discovery.bilateral_solver import refine_mask, solve_bilateral


def slow_solution(image, mask, spatial, luma, chroma, smoothness):
    """The linear system of Barron and Poole, equation 6, over cells in a dictionary, solved exactly."""
    colours = 255 * cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
    cells = {}
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            y, u, v = colours[row, column]
            cell = (row // spatial, column // spatial, y // luma, u // chroma, v // chroma)
            cells.setdefault(tuple(map(int, cell)), []).append((row, column))
    keys = list(cells)
    blur = np.zeros((len(keys), len(keys)))
    for i, one in enumerate(keys):
        for j, other in enumerate(keys):
            distance = sum(abs(a - b) for a, b in zip(one, other))
            blur[i, j] = {0: 10, 1: 1}.get(distance, 0)
    pixels = np.array([len(cells[key]) for key in keys], float)
    scale = np.ones(len(keys))
    for _ in range(10):
        scale = np.sqrt(scale * pixels / (blur @ scale))
    balance = scale * (blur @ scale)
    matrix = smoothness * (np.diag(balance) - np.diag(scale) @ blur @ np.diag(scale)) + 0.999 * np.diag(pixels)
    target = np.array([0.999 * sum(mask[place] for place in cells[key]) for key in keys])
    solution = np.linalg.solve(matrix, target)
    found = np.zeros(mask.shape)
    for value, key in zip(solution, keys):
        for place in cells[key]:
            found[place] = value
    return found


def two_halves(rows=24, columns=32, edge=18):
    """A dark and a bright half that meet at a column, with some noise."""
    image = np.where(np.arange(columns)[:, None] < edge, 60, 190) + np.zeros((rows, 1, 3))
    return (image + np.random.default_rng(0).integers(-12, 12, image.shape)).astype(np.uint8)


@pytest.mark.parametrize('smoothness', [1.0, 8.0])
def test_it_equals_the_exact_solution_of_its_equation(smoothness):
    image = two_halves()
    mask = np.zeros(image.shape[:2], bool)
    mask[4:20, 2:12] = True
    found = solve_bilateral(image, mask, 4, 32, 16, smoothness)
    expected = slow_solution(image, mask, 4, 32, 16, smoothness)
    assert np.ptp(expected) > 0.2
    assert np.allclose(found, expected, atol=1e-3)


def test_a_coarse_mask_moves_to_the_edge_of_the_image():
    image = two_halves()
    coarse = np.zeros(image.shape[:2], bool)
    coarse[:, :14] = True  # four columns short of the edge
    soft, refined = refine_mask(image, coarse)
    assert np.array_equal(refined, np.broadcast_to(np.arange(32) < 18, (24, 32)))
    assert soft[:, :18].min() > 0.5 > soft[:, 18:].max()


def test_only_the_largest_part_stays_and_holes_are_filled(monkeypatch):
    soft = np.zeros((10, 12))
    soft[1:8, 1:8] = 0.9
    soft[3:5, 3:5] = 0.1  # a hole
    soft[8:, 10:] = 0.9  # a smaller part
    monkeypatch.setattr(bilateral_solver, 'solve_bilateral', lambda image, mask: soft)
    _, refined = refine_mask(np.zeros((10, 12, 3), np.uint8), soft > 0.5)
    expected = np.zeros((10, 12), bool)
    expected[1:8, 1:8] = True
    assert np.array_equal(refined, expected)


def test_a_mask_that_would_vanish_stays():
    image = two_halves()
    mask = np.zeros(image.shape[:2], bool)
    mask[10, 10] = True
    soft, refined = refine_mask(image, mask)
    assert soft.max() < 0.5
    assert np.array_equal(refined, mask)


def test_empty_and_full_masks_stay_as_they_are():
    image = two_halves()
    for value in (False, True):
        mask = np.full(image.shape[:2], value)
        assert np.allclose(solve_bilateral(image, mask), value, atol=1e-6)
        assert np.array_equal(refine_mask(image, mask)[1], mask)
