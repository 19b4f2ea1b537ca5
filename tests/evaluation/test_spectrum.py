"""Measures of the spectrum against constructions whose answer is known."""

import pytest
import torch

from dino_plugin.evaluation.without_labels.spectrum import alpha_req, lidar


def orthonormal(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(rows, columns, generator=random, dtype=torch.float64))[0]


@pytest.mark.parametrize('alpha', [0.5, 1.0, 2.5])
def test_a_power_law_gives_its_exponent_whatever_scale_mean_and_rotation(alpha):
    left = orthonormal(400, 60)
    left = torch.linalg.qr(left - left.mean(dim=0))[0]  # centred columns stay orthonormal
    scales = torch.arange(1, 61, dtype=torch.float64) ** (-alpha / 2)
    features = 7 * left * scales @ orthonormal(60, 60, seed=1).T + 3
    assert alpha_req(features.float()) == pytest.approx(alpha, abs=1e-3)


def test_few_images_are_refused():
    with pytest.raises(ValueError, match='9 eigenvalues are not 0; at least 12 are needed'):
        alpha_req(torch.randn(10, 64))


def test_views_that_agree_leave_the_effective_rank_of_the_images():
    """With equal views S_w is delta I, so the eigenvalues are those of the images' covariance."""
    images = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.eigvalsh(torch.cov(images.double().T))
    shares = values / values.sum()
    expected = torch.exp(-(shares * shares.log()).sum())
    assert lidar(images[:, None].repeat(1, 3, 1)) == pytest.approx(float(expected), rel=1e-4)


def test_a_direction_in_which_views_differ_counts_less():
    random = torch.Generator().manual_seed(0)
    images = torch.randn(200, 1, 4, generator=random).repeat(1, 5, 1)
    noise = torch.randn(200, 5, 4, generator=random)
    equal = lidar(images + 0.1 * noise)
    assert equal == pytest.approx(4, abs=0.1)
    assert lidar(images + noise * torch.tensor([100.0, 0.1, 0.1, 0.1])) == pytest.approx(3, abs=0.1)


def test_one_image_or_one_view_is_refused():
    for shape in ((1, 5, 4), (5, 1, 4)):
        with pytest.raises(ValueError, match='two of both are needed'):
            lidar(torch.randn(shape))
