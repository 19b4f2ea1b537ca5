"""The order of mmengine's sampler, seeds that never repeat, and a resume that continues where it stopped."""

import time

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, DefaultSampler

import dino_plugin.data.images.sampler as sampler_module
from dino_plugin.data.images.sampler import ResumableSampler, mix, sample_seeds


@pytest.fixture
def pretend_ranks(monkeypatch):
    def pretend(rank: int, world_size: int) -> None:
        monkeypatch.setattr(sampler_module, 'get_dist_info', lambda: (rank, world_size))
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))

    return pretend


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize(('rank', 'world_size'), [(0, 1), (0, 3), (2, 3), (4, 7)])
@pytest.mark.parametrize('length', [1, 2, 10, 101])
def test_the_order_is_that_of_mmengines_sampler(pretend_ranks, shuffle, round_up, rank, world_size, length):
    pretend_ranks(rank, world_size)
    ours = ResumableSampler(range(length), shuffle=shuffle, seed=5, round_up=round_up)
    theirs = DefaultSampler(range(length), shuffle=shuffle, seed=5, round_up=round_up)
    for epoch in (0, 1, 7):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        assert [index for index, _ in ours] == list(theirs)
    if round_up:
        assert len(ours) == len(theirs)


def test_length_is_what_a_pass_yields_on_every_rank(pretend_ranks):
    for round_up in (True, False):
        for world_size in (1, 2, 3, 8):
            for rank in range(world_size):
                pretend_ranks(rank, world_size)
                sampler = ResumableSampler(range(13), seed=0, round_up=round_up)
                assert len(list(sampler)) == len(sampler)


def test_ranks_partition_the_epoch(pretend_ranks):
    keys = []
    for rank in range(2):
        pretend_ranks(rank, 2)
        keys.append(list(ResumableSampler(range(100), seed=1)))
    assert sorted(index for shard in keys for index, _ in shard) == list(range(100))
    pretend_ranks(0, 1)
    whole = list(ResumableSampler(range(100), seed=1))
    assert [keys[position % 2][position // 2] for position in range(100)] == whole  # seeds included


def test_no_two_samples_of_a_run_share_a_seed():
    sampler = ResumableSampler(range(1000), seed=3)
    seeds = set()
    for epoch in range(100):
        sampler.set_epoch(epoch)
        seeds.update(seed for _, seed in sampler)
    assert len(seeds) == 100 * 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_another_run_seed_gives_other_seeds():
    first = {seed for _, seed in ResumableSampler(range(1000), seed=0)}
    second = {seed for _, seed in ResumableSampler(range(1000), seed=1)}
    assert not first & second


def test_the_same_arguments_give_the_same_keys():
    assert list(ResumableSampler(range(50), seed=9)) == list(ResumableSampler(range(50), seed=9))


def test_the_bits_of_neighbouring_seeds_are_unrelated():
    seeds = sample_seeds(0, 0, np.arange(20_000))
    bits = (seeds[:, None] >> np.arange(63, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.02  # five standard deviations of a fair coin
    changed = (bits[1:] != bits[:-1]).mean(axis=0)
    assert np.abs(changed - 0.5).max() < 0.02


def test_mixing_is_invertible():
    values = np.random.default_rng(0).integers(0, 2**63, 1000, dtype=np.uint64)

    def invert_shift(mixed: np.ndarray, shift: int) -> np.ndarray:
        values = mixed
        for _ in range(3):
            values = mixed ^ (values >> np.uint64(shift))
        return values

    mask = np.uint64(2**63 - 1)
    undone = invert_shift(mix(values), 31)
    undone = undone * np.uint64(pow(0x94D049BB133111EB, -1, 2**64)) & mask
    undone = invert_shift(undone, 27) * np.uint64(pow(0xBF58476D1CE4E5B9, -1, 2**64)) & mask
    undone = (invert_shift(undone, 30) - np.uint64(0x1E3779B97F4A7C15)) & mask
    assert np.array_equal(undone, values)


@pytest.mark.parametrize('num_skipped', [0, 1, 17, 50])
def test_after_a_skip_the_pass_continues_where_an_unbroken_one_would_be(pretend_ranks, num_skipped):
    pretend_ranks(1, 2)
    unbroken = ResumableSampler(range(100), seed=4)
    unbroken.set_epoch(3)
    resumed = ResumableSampler(range(100), seed=4)
    resumed.set_epoch(3)
    resumed.skip(num_skipped)
    assert len(resumed) == len(unbroken) == 50
    assert list(resumed) == list(unbroken)[num_skipped:]


def test_a_skip_shortens_one_pass_only():
    sampler = ResumableSampler(range(20), seed=0)
    whole = list(sampler)
    sampler.skip(15)
    assert list(sampler) == whole[15:]
    assert list(sampler) == whole


def test_a_skip_belongs_to_the_pass_that_begins_next_even_if_nothing_is_drawn_yet():
    sampler = ResumableSampler(range(20), seed=0)
    sampler.skip(15)
    first, second = iter(sampler), iter(sampler)
    assert len(list(second)) == 20
    assert len(list(first)) == 5


@pytest.mark.parametrize('num_samples', [-1, 21])
def test_a_skip_beyond_the_pass_is_refused(num_samples):
    with pytest.raises(ValueError, match='set_epoch'):
        ResumableSampler(range(20), seed=0).skip(num_samples)


def test_without_a_seed_one_is_drawn():
    sampler = ResumableSampler(range(5))
    assert isinstance(sampler.seed, int)


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match='empty'):
        ResumableSampler([], seed=0)


def test_an_mmengine_dataset_that_would_not_understand_the_keys_is_refused():
    with pytest.raises(TypeError, match=r'dino_plugin\.SeededDataset'):
        ResumableSampler(BaseDataset(lazy_init=True), seed=0)


def test_a_million_samples_begin_at_once():
    sampler = ResumableSampler(range(1_300_000), seed=0)
    start = time.process_time()
    index, seed = next(iter(sampler))
    assert time.process_time() - start < 2
    assert type(index) is int
    assert type(seed) is int


def test_keys_pass_through_a_dataloader():
    class Keys(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, key):
            return key

    dataset = Keys()
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=3, drop_last=True, sampler=ResumableSampler(dataset, seed=0), collate_fn=list
    )
    batches = list(loader)
    assert [key for batch in batches for key in batch] == list(ResumableSampler(dataset, seed=0))[:9]
