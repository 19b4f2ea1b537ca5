"""Orders that read few shards at a time, and draws from several sources: counts, odds, and the same when resumed."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset

import dino_plugin.data.images.sampler as sampler_module
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.sources.shard_sampler import ShardSampler, WindowOrder
from dino_plugin.data.sources.source_sampler import SourceSampler


class Shards:
    """Numbers in place of images."""

    def __init__(self, *sizes: int) -> None:
        self.starts = np.cumsum([0, *sizes])[:-1]
        self.num_images = sum(sizes)

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> int:
        return index


class Sources:
    """As mmengine's ConcatDataset."""

    def __init__(self, *datasets) -> None:
        self.datasets = datasets

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    __getitem__ = Shards.__getitem__


@pytest.fixture
def pretend_ranks(monkeypatch):
    return lambda rank, size: monkeypatch.setattr(sampler_module, 'get_dist_info', lambda: (rank, size))


def interleaved(parts: list[list]) -> list:
    return [key for row in zip(*parts) for key in row]


def test_a_window_is_some_whole_shards_and_an_epoch_every_image_once():
    sizes = [7, 0, 12, 9, 30, 1, 8, 5]
    shard_of = np.repeat(np.arange(8), sizes)
    sampler = ShardSampler(Shards(*sizes), window=3, seed=4)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append([index for index, _ in sampler])
        assert sorted(orders[-1]) == list(range(72))
        place = 0
        for _ in range(3):  # windows, each until the shards that it has begun are at their end
            there = set()
            while place < 72 and len(there | {shard_of[orders[-1][place]]}) <= 3:
                there.add(shard_of[orders[-1][place]])
                place += 1
        assert place == 72
    assert orders[0] != orders[1] != orders[2]


def test_ranks_share_an_epoch_and_a_resumed_run_draws_the_rest(pretend_ranks):
    """Shards, and sources with odds; on another number of ranks, too."""
    sources = Sources(Shards(20, 20, 20), Shards(*[7] * 5), range(11))
    kinds = dict(batches=[(0.7, (3, 1, 0)), (0.3, (0, 0, 1))], window=2, seed=1)
    for make in (
        lambda size: ShardSampler(sources.datasets[0], window=2, seed=1),
        lambda size: SourceSampler(sources, batch_size=12 // size, **kinds),
    ):
        found = {}
        for size in (1, 2, 3):
            parts = []
            for rank in range(size):
                pretend_ranks(rank, size)
                sampler = make(size)
                sampler.set_epoch(2)
                parts.append(list(sampler))
                sampler.start_at(24)
                assert list(sampler) == parts[-1][24 // size :]
                assert len(list(sampler)) == len(sampler) == len(parts[-1])
            found[size] = interleaved(parts)
        number = len(make(1).dataset)
        assert found[1] == found[2][:number] == found[3][:number]
        assert len({seed for _, seed in found[1]}) == number


def test_every_image_has_every_time_of_an_epoch_and_neighbours_are_as_stated():
    """20 shards of 20: an image's mean place is the middle, and neighbours share a shard as in a window of 4."""
    places, same_shard, runs = np.zeros(400), 0, 300
    for epoch in range(runs):
        order = WindowOrder(np.arange(0, 400, 20), 400, 4, [0, epoch])(np.arange(400))
        places[order] += np.arange(400)
        same_shard += sum(first // 20 == second // 20 for first, second in pairwise(order.tolist()))
    deviation = np.sqrt(400**2 / 12 / runs)
    assert abs(places / runs - 199.5).max() < 4.5 * deviation  # of 400 means
    assert same_shard / runs / 399 == pytest.approx(19 / 79 * 395 / 399, abs=0.01)  # 4 pairs lie in two windows


def test_shards_of_one_window_are_drawn_from_all_pairs():
    """Two shards meet in a window of k of n shards with probability (k - 1) / (n - 1)."""
    together, window_of_2 = 0, np.zeros(3)
    for epoch in range(2000):
        order = WindowOrder(np.arange(9), 9, 3, [5, epoch])(np.arange(9)).tolist()
        together += order.index(2) // 3 == order.index(6) // 3
        window_of_2[order.index(2) // 3] += 1
    assert together / 2000 == pytest.approx(2 / 8, abs=0.04)
    assert window_of_2 / 2000 == pytest.approx([1 / 3] * 3, abs=0.04)


def test_draws_follow_the_odds_and_a_source_gives_each_image_before_any_again():
    sources = Sources(range(3000), range(1000), range(50))
    sampler = SourceSampler(sources, [(0.8, (3, 1, 0)), (0.2, (0, 0, 1))], 10, seed=0)
    keys = [index for epoch in range(4) if sampler.set_epoch(epoch) is None for index, _ in sampler]
    source = np.searchsorted([3000, 4000], keys, side='right')
    shares = np.bincount(source) / len(keys)
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.035)
    first_epoch = np.array(keys[:4050]), source[:4050]
    kinds = (first_epoch[1].reshape(-1, 10) == 2).mean(axis=1)
    assert set(kinds) == {0.0, 1.0}  # whole batches of the last source
    for number, size in enumerate((3000, 1000, 50)):
        drawn = first_epoch[0][first_epoch[1] == number].tolist()
        counts = Counter(drawn).values()
        assert max(counts) == -(-len(drawn) // size) and (len(drawn) < size or min(counts) == len(drawn) // size)
        assert sorted(drawn[:size]) != drawn[:size]
    last = first_epoch[0][first_epoch[1] == 2]
    assert last[:50].tolist() != last[50:100].tolist()


def test_whole_batches_of_one_source_are_odds_of_one_source():
    sampler = SourceSampler(Sources(range(100), range(60)), [(0.5, (1, 0)), (0.5, (0, 1))], 8, window=2, seed=3)
    batches = (np.array([index for index, _ in sampler]) < 100).reshape(-1, 8)
    assert set(batches.mean(axis=1)) == {0.0, 1.0}


def test_what_does_not_fit_is_refused(twelve_images):
    two = Sources(range(5), range(5))
    for batches, message in (
        ([(1.0, (1, 1, 1))], r'odds \(1, 1, 1\): expected 2 numbers'),
        ([(1.0, (0, 0))], 'not all 0'),
        ([(1.0, (1, -1))], '0 or more'),
        ([(0.5, (1, 1))], 'must sum to 1'),
        ([], r'probabilities of batches \(\): expected'),
    ):
        with pytest.raises(ValueError, match=message):
            SourceSampler(two, batches, 4)
    with pytest.raises(ValueError, match='batch_size=0'):
        SourceSampler(two, [(1, (1, 1))], 0)
    with pytest.raises(ValueError, match='window=0 is a number of shards'):
        ShardSampler(Shards(3), window=0)
    images = SeededDataset(ConcatDataset([ImageDataset(twelve_images), ImageDataset(twelve_images)]))
    with pytest.raises(TypeError, match='ImageDataset and ImageDataset has no shards'):
        ShardSampler(images)
    assert len(SourceSampler(images, [(1, (1, 3))], 4)) == 24
