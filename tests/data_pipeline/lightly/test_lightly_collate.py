"""The API of Lightly up to 1.5: Pillow images in, augmented views out, each argument of it at work."""

import inspect
import random

import numpy as np
import pytest
import torch
from bundled import CIFAR
from PIL import Image
from torch.utils.data import DataLoader

from dino_plugin.data import multi_crop
from dino_plugin.data.collate import DINOCollateFunction
from dino_plugin.data.views.crop_boxes import Box

PICTURES = sorted(CIFAR.glob('*/*.jpg'))[::100]


def untouched(**changes) -> DINOCollateFunction:
    """Nothing random but the crop."""
    arguments = dict(
        global_crop_size=32, n_local_views=0, hf_prob=0, cj_prob=0,
        random_gray_scale=0, gaussian_blur=(0, 0, 0), solarization_prob=0, normalize=None,
    )  # fmt: skip
    return DINOCollateFunction(**(arguments | changes))


class TestDINOCollateFunction:
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

    def test_an_empty_batch_is_refused(self):
        with pytest.raises(ValueError, match='an empty batch'):
            DINOCollateFunction()([])

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
        monkeypatch.setattr(multi_crop, 'draw_box', lambda rows, columns, scale: Box(0, 0, rows, columns))

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
