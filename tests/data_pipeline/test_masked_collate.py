"""Batches with masks: the grid is that of the backbone, and the masks are a function of the samples."""

from functools import partial

import numpy as np
import pytest
import torch
from bundled import CIFAR
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader
from view_samples import block_samples, list_samples

from dino_plugin.data.collate import masked_collate, multi_crop_collate
from dino_plugin.data.images.sampler import ResumableSampler
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor


def counts(views):
    return views.masks.flatten(2).sum(2)


@pytest.mark.parametrize('samples', [block_samples(), list_samples()], ids=['blocks', 'lists'])
@pytest.mark.parametrize(('patch_size', 'grid'), [(2, (7, 6)), (4, (4, 3)), (5, (3, 3)), (16, (1, 1))])
def test_the_grid_covers_the_global_views_which_are_padded_to_whole_patches(samples, patch_size, grid):
    views = masked_collate(samples, patch_size, share=1.0, ratio=(0.5, 1.0))
    assert views.masks.shape == (2, 5, *grid)
    plain = multi_crop_collate(samples)
    assert torch.equal(views.global_views, plain.global_views)
    assert torch.equal(views.local_views, plain.local_views)


def test_mask_indices_are_those_of_the_flattened_masks():
    views = masked_collate(block_samples(), 2)
    found = views.masks.nonzero().tolist()
    positions = [((view * 5 + image) * 7 + row) * 6 + column for view, image, row, column in found]
    assert views.mask_indices.tolist() == positions
    assert len(positions) > 0


def test_share_ratio_and_strata_say_how_many_views_and_patches_are_masked():
    """5 images make 10 views, of 7 x 6 patches."""
    stratified = counts(masked_collate(block_samples(), 2, share=0.5, ratio=(0.1, 0.5)))
    masked = stratified[stratified > 0].sort().values
    assert len(masked) == 5
    for stratum, number in enumerate(masked.tolist()):
        assert int(42 * (0.1 + 0.08 * stratum)) <= number <= 42 * (0.1 + 0.08 * (stratum + 1))
    assert (counts(masked_collate(block_samples(), 2, share=1.0, ratio=(0.25, 0.25))) == 10).all()
    assert (counts(masked_collate(block_samples(), 2, share=1.0, ratio=(1, 1))) == 42).all()
    assert not masked_collate(block_samples(), 2, share=0.0).masks.any()


def test_upper_edges_give_each_batch_the_same_numbers_of_masked_patches():
    """5 images make 10 views, of 7 x 6 patches: 0.18, 0.26, 0.34, 0.42 and 0.5 of 42, rounded down."""
    for seed in range(5):
        samples = block_samples(20)[seed : seed + 5]
        found = counts(masked_collate(samples, 2, share=0.5, ratio=(0.1, 0.5), upper_edges=True))
        assert found.flatten().sort().values.tolist() == [0] * 5 + [7, 10, 14, 17, 21]


def test_upper_edges_of_ratios_that_have_no_parts_are_refused():
    with pytest.raises(ValueError, match='upper_edges=True are those of stratified ratios'):
        masked_collate(block_samples(), 2, stratified=False, upper_edges=True)


def numbers_of_masked_views(stratified):
    batches = [block_samples(7)[first : first + 2] for first in range(6)]
    return {int((counts(masked_collate(batch, 2, stratified=stratified)) > 0).sum()) for batch in batches}


def test_independent_ratios_mask_another_number_of_views_in_each_batch():
    assert numbers_of_masked_views(stratified=True) == {2}
    assert len(numbers_of_masked_views(stratified=False)) > 1


def borders(masks):
    return int((masks[..., 1:] != masks[..., :-1]).sum() + (masks[..., 1:, :] != masks[..., :-1, :]).sum())


def test_blocks_have_shorter_borders_than_single_patches_and_larger_blocks_the_shortest():
    settings = (dict(min_patches=12), dict(min_patches=1), dict(blocks=False))
    lengths = [
        borders(masked_collate(block_samples(40), 1, share=1.0, ratio=(0.3, 0.3), **setting).masks)
        for setting in settings
    ]
    assert lengths[0] < 0.9 * lengths[1] < 0.8 * lengths[2]


def test_inverse_blocks_leave_one_block_and_views_without_a_mask_whole():
    views = masked_collate(block_samples(), 2, share=0.5, ratio=(0.5, 0.5), inverse=True)
    assert sorted(counts(views).flatten().tolist()) == [0] * 5 + [21] * 5
    for mask in views.masks.flatten(end_dim=1):
        seen = (~mask).nonzero()
        height, width = (seen.max(0).values - seen.min(0).values + 1).tolist()
        assert (~mask).sum() > (height - 1) * width


def test_inverse_blocks_without_blocks_are_refused():
    with pytest.raises(ValueError, match='inverse=True leaves a block, but blocks=False'):
        masked_collate(block_samples(), 2, blocks=False, inverse=True)


