"""Batches hold exactly the views of their samples, in the documented order, whichever ecosystem made them."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dino_plugin.core.views import ViewBatch
from dino_plugin.data.collate import (
    DINOCollateFunction,
    MultiViewCollate,
    image_collate,
    multi_crop_collate,
    multi_view_collate,
    views_from_lightly,
    views_to_lightly,
)
from dino_plugin.data.multi_crop import MultiCrop

CIFAR = Path(__file__).parents[1] / 'data/cifar10_mini/test'
PICTURES = sorted(CIFAR.glob('*/*.jpg'))[::100]


def block(views: int, rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (views, rows, columns, 3), dtype=torch.uint8, generator=generator)


def block_samples(batch: int = 5, num_local: int = 6) -> list[tuple]:
    return [(block(2, 14, 12, n), block(num_local, 8, 6, 99 - n) if num_local else None) for n in range(batch)]


def list_samples(batch: int = 5, num_global: int = 2, num_local: int = 4) -> list[tuple]:
    torch.manual_seed(0)
    sizes = [(14, 12)] * num_global + [(8, 6)] * num_local
    return [([torch.randn(3, *size) for size in sizes], n, f'{n}.jpg') for n in range(batch)]


class TestBlocks:
    def test_views_come_first_and_the_batch_second(self):
        samples = block_samples()
        batch = multi_crop_collate(samples)
        assert isinstance(batch, ViewBatch)
        for n, (global_block, local_block) in enumerate(samples):
            assert torch.equal(batch.global_views[:, n], global_block)
            assert torch.equal(batch.local_views[:, n], local_block)
        assert batch.global_views.shape == (2, 5, 14, 12, 3)
        assert batch.local_views.shape == (6, 5, 8, 6, 3)

    def test_without_local_views_there_is_no_local_block(self):
        assert multi_crop_collate(block_samples(num_local=0)).local_views is None

    def test_the_batch_is_written_once_views_and_batch_change_places_by_stride(self):
        batch = multi_crop_collate(block_samples())
        assert batch.global_views.transpose(0, 1).is_contiguous()

    def test_from_a_worker_the_batch_arrives_in_shared_memory(self):
        samples = block_samples()
        (batch,) = DataLoader(samples, batch_size=5, num_workers=1, collate_fn=multi_crop_collate)
        assert isinstance(batch, ViewBatch)
        assert batch.global_views.is_shared()
        assert torch.equal(batch.local_views, multi_crop_collate(samples).local_views)

    def test_the_blocks_of_multi_crop_are_understood(self):
        multi_crop = MultiCrop(global_size=32, local_size=16, num_local=3)
        images = [np.asarray(Image.open(path)) for path in PICTURES]
        batch = multi_crop_collate([multi_crop.blocks(image) for image in images])
        assert batch.global_views.shape == (2, len(images), 32, 32, 3)
        assert batch.local_views.shape == (3, len(images), 16, 16, 3)

    def test_a_single_global_view_is_too_few(self):
        with pytest.raises(ValueError, match=r'1 view .*MultiCrop'):
            multi_crop_collate([(block(1, 8, 8, 0), None)] * 2)

    def test_a_global_and_a_local_view_are_enough(self):
        batch = multi_crop_collate([(block(1, 8, 8, 0), block(1, 4, 4, 1))] * 2)
        assert batch.global_views.shape[0] == batch.local_views.shape[0] == 1

    def test_some_samples_without_local_views_are_refused(self):
        with pytest.raises(ValueError, match='1 of 3 samples have no local views'):
            multi_crop_collate([*block_samples(2), (block(2, 14, 12, 0), None)])

    @pytest.mark.parametrize('kind', ['global', 'local'])
    def test_different_sizes_in_one_batch_are_named(self, kind):
        odd = (block(2, 16, 16, 0), block(6, 8, 6, 0)) if kind == 'global' else (block(2, 14, 12, 0), block(6, 9, 9, 0))
        with pytest.raises(ValueError, match=f'{kind} views of different shapes .*{odd[kind == "local"].shape[1]}'):
            multi_crop_collate([*block_samples(2), odd])


class TestLists:
    @pytest.mark.parametrize(('num_global', 'num_local'), [(2, 4), (1, 3), (2, 0), (3, 1)])
    def test_the_first_views_are_global_and_the_rest_local(self, num_global, num_local):
        samples = list_samples(num_global=num_global, num_local=num_local)
        batch = multi_crop_collate(samples, num_global=num_global)
        for n, (views, _, _) in enumerate(samples):
            assert torch.equal(batch.global_views[:, n], torch.stack(views[:num_global]))
            if num_local:
                assert torch.equal(batch.local_views[:, n], torch.stack(views[num_global:]))
        assert (batch.local_views is None) == (num_local == 0)

    def test_samples_of_views_and_label_only_are_served(self):
        samples = list_samples()
        batch = multi_crop_collate([(views, label) for views, label, _ in samples])
        assert torch.equal(batch.global_views, multi_crop_collate(samples).global_views)

    def test_from_a_worker_they_arrive_in_shared_memory(self):
        samples = list_samples()
        (batch,) = DataLoader(samples, batch_size=5, num_workers=1, collate_fn=multi_crop_collate)
        assert batch.global_views.is_shared()
        assert torch.equal(batch.local_views, multi_crop_collate(samples).local_views)

    def test_a_single_view_is_too_few(self):
        with pytest.raises(ValueError, match=r'1 view .*multi-view'):
            multi_crop_collate(list_samples(num_global=1, num_local=0))

    @pytest.mark.parametrize('num_global', [1, 3])
    def test_a_wrong_number_of_global_views_names_sizes_and_cure(self, num_global):
        with pytest.raises(ValueError, match=r'3, 14, 12.*num_global|3, 8, 6.*num_global'):
            multi_crop_collate(list_samples(), num_global=num_global)

    @pytest.mark.parametrize('num_global', [0, 7])
    def test_an_impossible_number_of_global_views_is_refused(self, num_global):
        with pytest.raises(ValueError, match='expected 1 to 6'):
            multi_crop_collate(list_samples(), num_global=num_global)

    def test_samples_with_different_numbers_of_views_are_refused(self):
        with pytest.raises(ValueError, match=r'\[4, 6\]'):
            multi_crop_collate([*list_samples(2), *list_samples(2, num_local=2)])


@pytest.mark.parametrize(
    'sample',
    [
        dict(inputs=torch.zeros(3, 8, 8)),
        (torch.zeros(3, 8, 8), 0, 'one_view.jpg'),
        ([torch.zeros(3, 8, 8, dtype=torch.uint8)] * 2, 0, 'bytes.jpg'),
        (Image.new('RGB', (8, 8)), 0, 'untransformed.jpg'),
        ([], 0, 'no_views.jpg'),
        (torch.zeros(2, 8, 8, 3), None),
        'a string',
    ],
)
def test_samples_of_another_form_are_refused_with_a_cure(sample):
    with pytest.raises(TypeError, match=r'PackViews.*ToTensor and Normalize'):
        multi_crop_collate([sample])


def test_no_samples_at_all_are_refused():
    with pytest.raises(TypeError):
        multi_crop_collate([])


class TestMultiViewCollate:
    def test_each_view_is_stacked_over_the_batch(self):
        samples = list_samples()
        views, labels, filenames = MultiViewCollate()(samples)
        for number, view in enumerate(views):
            assert torch.equal(view, torch.stack([sample[0][number] for sample in samples]))
        assert labels.tolist() == [0, 1, 2, 3, 4]
        assert labels.dtype == torch.long
        assert filenames == ['0.jpg', '1.jpg', '2.jpg', '3.jpg', '4.jpg']

    def test_the_function_does_the_same(self):
        samples = list_samples()
        for one, other in zip(MultiViewCollate()(samples)[0], multi_view_collate(samples)[0], strict=True):
            assert torch.equal(one, other)

    def test_an_empty_batch_warns_and_stays_empty(self):
        with pytest.warns(UserWarning, match='empty batch'):
            views, labels, filenames = MultiViewCollate()([])
        assert (views, labels.tolist(), labels.dtype, filenames) == ([], [], torch.long, [])


class TestAdapters:
    def test_there_and_back_again_is_the_identity(self):
        lightly_batch = MultiViewCollate()(list_samples())
        ours = views_from_lightly(lightly_batch)
        views, labels, filenames = views_to_lightly(ours, lightly_batch[1], lightly_batch[2])
        for one, other in zip(views, lightly_batch[0], strict=True):
            assert torch.equal(one, other)
        assert torch.equal(labels, lightly_batch[1])
        assert filenames == lightly_batch[2]

    def test_the_adapter_and_the_collate_agree(self):
        samples = list_samples()
        adapted, collated = views_from_lightly(MultiViewCollate()(samples)), multi_crop_collate(samples)
        assert torch.equal(adapted.global_views, collated.global_views)
        assert torch.equal(adapted.local_views, collated.local_views)

    def test_missing_labels_and_filenames_are_filled(self):
        views, labels, filenames = views_to_lightly(multi_crop_collate(list_samples(num_local=0)))
        assert len(views) == 2
        assert labels.tolist() == [0] * 5
        assert filenames == [''] * 5

    def test_bytes_must_be_normalised_first(self):
        with pytest.raises(TypeError, match='ViewPreprocessor'):
            views_to_lightly(multi_crop_collate(block_samples()))

    def test_a_batch_of_one_view_is_refused(self):
        with pytest.raises(ValueError, match='1 view'):
            views_from_lightly(([torch.zeros(4, 3, 8, 8)], torch.zeros(4), [''] * 4))

    def test_mixed_sizes_are_refused(self):
        with pytest.raises(ValueError, match='num_global'):
            views_from_lightly(MultiViewCollate()(list_samples()), num_global=3)

    def test_all_views_may_be_global(self):
        batch = views_from_lightly(MultiViewCollate()(list_samples(num_global=3, num_local=0)), num_global=3)
        assert batch.local_views is None


class TestImages:
    @pytest.mark.parametrize('convert', [np.asarray, torch.as_tensor])
    def test_images_labels_and_paths_keep_their_order(self, convert):
        pixels = [block(1, 8, 6, n)[0] for n in range(4)]
        images, labels, paths = image_collate([(convert(pixels[n].numpy()), n, f'{n}.jpg') for n in range(4)])
        assert torch.equal(images, torch.stack(pixels))
        assert labels.tolist() == [0, 1, 2, 3]
        assert paths == ['0.jpg', '1.jpg', '2.jpg', '3.jpg']

    def test_different_sizes_are_refused(self):
        with pytest.raises(ValueError, match='resize and crop'):
            image_collate([(block(1, 8, 6, 0)[0], 0, ''), (block(1, 6, 8, 0)[0], 0, '')])


def untouched(**changes) -> DINOCollateFunction:
    """Nothing random but the crop."""
    arguments = dict(
        global_crop_size=32, n_local_views=0, hf_prob=0, cj_prob=0,
        random_gray_scale=0, gaussian_blur=(0, 0, 0), solarization_prob=0, normalize=None,
    )  # fmt: skip
    return DINOCollateFunction(**(arguments | changes))


class TestDINOCollateFunction:
    """The API of Lightly up to 1.5: Pillow images in, augmented views out."""

    @pytest.fixture
    def batch(self) -> list[tuple]:
        return [(Image.open(path).convert('RGB'), n, path.name) for n, path in enumerate(PICTURES)]

    @pytest.fixture
    def picture(self, batch) -> torch.Tensor:
        """The first image as a view in [0, 1]."""
        return torch.from_numpy(np.array(batch[0][0])).permute(2, 0, 1) / 255

    def first_view(self, collate: DINOCollateFunction, batch: list[tuple]) -> torch.Tensor:
        views, _, _ = collate([batch[0]])
        return views[0][0]

    def test_the_defaults_are_those_of_lightly(self):
        import inspect

        parameters = inspect.signature(DINOCollateFunction).parameters
        assert {name: parameter.default for name, parameter in parameters.items()} == dict(
            global_crop_size=224, global_crop_scale=(0.4, 1.0), local_crop_size=96, local_crop_scale=(0.05, 0.4),
            n_local_views=6, hf_prob=0.5, vf_prob=0, rr_prob=0, rr_degrees=None, cj_prob=0.8, cj_bright=0.4,
            cj_contrast=0.4, cj_sat=0.2, cj_hue=0.1, random_gray_scale=0.2, gaussian_blur=(1.0, 0.1, 0.5),
            kernel_size=None, kernel_scale=None, sigmas=(0.1, 2), solarization_prob=0.2,
            normalize=dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        )  # fmt: skip

    def test_the_result_has_lightlys_form(self, batch):
        views, labels, filenames = DINOCollateFunction(global_crop_size=48, local_crop_size=16)(batch)
        assert [tuple(view.shape) for view in views] == [(10, 3, 48, 48)] * 2 + [(10, 3, 16, 16)] * 6
        assert all(view.dtype == torch.float32 for view in views)
        assert labels.tolist() == list(range(10))
        assert labels.dtype == torch.long
        assert filenames == [path.name for path in PICTURES]

    def test_without_local_views_there_are_two_views(self, batch):
        assert len(DINOCollateFunction(global_crop_size=32, n_local_views=0)(batch)[0]) == 2

    def test_it_works_in_a_dataloader(self, batch):
        (result,) = DataLoader(
            batch, batch_size=10, num_workers=1, collate_fn=DINOCollateFunction(32, local_crop_size=16)
        )
        assert len(result[0]) == 8

    def find(self, collate: DINOCollateFunction, batch: list[tuple], expected: torch.Tensor, draws: int = 5) -> float:
        """Share of first views that equal the expected one."""
        random.seed(0)
        return sum(torch.equal(self.first_view(collate, batch), expected) for _ in range(draws)) / draws

    @pytest.fixture(autouse=True)
    def whole_image(self, monkeypatch):
        """Boxes show the whole image, so that what is done to it can be told exactly."""
        from dino_plugin.data import multi_crop

        monkeypatch.setattr(multi_crop, 'draw_box', lambda rows, columns, scale: multi_crop.Box(0, 0, rows, columns))

    def test_with_all_probabilities_zero_the_image_passes(self, batch, picture):
        assert self.find(untouched(), batch, picture) == 1

    @pytest.mark.parametrize(
        ('changes', 'transform'),
        [
            (dict(hf_prob=1), lambda picture: picture.flip(2)),
            (dict(vf_prob=1), lambda picture: picture.flip(1)),
            (dict(rr_prob=1), lambda picture: picture.rot90(1, (1, 2))),
            (dict(hf_prob=1, vf_prob=1), lambda picture: picture.rot90(2, (1, 2))),
            (dict(rr_prob=1, rr_degrees=(180, 180)), lambda picture: picture.rot90(2, (1, 2))),
            (dict(rr_prob=1, rr_degrees=(90, 90)), lambda picture: picture.rot90(1, (1, 2))),
            (dict(rr_prob=1, rr_degrees=0), lambda picture: picture),
        ],
    )
    def test_geometry_is_exact(self, batch, picture, changes, transform):
        assert self.find(untouched(**changes), batch, transform(picture)) == 1

    @pytest.mark.parametrize('name', ['hf_prob', 'vf_prob', 'rr_prob'])
    @pytest.mark.parametrize('probability', [0.2, 0.8])
    def test_geometric_probabilities_are_kept(self, batch, picture, name, probability):
        share = 1 - self.find(untouched(**{name: probability}), batch, picture, draws=80)
        assert abs(share - probability) < 0.18  # four standard deviations of 80 draws

    @pytest.mark.parametrize(('degrees', 'most'), [(30, 30), ((-10, 60), 60)])
    def test_a_rotation_by_degrees_leaves_black_corners(self, batch, degrees, most):
        white = [(Image.new('RGB', (32, 32), (255, 255, 255)), 0, 'white.png')]
        random.seed(0)
        black = [(self.first_view(untouched(rr_prob=1, rr_degrees=degrees), white) == 0).all(0) for _ in range(20)]
        assert torch.stack(black).any(0)[[0, 0, -1, -1], [0, -1, 0, -1]].all()
        assert not torch.stack(black)[:, 10:22, 10:22].any()

    def test_colours_are_changed_only_as_asked(self, batch, picture):
        grey = self.first_view(untouched(random_gray_scale=1), batch)
        assert (grey == grey[:1]).all()
        solarised = untouched(solarization_prob=1)([batch[0]])[0]
        levels = (picture * 255).round()
        assert torch.equal(solarised[0][0], picture)
        assert torch.equal((solarised[1][0] * 255).round(), torch.where(levels < 128, levels, 255 - levels))
        blurred = untouched(gaussian_blur=(0, 1, 0), sigmas=(2, 2))([batch[0]])[0]
        assert torch.equal(blurred[0][0], picture)
        assert blurred[1][0].diff().abs().mean() < 0.5 * picture.diff().abs().mean()
        for name in ('cj_bright', 'cj_contrast', 'cj_sat', 'cj_hue'):
            others = dict.fromkeys(('cj_bright', 'cj_contrast', 'cj_sat', 'cj_hue'), 0)
            random.seed(1)
            assert not torch.equal(self.first_view(untouched(cj_prob=1, **(others | {name: 0.3})), batch), picture)

    def test_normalisation_follows_its_argument(self, batch, picture):
        view = self.first_view(untouched(normalize=dict(mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])), batch)
        mean, std = torch.tensor([0.5, 0.4, 0.3])[:, None, None], torch.tensor([0.2, 0.3, 0.4])[:, None, None]
        assert torch.allclose(view, (picture - mean) / std, atol=1e-5)

    @pytest.mark.parametrize('name', ['kernel_size', 'kernel_scale'])
    def test_the_old_kernel_arguments_warn(self, name):
        with pytest.warns(DeprecationWarning, match='sigmas'):
            DINOCollateFunction(**{name: 0.1})

    def test_other_pillow_modes_are_converted(self, batch):
        grey = [(image.convert('L'), label, name) for image, label, name in batch]
        views, _, _ = untouched()(grey)
        assert (views[0] == views[0][:, :1]).all()
