"""Both directions, with the real Lightly: its data feed our batches, our data feed its loss."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from bundled import CIFAR
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.collate import (
    DINOCollateFunction,
    MultiViewCollate,
    multi_crop_collate,
    views_from_lightly,
    views_to_lightly,
)
from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.images.sampler import ResumableSampler
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.lightly.adapters import LightlyDataset
from dino_plugin.data.multi_crop import MultiCrop
from dino_plugin.data.preprocessor import ViewPreprocessor

lightly_data = pytest.importorskip('lightly.data', reason='Lightly is not installed: pip install lightly')
from lightly.data.multi_view_collate import MultiViewCollate as LightlyMultiViewCollate  # noqa: E402
from lightly.loss import DINOLoss  # noqa: E402
from lightly.models.modules import DINOProjectionHead  # noqa: E402
from lightly.transforms import DINOTransform  # noqa: E402

SMALL = dict(global_crop_size=32, local_crop_size=16, n_local_views=4)


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> str:
    """A small folder with two classes."""
    folder = tmp_path_factory.mktemp('images')
    for label in ('cat', 'ship'):
        (folder / label).mkdir()
        for path in sorted((CIFAR / label).glob('*.jpg'))[:10]:
            (folder / label / path.name).write_bytes(path.read_bytes())
    return str(folder)


@pytest.fixture(scope='module')
def samples(images) -> list[tuple]:
    dataset = lightly_data.LightlyDataset(images, transform=DINOTransform(**SMALL))
    return [dataset[index] for index in range(5)]


def assert_same_batch(ours: tuple, theirs: tuple) -> None:
    assert len(ours[0]) == len(theirs[0])
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(ours[1], theirs[1])
    assert ours[1].dtype == theirs[1].dtype
    assert ours[2] == theirs[2]
    assert [type(part) for part in ours] == [type(part) for part in theirs]


def test_multi_view_collate_gives_what_lightlys_gives(samples):
    assert_same_batch(MultiViewCollate()(samples), LightlyMultiViewCollate()(samples))


def test_both_warn_about_an_empty_batch_and_return_the_same():
    with pytest.warns(UserWarning, match='empty batch'):
        theirs = LightlyMultiViewCollate()([])
    with pytest.warns(UserWarning, match='empty batch'):
        ours = MultiViewCollate()([])
    assert_same_batch(ours, theirs)


def test_the_adapters_undo_each_other_on_a_lightly_batch(samples):
    batch = LightlyMultiViewCollate()(samples)
    assert_same_batch(views_to_lightly(views_from_lightly(batch), batch[1], batch[2]), batch)


def test_the_dataset_is_built_from_a_config(images):
    transform = dict(type='lightly.transforms.DINOTransform', **SMALL)
    dataset = DATASETS.build(dict(type='dino_plugin.LightlyDataset', input_dir=images, transform=transform))
    assert isinstance(dataset, lightly_data.LightlyDataset)
    views, label, filename = dataset[0]
    assert [tuple(view.shape) for view in views] == [(3, 32, 32)] * 2 + [(3, 16, 16)] * 4
    assert label == 0
    assert filename.startswith('cat/')


def test_a_transform_may_be_a_callable_or_absent(images):
    assert LightlyDataset(images, transform=MultiCrop(32, local_size=16, num_local=1))[0][0][2].shape == (3, 16, 16)
    assert LightlyDataset(images)[0][0].size == (32, 32)


@pytest.mark.parametrize('folder', ['', 'scans'])  # two classes of Lightly's and torchvision's
def test_files_of_sixteen_bits_keep_their_levels(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    path = tmp_path / folder / 'ramp.png'
    Image.fromarray(np.linspace(0, 65535, 1024).reshape(32, 32).astype(np.uint16)).save(path)
    dataset = LightlyDataset(str(tmp_path))
    assert type(dataset.dataset).__name__ == ('ImageFolder' if folder else 'DatasetFolder')
    assert np.array_equal(dataset[0][0], read_image(path))


def test_other_arguments_reach_lightly(images):
    names = [path.relative_to(images).as_posix() for path in sorted(Path(images).glob('*/*'))[::5]]
    assert len(LightlyDataset(images, filenames=names)) == 4


@pytest.mark.parametrize('num_workers', [0, 2])
def test_lightlys_dataset_and_transform_feed_our_batches(images, num_workers):
    dataset = SeededDataset(LightlyDataset(images, transform=dict(type='lightly.transforms.DINOTransform', **SMALL)))
    sampler = ResumableSampler(dataset, seed=0)
    loader = DataLoader(
        dataset, batch_size=5, sampler=sampler, num_workers=num_workers, collate_fn=multi_crop_collate, drop_last=True
    )
    batches = [ViewPreprocessor()(batch)['views'] for batch in loader]
    assert len(batches) == 4
    for views in batches:
        assert isinstance(views, ViewBatch)
        assert views.global_views.shape == (2, 5, 3, 32, 32)
        assert views.local_views.shape == (4, 5, 3, 16, 16)
        assert views.global_views.dtype == torch.float32


def test_lightlys_transform_is_a_function_of_the_key_too(images):
    def first_batch(num_workers: int) -> ViewBatch:
        dataset = SeededDataset(LightlyDataset(images, transform=DINOTransform(**SMALL)))
        loader = DataLoader(
            dataset,
            batch_size=5,
            sampler=ResumableSampler(dataset, seed=0),
            num_workers=num_workers,
            collate_fn=multi_crop_collate,
        )
        return next(iter(loader))

    one, other = first_batch(0), first_batch(2)
    assert torch.equal(one.global_views, other.global_views)
    assert torch.equal(one.local_views, other.local_views)


def test_an_undecodable_file_of_a_lightly_dataset_is_replaced_and_named(images, tmp_path):
    for path in sorted(Path(images).glob('cat/*'))[:4]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'broken.jpg').write_bytes(path.read_bytes()[:200])
    dataset = SeededDataset(LightlyDataset(str(tmp_path), transform=DINOTransform(**SMALL)))
    batch = multi_crop_collate([dataset[index, index] for index in range(5)])
    assert batch.global_views.shape[1] == 5
    assert dataset.undecodable_paths == [str(tmp_path / 'broken.jpg')]


def test_a_whole_dataloader_is_built_from_a_config(images):
    loader = Runner.build_dataloader(
        dict(
            batch_size=5,
            num_workers=1,
            drop_last=True,
            sampler=dict(type='dino_plugin.ResumableSampler', shuffle=True),
            collate_fn=dict(type='dino_plugin.multi_crop_collate', num_global=2),
            dataset=dict(
                type='dino_plugin.SeededDataset',
                dataset=dict(
                    type='dino_plugin.LightlyDataset',
                    input_dir=images,
                    transform=dict(type='lightly.transforms.DINOTransform', **SMALL),
                ),
            ),
        ),
        seed=3,
    )
    assert loader.sampler.seed == 3
    batches = list(loader)
    assert len(batches) == 4
    assert batches[0].local_views.shape == (4, 5, 3, 16, 16)


class Encoder(torch.nn.Module):
    """Any network will do for the contract."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 4, 4), torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        self.head = DINOProjectionHead(16, 32, 16, 64)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))


