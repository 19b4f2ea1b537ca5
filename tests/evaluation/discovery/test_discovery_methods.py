"""LOST, TokenCut and MaskCut equal the published algorithms, and find drawn objects."""

import numpy as np
import pytest
import torch
from slow_methods import slow_lost, slow_mask_cut, slow_second_vector, slow_token_cut

from dino_plugin.evaluation.discovery.lost import lost
from dino_plugin.evaluation.discovery.mask_cut import mask_cut
from dino_plugin.evaluation.discovery.normalised_cut import FEW, alike, second_eigenvector
from dino_plugin.evaluation.discovery.token_cut import token_cut


def random_patches(seed, rows=7, columns=9, dim=6, smooth=True):
    """Random features; smooth ones are like those of their neighbours, as in photographs."""
    noise = np.random.default_rng(seed).standard_normal((rows + 2, columns + 2, dim))
    if smooth:
        noise = sum(noise[row : row + rows, column : column + columns] for row in range(3) for column in range(3)) / 3
    return noise[:rows, :columns]


def drawn(*rectangles, rows=12, columns=16, dim=8, noise=0.05, background=0):
    """Features that point along an axis of their own in each rectangle (top, bottom, left, right)."""
    axes = np.full((rows, columns), background)
    for axis, (top, bottom, left, right) in enumerate(rectangles, start=1):
        axes[top:bottom, left:right] = axis
    patches = np.eye(dim)[axes] + noise * np.random.default_rng(0).standard_normal((rows, columns, dim))
    return torch.from_numpy(patches), [axes == axis for axis in range(1, len(rectangles) + 1)]


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('num_candidates', [1, 8, 100])
def test_lost_equals_seed_choice_and_expansion_of_the_paper(seed, num_candidates):
    patches = random_patches(seed, smooth=seed % 2 == 0)
    region = lost(torch.from_numpy(patches), num_candidates)
    mask, place = slow_lost(patches, num_candidates)
    assert region.seed == place
    assert np.array_equal(region.mask, mask)


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('threshold', [0.0, 0.2, 0.5])
def test_token_cut_equals_the_bipartition_of_the_paper(seed, threshold):
    patches = random_patches(seed)
    region = token_cut(torch.from_numpy(patches), threshold)
    mask, place = slow_token_cut(patches, threshold)
    assert region.seed == place
    assert np.array_equal(region.mask, mask)


@pytest.mark.parametrize('seed', range(16))
def test_mask_cut_equals_the_loop_of_the_paper(seed):
    patches = random_patches(seed, rows=9, columns=9)
    expected = [mask for mask in slow_mask_cut(patches, 0.2, 4) if mask.any()]
    found = mask_cut(torch.from_numpy(patches), 0.2, 4)
    assert len(found) == len(expected)
    assert all(np.array_equal(region.mask, mask) for region, mask in zip(found, expected))


def test_the_cases_of_mask_cut_cover_dropped_objects_and_corners():
    """Otherwise the test above would not try them."""
    rounds = [slow_mask_cut(random_patches(seed, rows=9, columns=9), 0.2, 4) for seed in range(16)]
    assert any(not mask.any() for masks in rounds for mask in masks)
    assert any(sum(mask.any() for mask in masks) >= 3 for masks in rounds)


@pytest.mark.parametrize('rows', [15, 20])  # fewer and more patches than the dense solver takes
def test_the_eigenvector_solves_the_generalised_problem(rows):
    features = random_patches(3, rows, columns=16).reshape(-1, 6)
    assert (len(features) <= FEW) == (rows == 15)
    vector = second_eigenvector(alike(torch.from_numpy(features), 0.3))
    expected = slow_second_vector(features, 0.3)
    scale = np.abs(vector).max() / np.abs(expected).max()
    assert np.allclose(vector, scale * expected, atol=1e-7 * np.abs(vector).max())


# --- what they find ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', [lost, token_cut])
def test_a_drawn_object_is_found_whole(method):
    patches, (truth,) = drawn((3, 8, 5, 11))
    region = method(patches - patches.mean(dim=(0, 1)))  # LOST tells apart what points away from each other
    assert np.array_equal(region.mask, truth)
    assert truth[region.seed]


