"""Similarity to a point, parts and matches: on features that are known."""

import functools

import cv2
import numpy as np
import pytest
import torch

from dino_plugin.visualization.similarity import (
    PART_COLOURS,
    cluster_patches,
    match_patches,
    matches_sheet,
    parts_sheet,
    similarity_sheet,
)

RANDOM = torch.Generator().manual_seed(0)


def test_patches_like_the_chosen_one_glow_in_both_images():
    """Two kinds of patches: the left half of the first image, the lower half of the second."""
    kinds = torch.eye(2)
    left = torch.tensor([[0, 1], [0, 1]])
    lower = torch.tensor([[1, 1], [0, 0]])
    images = [np.full((40, 40, 3), 100, np.uint8)] * 2
    sheet = similarity_sheet(images, [kinds[left], kinds[lower]], point=(35, 5))
    first, second = sheet[:40, 48:], sheet[48:88, 48:]
    assert first[5, 5].sum() > 600 and first[5, 35].max() < 100 and first[35, 35].max() < 100
    assert second[35, 5].sum() > 600 and second[35, 35].sum() > 600 and second[5, 5].max() < 100
    assert (sheet[35, 5] == (220, 0, 0)).all()  # the cross
    assert (sheet[48:88, :40] == 100).all()  # no cross on the second image
    smooth = similarity_sheet(images, [kinds[left], kinds[lower]], point=(35, 5), smooth=True)
    assert len(np.unique(smooth[48:, 48:])) > len(np.unique(sheet[48:, 48:]))


@pytest.mark.parametrize('point', [(40, 0), (0, 60), (-1, 3)])
def test_a_point_outside_is_refused(point):
    with pytest.raises(ValueError, match='outside the first image: rows 0 to 39, columns to 59'):
        similarity_sheet([np.zeros((40, 60, 3), np.uint8)], [torch.rand(4, 6, 8)], point)


def test_parts_are_the_kinds_of_patches_whatever_their_length_and_the_largest_is_first():
    kinds = torch.nn.functional.normalize(torch.randn(3, 16, generator=RANDOM), dim=1)
    truth = [torch.tensor([[0, 1, 1], [0, 1, 2]]), torch.tensor([[1, 2], [1, 1]])]
    grids = [kinds[labels] * (1 + 9 * torch.rand(*labels.shape, 1, generator=RANDOM)) for labels in truth]
    parts = cluster_patches(grids, 3)
    names = {}
    for part, labels in zip(parts, truth):
        for found, label in zip(part.ravel().tolist(), labels.flatten().tolist()):
            assert names.setdefault(found, label) == label
    assert sorted(names) == [0, 1, 2] and names[0] == 1


def test_the_same_seed_gives_the_same_parts():
    grids = [torch.randn(6, 7, 8, generator=RANDOM)]
    runs = [cluster_patches(grids, 4, seed=1)[0] for _ in range(2)]
    assert (runs[0] == runs[1]).all()
    assert any((cluster_patches(grids, 4, seed=seed)[0] != runs[0]).any() for seed in range(2, 6))


def test_a_number_of_parts_that_cannot_be_is_refused():
    for number in (1, 5):
        with pytest.raises(ValueError, match=f'needs 2 to 4 parts, got {number}'):
            cluster_patches([torch.rand(2, 2, 3)], number)


def test_parts_have_the_same_colour_in_all_images():
    images = [np.zeros((20, 20, 3), np.uint8), np.zeros((20, 40, 3), np.uint8)]
    sheet = parts_sheet(images, [np.array([[1]]), np.array([[0, 1]])])
    assert (sheet[10, 38] == (0.7 * PART_COLOURS[1]).round()).all()
    assert (sheet[38, 58] == (0.7 * PART_COLOURS[0]).round()).all()
    assert (sheet[38, 78] == (0.7 * PART_COLOURS[1]).round()).all()


def test_matches_find_where_each_patch_went():
    """The second image has the patches of the first, mirrored and with noise."""
    first = torch.randn(5, 8, 32, generator=RANDOM)
    second = first.flip(1) + 0.05 * torch.randn(5, 8, 32, generator=RANDOM)
    pairs, cosines = match_patches(first, second, 6)
    assert len(pairs) == 6 and (cosines > 0.95).all() and (cosines.diff() <= 0).all()
    for (row, column), there in pairs.tolist():
        assert there == [row, 7 - column]
    assert len({tuple(pair[0]) for pair in pairs.tolist()}) == 6


