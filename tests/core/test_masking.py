"""The number of masked patches is exact, and where they lie is distributed as by BEiT's loop."""

import math
import random
from fractions import Fraction

import pytest
import torch

from dino_plugin.core.masking import (
    block_masks,
    independent_ratios,
    one_block_masks,
    random_masks,
    rolled_masks,
    stratified_ratios,
)

GRIDS = [(1, 1), (1, 7), (2, 3), (4, 4), (14, 14), (9, 20)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize('min_patches', [1, 4, 16, 1000])
@pytest.mark.parametrize(('rows', 'columns'), GRIDS)
def test_block_masks_have_exactly_as_many_patches_as_asked_from_none_to_all(rows, columns, min_patches):
    num_masked = torch.arange(rows * columns + 1)
    masks = block_masks(num_masked, rows, columns, generator(), min_patches)
    assert masks.shape == (len(num_masked), rows, columns)
    assert torch.equal(masks.flatten(1).sum(1), num_masked)


@pytest.mark.parametrize(('rows', 'columns'), GRIDS)
def test_random_masks_have_exactly_as_many_patches_as_asked_from_none_to_all(rows, columns):
    num_masked = torch.arange(rows * columns + 1)
    assert torch.equal(random_masks(num_masked, rows, columns, generator()).flatten(1).sum(1), num_masked)


def test_random_masks_avoid_what_is_masked_already():
    besides = torch.rand(50, 4, 5, generator=generator()) < 0.5
    free = (~besides).flatten(1).sum(1)
    masks = random_masks(free // 2, 4, 5, generator(1), besides)
    assert not (masks & besides).any()
    assert torch.equal(masks.flatten(1).sum(1), free // 2)


@pytest.mark.parametrize('draw', [block_masks, random_masks])
def test_masks_are_a_function_of_the_generator(draw):
    num_masked = torch.full((3,), 60)
    first, again, other = (draw(num_masked, 14, 14, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert (first != other).flatten(1).any(1).all()
    assert len({mask.numpy().tobytes() for mask in first}) == 3


def test_the_arguments_are_left_alone():
    num_masked = torch.tensor([10, 20])
    block_masks(num_masked, 6, 6, generator())
    assert num_masked.tolist() == [10, 20]


def border_lengths(masks):
    """For each mask: neighbouring patches of which one is masked and one is not."""
    vertical = (masks[:, 1:] != masks[:, :-1]).flatten(1).sum(1)
    return (vertical + (masks[:, :, 1:] != masks[:, :, :-1]).flatten(1).sum(1)).double()


def test_larger_blocks_make_coarser_masks_and_single_patches_the_finest():
    num_masked = torch.full((200,), 60)
    coarse, fine = (block_masks(num_masked, 14, 14, generator(), least) for least in (30, 1))
    scattered = random_masks(num_masked, 14, 14, generator())
    borders = [border_lengths(masks).mean() for masks in (coarse, fine, scattered)]
    assert borders[0] < 0.8 * borders[1] < 0.8 * 0.8 * borders[2]


def beit_mask(num_masked, rows, columns, min_patches, numbers):
    """BEiT's algorithm, one block after the other; single patches in the end."""
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    missing, misses = num_masked, 0
    while missing > 0 and misses < 10:
        area = numbers.uniform(min_patches, missing)
        ratio = math.exp(numbers.uniform(math.log(0.3), -math.log(0.3)))
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        misses += 1
        if height < rows and width < columns:
            top, left = numbers.randint(0, rows - height), numbers.randint(0, columns - width)
            block = mask[top : top + height, left : left + width]
            num_new = int((~block).sum())
            if 0 < num_new <= missing:
                block[:] = True
                missing -= num_new
                misses = 0
    visible = (~mask).nonzero().tolist()
    for row, column in numbers.sample(visible, missing):
        mask[row, column] = True
    return mask


def standard_errors_apart(first, second):
    """Difference of two means over the first axis, in units of its standard error if both are of one distribution."""
    variance = torch.cat([first, second]).var(0)
    return (first.mean(0) - second.mean(0)) / (variance * (1 / len(first) + 1 / len(second))).sqrt()


CASES = [(60, 14, 14, 4), (60, 14, 14, 16), (40, 8, 16, 4), (20, 4, 12, 4), (5, 4, 4, 4), (90, 10, 10, 4)]


@pytest.mark.parametrize(('num_masked', 'rows', 'columns', 'min_patches'), CASES)
def test_block_masks_are_distributed_as_by_beits_loop(num_masked, rows, columns, min_patches):
    numbers = random.Random(0)
    slow = torch.stack([beit_mask(num_masked, rows, columns, min_patches, numbers) for _ in range(600)])
    fast = block_masks(torch.full((3000,), num_masked), rows, columns, generator(), min_patches)
    assert standard_errors_apart(border_lengths(slow), border_lengths(fast)).abs() < 3.5
    patches = standard_errors_apart(slow.double(), fast.double())
    assert patches.abs().max() < 4
    assert patches.square().mean() < 2  # 1 on average


@pytest.mark.parametrize(('rows', 'columns'), [(14, 14), (8, 16)])
def test_masked_patches_are_as_frequent_left_as_right_and_above_as_below(rows, columns):
    masks = block_masks(torch.full((3000,), rows * columns // 3), rows, columns, generator()).double()
    for axis in (1, 2):
        difference = masks - masks.flip(axis)
        errors = difference.mean(0) / (difference.std(0) / len(masks) ** 0.5)
        assert errors.abs().max() < 4.5
    middle, corner = masks[:, rows // 2, columns // 2].mean(), masks[:, 0, 0].mean()
    assert middle > corner + 0.1  # few rectangles reach a corner


@pytest.mark.parametrize('share', [0.0, 0.1, 0.29, 0.5, 1.0])
@pytest.mark.parametrize('num_views', [1, 2, 7, 100])
def test_stratified_ratios_mask_an_exact_number_of_views_and_each_stratum_once(share, num_views):
    num_masked = int(share * num_views)
    ratios = stratified_ratios(num_views, share, 0.1, 0.5, generator())
    masked = ratios[ratios > 0].sort().values
    assert len(ratios) == num_views and len(masked) == num_masked
    strata = ((masked - 0.1) / 0.4 * num_masked).floor()
    assert torch.equal(strata, torch.arange(num_masked))


def test_stratified_ratios_mask_nearly_equally_many_patches_in_every_batch():
    """The sum strays by less than one stratum for each view; that of independent ratios by far more."""
    numbers = generator()
    stratified, independent = (
        torch.stack([draw(64, 0.5, 0.1, 0.5, numbers).sum() for _ in range(200)])
        for draw in (stratified_ratios, independent_ratios)
    )
    assert stratified.mean().item() == pytest.approx(32 * 0.3, rel=1e-3)
    assert (stratified - 32 * 0.3).abs().max() < 0.4 / 2
    assert independent.std() > 10 * stratified.std()


def test_stratified_ratios_belong_to_every_view_alike():
    numbers = generator()
    ratios = torch.stack([stratified_ratios(6, 0.5, 0.1, 0.5, numbers) for _ in range(3000)]).double()
    errors = (ratios.mean(0) - 0.15) / (ratios.std(0) / len(ratios) ** 0.5)
    assert errors.abs().max() < 3.5


@pytest.mark.parametrize(('num_views', 'masked'), [(64, 32), (128, 64), (7, 3), (1, 0)])
def test_upper_edges_mask_as_many_patches_in_every_batch_and_more_than_drawn_ratios(num_views, masked):
    """256 patches: 0.1 + 0.4 k / masked of them in view k = 1, 2, ..., rounded down."""
    expected = sorted(int(Fraction(256) * (1 + Fraction(4 * k, masked)) / 10) for k in range(1, masked + 1))
    numbers = generator()
    orders = set()
    for _ in range(20):
        ratios = stratified_ratios(num_views, 0.5, 0.1, 0.5, numbers, upper_edges=True)
        counts = (ratios * 256).long()
        assert sorted(counts[ratios > 0].tolist()) == expected
        assert (ratios == 0).sum() == num_views - masked
        drawn = stratified_ratios(num_views, 0.5, 0.1, 0.5, numbers)
        assert masked == 0 or ratios.sum() > drawn.sum()
        orders.add(tuple(counts.tolist()))
    assert (len(orders) > 10) == (num_views > 1), 'the order of the views is random'


@pytest.mark.parametrize('share', [0.0, 0.5, 0.7, 1.0])
def test_independent_ratios_are_uniform_in_their_range_for_a_share_of_the_views(share):
    ratios = independent_ratios(20000, share, 0.1, 0.5, generator()).double()
    masked = ratios[ratios > 0]
    assert abs(len(masked) - share * 20000) <= 4 * math.sqrt(20000 * share * (1 - share))
    if share:
        assert 0.1 <= masked.min() < 0.11 and 0.49 < masked.max() < 0.5
        assert abs(masked.mean() - 0.3) < 4 * 0.4 / math.sqrt(12 * len(masked))


@pytest.mark.parametrize('draw', [stratified_ratios, independent_ratios])
def test_ratios_are_a_function_of_the_generator(draw):
    first, again, other = (draw(8, 0.5, 0.1, 0.5, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_rolled_mask_is_the_mask_around_the_edges():
    masks = block_masks(torch.arange(8, 40), 9, 5, generator())
    rolled = rolled_masks(masks, generator(1))
    for mask, found in zip(masks, rolled):
        shifts = [mask.roll((rows, columns), (0, 1)) for rows in range(9) for columns in range(5)]
        assert any(torch.equal(found, shifted) for shifted in shifts)
    assert any(not torch.equal(mask, found) for mask, found in zip(masks, rolled))


def test_rolled_masks_hide_every_patch_equally_often_and_blocks_the_middle_more():
    number, share = 4000, 1 / 3
    masks = block_masks(torch.full((number,), 14 * 14 // 3), 14, 14, generator())
    error = math.sqrt(share * (1 - share) / number)
    exact = (14 * 14 // 3) / 14**2
    assert (masks.double().mean(0) - exact).abs().max() > 10 * error
    assert (rolled_masks(masks, generator(1)).double().mean(0) - exact).abs().max() < 5 * error


@pytest.mark.parametrize(('rows', 'columns'), GRIDS)
def test_one_block_has_exactly_as_many_patches_as_asked_and_is_a_rectangle_but_for_its_last_row(rows, columns):
    num_masked = torch.arange(rows * columns + 1).repeat(5)
    for mask, number in zip(one_block_masks(num_masked, rows, columns, generator()), num_masked.tolist()):
        assert mask.sum() == number
        places = mask.nonzero()
        if number:
            (top, left), (bottom, right) = places.min(0).values.tolist(), places.max(0).values.tolist()
            assert mask[top:bottom, left : right + 1].all()
            assert mask[bottom, left : int(places[places[:, 0] == bottom, 1].max()) + 1].all()


def test_one_block_is_as_often_high_as_wide_and_starts_anywhere_that_it_fits():
    masks = one_block_masks(torch.full((4000,), 36), 14, 14, generator())
    heights, widths = masks.any(2).sum(1), masks.any(1).sum(1)
    assert abs(float((heights > widths).double().mean() - (widths > heights).double().mean())) < 0.1
    square = masks[(heights == 6) & (widths == 6)].double()
    starts = square.flatten(1).argmax(1)  # 9 x 9 places
    counts = torch.bincount(torch.div(starts, 14, rounding_mode='floor'), minlength=9)
    error = math.sqrt(len(square) * (1 / 9) * (8 / 9))
    assert len(square) > 100
    assert (counts - len(square) / 9).abs().max() < 4 * error