def test_two_drawn_objects_are_found_by_mask_cut_the_larger_image_share_stays_background():
    patches, truths = drawn((1, 5, 2, 6), (6, 11, 9, 14))
    found = mask_cut(patches)[:2]
    for truth in truths:
        assert any(np.array_equal(region.mask, truth) for region in found)


def test_objects_of_mask_cut_do_not_overlap_and_are_not_more_than_asked_for():
    patches = torch.from_numpy(random_patches(1, rows=9, columns=9))
    found = mask_cut(patches, num_objects=4)
    assert np.sum([region.mask for region in found], axis=0).max() == 1
    assert len(mask_cut(patches, num_objects=1)) == 1
    assert np.array_equal(mask_cut(patches, num_objects=1)[0].mask, found[0].mask)


def test_only_the_part_that_is_connected_with_the_seed_is_the_object():
    patches, _ = drawn((1, 4, 1, 4), (7, 11, 8, 14))
    patches[1:4, 1:4] = patches[7, 8]  # the same thing twice, in two places
    for method in (lost, token_cut):
        mask = method(patches).mask
        assert mask[:6].any() != mask[6:].any()


# --- invariances ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', [lost, token_cut, lambda patches: mask_cut(patches)[0]])
def test_neither_the_scale_nor_a_rotation_of_the_features_changes_the_object(method):
    patches = torch.from_numpy(random_patches(5))
    turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).standard_normal((6, 6))))[0]
    masks = [method(changed).mask for changed in (patches, 1000 * patches, 1e-3 * patches, patches @ turn)]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize('method', [lost, token_cut, lambda patches: mask_cut(patches)[0]])
def test_a_mirrored_image_has_the_mirrored_object(method):
    patches = torch.from_numpy(random_patches(7))
    assert np.array_equal(method(patches.flip(1)).mask, method(patches).mask[:, ::-1])


def test_token_cut_does_not_look_at_lengths_of_features_but_lost_does():
    patches = torch.from_numpy(random_patches(2))
    factors = torch.from_numpy(np.random.default_rng(4).uniform(0.01, 3, (7, 9, 1)))
    assert np.array_equal(token_cut(patches * factors).mask, token_cut(patches).mask)
    assert not np.array_equal(lost(patches * factors, 20).mask, lost(patches, 20).mask)


# --- limits and bad input ---------------------------------------------------------------------------------------------


def test_without_a_cut_the_object_is_the_whole_image_and_mask_cut_finds_none():
    alike_all = torch.ones(4, 5, 3)
    unlike_all = torch.eye(20).reshape(4, 5, 20)
    for patches in (alike_all, unlike_all):
        assert token_cut(patches).mask.all()
        assert mask_cut(patches) == []
    assert lost(alike_all).mask.all()
    assert lost(alike_all).seed == (0, 0)


@pytest.mark.parametrize('method', [lost, token_cut, mask_cut])
def test_bad_features_are_refused(method):
    patches = torch.ones(4, 5, 3)
    patches[2, 3, 1] = float('nan')
    with pytest.raises(ValueError, match='nan or infinite'):
        method(patches)
    with pytest.raises(ValueError, match=r'1 x 1 patches.*short_side'):
        method(torch.ones(1, 1, 3))
    with pytest.raises(ValueError, match=r'129 x 128 patches.*2 to 16384'):
        method(torch.ones(129, 128, 1))


def test_options_out_of_range_are_refused():
    patches = torch.from_numpy(random_patches(0))
    for threshold in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r'lies in \[0, 1\)'):
            token_cut(patches, threshold)
    with pytest.raises(ValueError, match='num_candidates is at least 1'):
        lost(patches, 0)
    with pytest.raises(ValueError, match='num_objects is at least 1'):
        mask_cut(patches, num_objects=0)
    with pytest.raises(ValueError, match='the feature of this patch is zero'):
        lost(torch.zeros(3, 3, 2))


def test_a_patch_without_features_is_like_none_not_even_itself():
    edges = alike(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.1]]), 0.0)
    assert edges.tolist() == [[False, False, False], [False, True, True], [False, True, True]]