def test_a_match_is_mutual():
    """Two patches of the first image like the same one best: only the better one is a pair."""
    first = torch.tensor([[[1.0, 0.0], [0.9, 0.4], [0.0, -1.0]]])
    second = torch.tensor([[[1.0, 0.1], [-1.0, 0.0]]])
    pairs, cosines = match_patches(first, second, 100)
    assert [[0, 0], [0, 0]] in pairs.tolist()
    assert [[0, 1], [0, 0]] not in pairs.tolist()
    assert float(cosines[0]) == pytest.approx(1 / 1.01**0.5)


def test_a_line_joins_the_centres_of_a_pair():
    images = [np.full((40, 40, 3), 255, np.uint8), np.full((20, 40, 3), 255, np.uint8)]
    grids = [torch.zeros(2, 2, 3), torch.zeros(1, 2, 3)]
    sheet = matches_sheet(images, grids, torch.tensor([[[0, 0], [0, 1]]]))
    assert sheet.shape == (40, 84, 3)
    drawn = np.argwhere((sheet != 255).any(axis=-1))
    assert drawn[:, 0].min() >= 6 and drawn[:, 0].max() <= 14  # at row 10 of both
    assert drawn[:, 1].min() <= 10 and drawn[:, 1].max() >= 44 + 30


@pytest.fixture
def run_tool(run_picture_tool):
    return functools.partial(run_picture_tool, 'visualize_features')


@pytest.fixture
def swans(repository):
    return sorted((repository / 'tests/data/davis/JPEGImages/480p/blackswan').glob('*.jpg'))[:2]


def test_the_tool_draws_similarity_parts_and_matches(run_tool, swans, tmp_path):
    pictures = {}
    for name, options in (
        ('point', ['--point', '60,200']), ('other', ['--point', '10,20']),
        ('smooth', ['--point', '60,200', '--smooth']),
        ('three', ['--parts', 3]), ('five', ['--parts', 5]), ('few', ['--matches', 3]), ('many', ['--matches', 9]),
    ):  # fmt: skip
        run_tool(*swans, '--out', tmp_path / f'{name}.png', '--size', 64, *options)
        pictures[name] = cv2.imread(str(tmp_path / f'{name}.png'))
    rows, columns = 64, 112
    assert pictures['point'].shape == (2 * (rows + 8), 2 * columns + 8, 3)
    assert pictures['few'].shape == (rows, 2 * columns + 4, 3)
    for one, other in (('point', 'other'), ('point', 'smooth'), ('three', 'five'), ('few', 'many')):
        assert (pictures[one] != pictures[other]).any()


def test_the_point_is_a_pixel_of_the_image_as_it_is_stored(run_tool, swans, tmp_path):
    stored = cv2.imread(str(swans[0])).shape
    run_tool(swans[0], '--out', tmp_path / 'a.png', '--size', 64, '--point', f'{stored[0] // 2},{stored[1] // 4}')
    red = np.argwhere((cv2.imread(str(tmp_path / 'a.png'))[:, :112] == (0, 0, 220)).all(axis=-1))
    assert red.mean(axis=0) == pytest.approx([32, 28], abs=1.5)


def test_what_cannot_be_shown_is_said_in_a_sentence(run_tool, swans, capsys):
    for arguments, said in (
        ([swans[0], '--matches', 5], '--matches needs two images, got 1'),
        ([swans[0], '--point', '5'], 'expected row,column in pixels'),
        ([swans[0], '--point', '5000,3'], 'outside the first image'),
        ([swans[0], '--parts', 1], 'parts, got 1'),
        ([swans[0], '--parts', 13], 'at most 12 parts have a colour of their own, got 13'),
        ([*swans, '--matches', 0], 'must be at least 1, got 0'),
        ([swans[0], '--parts', 2, '--point', '1,1'], 'not allowed with'),
    ):
        with pytest.raises(SystemExit) as stop:
            run_tool(*arguments, '--size', 64)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
