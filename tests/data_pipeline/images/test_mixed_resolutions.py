"""One pipeline for each batch: every rank the same, drawn by the odds, and the same again in a resumed run."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from image_folders import CIFAR, add_noise, copy_images, load
from small_training import build_runner, small_config
from torch.utils.data import DataLoader, Dataset

import dino_plugin.data.images.sampler as sampler_module
from dino_plugin.data.collate import masked_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.mixed_sampler import MixedBatchSampler
from dino_plugin.data.images.multi_pipeline_dataset import MultiPipelineDataset
from dino_plugin.data.images.sampler import ResumableSampler
from dino_plugin.data.images.seeded_dataset import SeededDataset

ODDS = (0.3, 0.3, 0.3, 0.05, 0.05)  # DINOv3's
SIZES = ((48, 16), (32, 24), (32, 16))


class Images(Dataset):
    """So many images and pipelines, without any."""

    def __init__(self, num_images: int, num_pipelines: int) -> None:
        self.num_images, self.num_pipelines = num_images, num_pipelines

    def __len__(self) -> int:
        return self.num_images * self.num_pipelines

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key


def views_of(global_size: int, local_size: int) -> list[dict]:
    return [
        dict(type='dino_plugin.LoadImage'),
        dict(type='dino_plugin.MultiCrop', global_size=global_size, local_size=local_size, num_local=2),
        dict(type='dino_plugin.PackViews'),
    ]


def dataset(pipelines: list, **images) -> SeededDataset:
    images = dict(data_root=str(CIFAR), indices=60) | images
    return SeededDataset(MultiPipelineDataset(dict(type='dino_plugin.ImageDataset', **images), pipelines))


def choices_of(sampler: MixedBatchSampler) -> list[list[int]]:
    """By batch, by image."""
    found = [index // len(sampler.dataset) for index, _ in sampler]
    return [found[start : start + sampler.batch_size] for start in range(0, len(found), sampler.batch_size)]


@pytest.fixture
def pretend_ranks(monkeypatch):
    return lambda rank, size: monkeypatch.setattr(sampler_module, 'get_dist_info', lambda: (rank, size))


@pytest.mark.parametrize(('odds', 'batch_size'), [(ODDS, 7), ((0.5, 0.5), 4), ((1.0,), 3)])
def test_a_batch_has_one_pipeline_and_pipelines_come_as_often_as_the_odds_say(odds, batch_size):
    sampler = MixedBatchSampler(Images(20_000, len(odds)), odds, batch_size, seed=3)
    counts = Counter()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = choices_of(sampler)
        assert all(len(set(batch)) == 1 for batch in batches)
        counts.update(batch[0] for batch in batches)
    total = sum(counts.values())
    expected = np.array(odds) * total
    statistic = sum((counts[c] - expected[c]) ** 2 / expected[c] for c in range(len(odds)))
    assert statistic < 20  # of four degrees of freedom at most: once in two thousand times by chance


def test_a_pipeline_of_no_odds_never_comes_first_last_or_in_the_middle():
    for odds in ((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)):
        batches = choices_of(MixedBatchSampler(Images(20_000, 3), odds, 4, seed=0))
        assert {batch[0] for batch in batches} == {choice for choice in range(3) if odds[choice]}


def test_neighbouring_batches_and_epochs_are_unrelated():
    sampler = MixedBatchSampler(Images(16_000, 2), (0.5, 0.5), 2, seed=0)
    drawn = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        drawn.append(np.array(choices_of(sampler))[:, 0])
    for first, second in ((drawn[0][1:], drawn[0][:-1]), (drawn[0], drawn[1])):
        assert abs((first == second).mean() - 0.5) < 0.03  # five standard deviations of 8,000 coins


def test_images_and_seeds_are_those_of_the_plain_sampler():
    mixed, plain = MixedBatchSampler(Images(101, 5), ODDS, 8, seed=5), ResumableSampler(range(101), seed=5)
    for epoch in (0, 4):
        mixed.set_epoch(epoch)
        plain.set_epoch(epoch)
        assert [(index % 101, seed) for index, seed in mixed] == list(plain)
    assert len(mixed) == len(plain) == 101


def test_ranks_draw_the_same_pipelines_and_different_images(pretend_ranks):
    choices, images = [], []
    for rank in range(2):
        pretend_ranks(rank, 2)
        sampler = MixedBatchSampler(Images(1000, 5), ODDS, 8, seed=1)
        sampler.set_epoch(3)
        choices.append(choices_of(sampler))
        images.append({index % 1000 for index, _ in sampler})
    assert choices[0] == choices[1]
    assert len({batch[0] for batch in choices[0]}) == 5
    assert not images[0] & images[1]


@pytest.mark.parametrize('num_batches', [0, 1, 5, 12])
def test_after_a_skip_the_pass_continues_where_an_unbroken_one_would_be(num_batches):
    unbroken, resumed = (MixedBatchSampler(Images(100, 5), ODDS, 8, seed=4) for _ in range(2))
    for sampler in (unbroken, resumed):
        sampler.set_epoch(2)
    resumed.skip(num_batches * 8)
    assert list(resumed) == list(unbroken)[num_batches * 8 :]
    assert list(resumed) == list(unbroken)  # of the next pass nothing is skipped


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_dataloader_gives_batches_of_one_size_and_the_same_ones_when_resumed(num_workers):
    images = dataset([views_of(*sizes) for sizes in SIZES])

    def batches(num_skipped: int = 0) -> list:
        sampler = MixedBatchSampler(images, (0.4, 0.3, 0.3), 4, seed=2)
        sampler.set_epoch(1)
        sampler.skip(num_skipped)
        collate = lambda samples: masked_collate(samples, patch_size=8)  # noqa: E731
        return list(DataLoader(images, 4, sampler=sampler, num_workers=num_workers, collate_fn=collate))

    whole, rest = batches(), batches(num_skipped=6 * 4)
    sizes = [(views.global_views.shape[2], views.local_views.shape[2]) for views in whole]
    assert len(whole) == 15
    assert set(sizes) == set(SIZES)
    assert all(views.masks.shape[2] == size // 8 for views, (size, _) in zip(whole, sizes))
    for ours, theirs in zip(rest, whole[6:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours[:4], theirs[:4], strict=True))


def test_each_item_is_an_image_through_a_pipeline():
    names = [lambda results, name=name: (name, Path(results['img_path']).name) for name in 'abc']
    images = MultiPipelineDataset(ImageDataset(CIFAR, indices=5), [[name] for name in names])
    files = [Path(images.get_data_info(index)['img_path']).name for index in range(5)]
    assert [images[index] for index in range(len(images))] == [(name, file) for name in 'abc' for file in files]
    assert images.metainfo == ImageDataset(CIFAR, indices=5).metainfo


class TestUndecodableFiles:
    def folder(self, tmp_path: Path, num_bad: int = 1) -> Path:
        copy_images(tmp_path, *(f'{number:03}.jpg' for number in range(10)))
        for number in range(num_bad):
            (tmp_path / f'{number:03}.jpg').write_bytes(b'')
        return tmp_path

    def seeded(self, folder: Path, num_pipelines: int = 3, **options) -> SeededDataset:
        def marked(number: int):
            return [load, add_noise, lambda results: (number, results['img_path'], results['noise'])]

        images = MultiPipelineDataset(ImageDataset(folder), [marked(number) for number in range(num_pipelines)])
        return SeededDataset(images, **options)

    def test_another_image_through_the_same_pipeline_takes_the_place(self, tmp_path):
        images = self.seeded(self.folder(tmp_path))
        for choice in range(3):
            taken = {images[choice * 10, seed][:2] for seed in range(30)}
            assert {number for number, _ in taken} == {choice}
            assert len(taken) > 5
            assert images[choice * 10, 4] == images[choice * 10, 4]

    def test_a_file_counts_once_whichever_the_pipeline(self, tmp_path):
        images = self.seeded(self.folder(tmp_path, num_bad=2), max_undecodable=0.2)
        for index in range(len(images)):
            _ = images[index, 0]
        assert (images.num_images, len(images), images.num_undecodable) == (10, 30, 2)
        assert images.undecodable_paths == [str(tmp_path / '000.jpg'), str(tmp_path / '001.jpg')]

    def test_the_share_that_is_tolerated_is_one_of_the_files(self, tmp_path):
        images = self.seeded(self.folder(tmp_path, num_bad=2), max_undecodable=0.1)  # 1 of 10, though 3 of 30
        _ = images[20, 0], images[10, 0]
        with pytest.raises(RuntimeError, match='2 of 10 files cannot be decoded'):
            _ = images[11, 0]


def test_what_does_not_fit_together_is_refused():
    images = dataset([views_of(32, 16)] * 2)
    for odds, message in (
        ((1.0,), '1 odds for 2 pipelines'),
        ((0.5, 0.4), 'must be probabilities, which sum to 1'),
        ((-0.5, 1.5), 'must be probabilities'),
    ):
        with pytest.raises(ValueError, match=message):
            MixedBatchSampler(images, odds, 4)
    with pytest.raises(ValueError, match='batch_size=0 must be at least 1'):
        MixedBatchSampler(images, (0.5, 0.5), 0)
    with pytest.raises(TypeError, match=r'MultiPipelineDataset does not say .*dino_plugin\.SeededDataset'):
        MixedBatchSampler(images.dataset, (0.5, 0.5), 4)
    MixedBatchSampler(images, (1 / 3, 2 / 3 - 1e-7), 4)  # rounded
    with pytest.raises(ValueError, match='a pipeline of its own'):
        MultiPipelineDataset(ImageDataset(CIFAR, pipeline=[load], indices=3), [[load]])
    with pytest.raises(ValueError, match='no pipelines'):
        MultiPipelineDataset(ImageDataset(CIFAR, indices=3), [])
    with pytest.raises(TypeError, match=r'list has no get_data_info; .*ImageDataset'):
        MultiPipelineDataset([1, 2], [[load]])


def mixed_config(work_dir, batch_size=16, **changes):
    config = small_config(work_dir, train_dataloader__batch_size=batch_size, **changes)
    config.train_cfg = dict(type='dino_plugin.ResumableIterLoop', max_iters=4)
    config.default_hooks.checkpoint.interval = 2
    config.train_dataloader.sampler = dict(type='dino_plugin.MixedBatchSampler', odds=(0.5, 0.5), batch_size=16)
    config.train_dataloader.dataset.dataset = dict(
        type='dino_plugin.MultiPipelineDataset',
        dataset=dict(type='dino_plugin.ImageDataset', data_root=str(CIFAR), indices=100),
        pipelines=[views_of(32, 16), views_of(48, 24)],
    )
    return config


def watched(config):
    """The runner, and sizes and losses of its steps."""
    runner, seen = build_runner(config), []
    step = runner.model.train_step

    def train_step(data, optim_wrapper):
        outputs = step(data, optim_wrapper)
        seen.append((data.global_views.shape[2], data.local_views.shape[2], outputs['loss'].item()))
        return outputs

    runner.model.train_step = train_step
    return runner, seen


def test_a_training_with_two_sizes_resumes_bit_for_bit(tmp_path):
    unbroken, whole = watched(mixed_config(tmp_path / 'unbroken'))
    unbroken.train()
    assert {sizes[:2] for sizes in whole} == {(32, 16), (48, 24)}
    checkpoint = str(tmp_path / 'unbroken/iter_2.pth')
    resumed, rest = watched(mixed_config(tmp_path / 'resumed', resume=True, load_from=checkpoint))
    resumed.train()
    assert rest == whole[2:]
    assert all(map(torch.equal, resumed.model.state_dict().values(), unbroken.model.state_dict().values()))


def test_another_batch_size_in_the_dataloader_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match='MixedBatchSampler has batch_size=16, the dataloader 8'):
        build_runner(mixed_config(tmp_path, batch_size=8)).train()