def assert_trains_with_lightlys_loss(batch: tuple) -> None:
    """A loop as in Lightly's examples, two global views for the teacher, all views for the student, on one batch.

    The teacher stays as it is, and so does the centre: the loss can only fall by learning its targets.
    """
    views, _, _ = batch
    torch.manual_seed(0)
    student, teacher = Encoder(), Encoder()
    criterion = DINOLoss(output_dim=64, center_momentum=1.0)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01)
    with torch.no_grad():
        targets = [teacher(view) for view in views[:2]]
    losses = []
    for _ in range(20):
        loss = criterion(targets, [student(view) for view in views], teacher_temp=0.04, epoch=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.6 * losses[0]  # at most 0.4 in twenty trials with other seeds and images


def test_our_views_and_collate_train_lightlys_loss(images):
    dataset = lightly_data.LightlyDataset(images, transform=MultiCrop(32, local_size=16, num_local=4))
    loader = DataLoader(dataset, batch_size=10, collate_fn=MultiViewCollate())
    random.seed(0)
    assert_trains_with_lightlys_loss(next(iter(loader)))


def test_our_old_style_collate_trains_lightlys_loss(images):
    collate = DINOCollateFunction(32, local_crop_size=16, n_local_views=4)
    loader = DataLoader(lightly_data.LightlyDataset(images), batch_size=10, collate_fn=collate)
    random.seed(0)
    assert_trains_with_lightlys_loss(next(iter(loader)))


def test_our_fast_blocks_train_lightlys_loss_through_the_adapter(images):
    multi_crop = MultiCrop(32, local_size=16, num_local=4)
    plain = lightly_data.LightlyDataset(images)
    random.seed(0)
    blocks = [multi_crop.blocks(np.array(plain[index][0])) for index in range(10)]
    views = ViewPreprocessor()(multi_crop_collate(blocks))['views']
    assert_trains_with_lightlys_loss(views_to_lightly(views))