def test_rolled_masks_have_as_many_patches_at_other_places():
    still, rolled = (masked_collate(block_samples(), 2, share=1.0, roll=roll) for roll in (False, True))
    assert torch.equal(counts(still), counts(rolled)) and not torch.equal(still.masks, rolled.masks)


def test_the_number_of_global_views_is_passed_on():
    assert masked_collate(list_samples(num_global=3, num_local=1), 4, num_global=3).masks.shape == (3, 5, 4, 3)


@pytest.mark.parametrize('stratified', [True, False])
@pytest.mark.parametrize('samples', [block_samples, list_samples])
def test_other_samples_get_other_masks_whatever_the_global_generators_say(samples, stratified):
    draw = partial(masked_collate, patch_size=1, stratified=stratified)
    first = draw(samples()).masks
    torch.manual_seed(99)
    assert torch.equal(draw(samples()).masks, first)
    assert not torch.equal(draw(samples()[::-1]).masks, first)


def test_masks_draw_nothing_from_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    masked_collate(block_samples(), 2)
    assert torch.equal(torch.get_rng_state(), before)


class Pictures:
    """Views of some of the bundled photographs, of 32 x 32 pixels."""

    paths = sorted(CIFAR.glob('*/*.jpg'))[::80]
    multi_crop = MultiCrop(global_size=32, local_size=16, num_local=1)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.multi_crop.blocks(np.asarray(Image.open(self.paths[index])))


def masks_of_an_epoch(num_workers, num_skipped=0, epoch=0):
    dataset = SeededDataset(Pictures())
    sampler = ResumableSampler(dataset, seed=3)
    sampler.set_epoch(epoch)
    sampler.skip(num_skipped)
    loader = DataLoader(
        dataset, 4, sampler=sampler, num_workers=num_workers, collate_fn=partial(masked_collate, patch_size=4)
    )
    return [views.masks for views in loader]


def equal(first, second):
    return len(first) == len(second) and all(torch.equal(one, other) for one, other in zip(first, second))


def test_workers_and_a_resumed_epoch_make_the_same_masks():
    unbroken = masks_of_an_epoch(num_workers=0)
    assert len(unbroken) == 4
    assert equal(masks_of_an_epoch(num_workers=1), unbroken)
    assert equal(masks_of_an_epoch(num_workers=2), unbroken)
    assert equal(masks_of_an_epoch(num_workers=0, num_skipped=8), unbroken[2:])
    assert equal(masks_of_an_epoch(num_workers=1, num_skipped=8), unbroken[2:])


def test_batches_and_epochs_differ_in_their_masks():
    masks = masks_of_an_epoch(num_workers=0)[:3] + masks_of_an_epoch(num_workers=0, epoch=1)[:3]
    assert len({batch.numpy().tobytes() for batch in masks}) == 6


def test_the_preprocessor_leaves_the_masks_as_they_are():
    batch = masked_collate(block_samples(), 2)
    views = ViewPreprocessor()(batch)['views']
    assert torch.equal(views.masks, batch.masks)
    assert torch.equal(views.mask_indices, batch.mask_indices)
    assert views.global_views.shape == (2, 5, 3, 14, 12)
    moved = ViewPreprocessor().to('meta')(batch)['views']
    assert moved.masks.device.type == moved.mask_indices.device.type == 'meta'


def test_a_config_names_it_and_its_arguments():
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            dataset=Pictures(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='dino_plugin.masked_collate', patch_size=16, share=1.0, ratio=(0.5, 0.5)),
        ),
        seed=0,
    )
    views = next(iter(loader))
    assert views.masks.shape == (2, 4, 2, 2)
    assert (counts(views) == 2).all()


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (dict(patch_size=0), 'patch_size=0'),
        (dict(patch_size=4, share=1.5), r'share=1\.5'),
        (dict(patch_size=4, share=-0.1), r'share=-0\.1'),
        (dict(patch_size=4, ratio=(0.5, 0.1)), r'ratio=\(0\.5, 0\.1\)'),
        (dict(patch_size=4, ratio=(0.5, 1.1)), r'ratio=\(0\.5, 1\.1\)'),
        (dict(patch_size=4, ratio=(0.3,)), r'ratio=\(0\.3,\)'),
        (dict(patch_size=4, min_patches=0), 'min_patches=0'),
    ],
)
def test_impossible_arguments_are_refused_by_name(arguments, named):
    with pytest.raises(ValueError, match=f'masked_collate: .*got .*{named}'):
        masked_collate(block_samples(), **arguments)


def test_samples_that_have_no_views_are_refused_as_without_masks():
    with pytest.raises(TypeError, match='PackViews'):
        masked_collate([dict(inputs=torch.zeros(3, 8, 8))], 4)
