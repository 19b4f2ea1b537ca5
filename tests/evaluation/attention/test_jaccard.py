"""Attention masks and their Jaccard index: by hand, against slow references, and what must not change them."""

import pytest
import torch

from dino_plugin.evaluation.attention.jaccard import (
    ImageJaccard,
    image_jaccard,
    jaccard_of_masks,
    summarise_jaccard,
)
from dino_plugin.evaluation.attention.mass import mass_mask, shares_of
from dino_plugin.evaluation.attention.patch_counts import count_in_patches

RANDOM = torch.Generator().manual_seed(0)


def dinos_mask(attention, threshold):
    """The steps of DINO's published visualize_attention.py, written from their description, for one map."""
    values, places = attention.flatten().sort()
    cumulative = (values / values.sum()).cumsum(0)
    kept = [bool(share > 1 - threshold) for share in cumulative]
    mask = [False] * len(values)
    for place, keep in zip(places.tolist(), kept):
        mask[place] = keep
    return torch.tensor(mask).view(attention.shape)


@pytest.mark.parametrize('threshold', [0.1, 0.6, 0.95])
def test_the_mask_is_that_of_dinos_steps(threshold):
    maps = torch.rand(3, 5, 7, generator=RANDOM).double()
    expected = torch.stack([dinos_mask(one, threshold) for one in maps])
    assert torch.equal(mass_mask(maps, threshold), expected)


def test_the_mask_holds_the_share_and_no_patch_too_many():
    maps = torch.rand(20, 6, 9, generator=RANDOM)
    mask = mass_mask(maps, 0.6)
    shares = shares_of(maps)
    held = (shares * mask).sum(dim=(1, 2))
    smallest = shares.masked_fill(~mask, 2).amin(dim=(1, 2))
    assert (held >= 0.6).all() and (held - smallest < 0.6).all()


def test_masks_by_hand():
    maps = torch.tensor([[[0.4, 0.3], [0.2, 0.1]]], dtype=torch.double)
    assert mass_mask(maps, 0.6).tolist() == [[[True, True], [False, False]]]
    assert mass_mask(maps, 0.4).tolist() == [[[True, False], [False, False]]]
    assert mass_mask(maps, 1.0).all()
    assert mass_mask(7 * maps, 0.6).tolist() == mass_mask(maps, 0.6).tolist()


@pytest.mark.parametrize(
    'maps, words',
    [
        (torch.full((1, 2, 2), torch.nan), 'NaN or infinity'),
        (torch.tensor([[[1.0, -1.0]]]), 'negative'),
        (torch.zeros(1, 2, 2), '0 at every patch'),
    ],
)
def test_maps_that_are_no_attention_are_refused(maps, words):
    with pytest.raises(ValueError, match=words):
        mass_mask(maps)


def test_a_threshold_outside_is_refused():
    for threshold in (0, 1.5):
        with pytest.raises(ValueError, match=r'share of the mass in \(0, 1\]'):
            mass_mask(torch.ones(1, 2, 2), threshold)


@pytest.mark.parametrize('size, grid', [((6, 8), (3, 4)), ((7, 10), (3, 4)), ((5, 5), (5, 1)), ((11, 9), (4, 9))])
def test_counts_in_patches_are_those_of_an_enlarged_map(size, grid):
    """Each pixel lies in the patch that covers its centre."""
    masks = torch.rand(2, *size, generator=RANDOM) > 0.5
    expected = torch.zeros(2, *grid, dtype=torch.double)
    for row in range(size[0]):
        for column in range(size[1]):
            place = int((row + 0.5) / size[0] * grid[0]), int((column + 0.5) / size[1] * grid[1])
            expected[:, place[0], place[1]] += masks[:, row, column]
    assert torch.equal(count_in_patches(masks, grid), expected)


def test_masks_with_fewer_pixels_than_patches_are_refused():
    with pytest.raises(ValueError, match=r'masks of 2 x 8 pixels .* for 3 x 4 patches'):
        count_in_patches(torch.ones(2, 8, dtype=torch.bool), (3, 4))


def test_jaccard_of_two_objects_by_hand():
    """Patches of 2 x 2 pixels. Object 0 fills the left patch and a quarter of the right; object 1 half of the right."""
    objects = torch.tensor([[[1, 1, 1, 0], [1, 1, 0, 0]], [[0, 0, 0, 1], [0, 0, 0, 1]]], dtype=torch.bool)
    attended = torch.tensor([[[True, False]], [[False, True]], [[True, True]]])
    expected = [[4 / 5, 1 / 8, 5 / 8], [0, 2 / 4, 2 / 8]]
    assert jaccard_of_masks(attended, objects).tolist() == [pytest.approx(row) for row in expected]
    void = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0]], dtype=torch.bool)
    assert jaccard_of_masks(attended, objects, void)[1].tolist() == pytest.approx([0, 2 / 3, 2 / 7])


def test_jaccard_is_that_of_masks_enlarged_by_nearest_neighbour():
    maps = torch.rand(4, 3, 5, generator=RANDOM)
    objects = torch.rand(2, 12, 20, generator=RANDOM) > 0.6
    found = image_jaccard(maps, objects)
    for head, attention in enumerate([*maps, maps.mean(0)]):
        large = dinos_mask(attention, 0.6).repeat_interleave(4, 0).repeat_interleave(4, 1)
        for label, mask in enumerate(objects):
            expected = float((large & mask).sum() / (large | mask).sum())
            value = found.mean_map[label] if head == 4 else found.heads[label, head]
            assert float(value) == pytest.approx(expected)


def test_the_protocols_means_by_hand():
    """Best head for each object, mean over objects, then over images: an image with many objects counts once."""
    first = ImageJaccard(torch.tensor([[0.2, 0.6], [0.8, 0.1]]), torch.tensor([0.3, 0.5]))
    second = ImageJaccard(torch.tensor([[0.5, 0.4]]), torch.tensor([0.1]))
    empty = ImageJaccard(torch.zeros(0, 2), torch.zeros(0))
    found = summarise_jaccard([first, empty, second])
    assert found.best_head == pytest.approx(((0.6 + 0.8) / 2 + 0.5) / 2)
    assert found.best_fixed_head == pytest.approx((0.5 + 0.5) / 2) and found.fixed_head == 0
    assert found.mean_map == pytest.approx((0.4 + 0.1) / 2)
    assert found.images == 2
    assert summarise_jaccard([second, first, empty]) == found


def test_images_without_objects_are_no_result():
    with pytest.raises(ValueError, match='no image has an object'):
        summarise_jaccard([ImageJaccard(torch.zeros(0, 2), torch.zeros(0))])


def test_the_threshold_changes_the_mask():
    maps = torch.tensor([[[0.7, 0.3]]])
    objects = torch.tensor([[[1, 0]]], dtype=torch.bool)
    assert float(image_jaccard(maps, objects).heads) == 1
    assert float(image_jaccard(maps, objects, threshold=0.9).heads) == 0.5


def test_a_perfect_map_has_index_one_and_a_mirrored_pair_the_same_index():
    objects = torch.zeros(1, 8, 8, dtype=torch.bool)
    objects[:, 2:6, 4:] = True
    perfect = count_in_patches(objects, (4, 4)).float()
    assert float(image_jaccard(perfect, objects, threshold=1 - 1e-6).heads) == 1
    maps = torch.rand(1, 4, 4, generator=RANDOM)
    assert torch.equal(image_jaccard(maps, objects).heads, image_jaccard(maps.flip(-1), objects.flip(-1)).heads)
