"""Generalised means, and whitening against a slow form in numpy."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from dino_plugin.core.views import Tokens
from dino_plugin.evaluation.features.extraction import pool
from dino_plugin.evaluation.retrieval.descriptors import describe, gem
from dino_plugin.evaluation.retrieval.whitening import fit_whitening


@pytest.fixture
def patches():
    return torch.randn(3, 4, 6, 8, generator=torch.Generator().manual_seed(0))


def test_gem_is_the_fourth_root_of_the_mean_fourth_power(patches):
    """As DINO's evaluation of copies computes it, by average pooling."""
    clamped = patches.clamp(min=1e-6).movedim(-1, 1)
    expected = avg_pool2d(clamped.pow(4), (4, 6)).pow(1 / 4).flatten(1)
    torch.testing.assert_close(gem(patches), expected)


def test_gem_lies_between_the_mean_and_the_maximum(patches):
    positive = patches.abs() + 0.1
    torch.testing.assert_close(gem(positive, 1.0), positive.mean(dim=(1, 2)))
    torch.testing.assert_close(gem(positive, 500.0), positive.amax(dim=(1, 2)), rtol=1e-2, atol=0)
    assert (gem(positive, 3.0) > gem(positive, 2.0)).all()


def test_gem_of_large_numbers_does_not_overflow(patches):
    torch.testing.assert_close(gem(1e12 * patches.abs()), 1e12 * gem(patches.abs()))


def test_gem_of_negative_numbers_is_nearly_nothing():
    assert gem(-torch.ones(1, 2, 2, 3)).max() < 2e-6


@pytest.mark.parametrize('power', [0.0, -1.0])
def test_a_power_that_is_no_mean_is_refused(patches, power):
    with pytest.raises(ValueError, match='above 0'):
        gem(patches, power)


def test_descriptors_are_the_parts_that_their_names_say(patches):
    tokens = Tokens(torch.randn(3, 8), patches)
    torch.testing.assert_close(
        describe(tokens, 'class+gem', 3.0), torch.cat([tokens.class_token, gem(patches, 3.0)], 1)
    )
    torch.testing.assert_close(describe(tokens, 'gem'), gem(patches))
    for features in ('class', 'mean', 'class+mean'):
        torch.testing.assert_close(describe(tokens, features), pool(tokens, features))
    for features in ('gem+class', 'patches', 'gems'):
        with pytest.raises(ValueError, match='features must be'):
            describe(tokens, features)


def correlated(count=400, dim=5):
    """Samples with a mean far from 0, spread differently in each direction."""
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(dim, dim))
    return generator.normal(size=(count, dim)) @ mixing + 3


def slow_whitening(to_fit, samples, centred):
    """One eigenvector after the other, in float64."""
    mean = to_fit.mean(axis=0)
    covariance = np.zeros((to_fit.shape[1],) * 2)
    for row in to_fit:
        deviation = row - mean if centred else row
        covariance += np.outer(deviation, deviation) / len(to_fit)
    values, vectors = np.linalg.eigh(covariance)
    assert values[0] > 1e-3 * values[-1] or not centred, 'nothing is raised in this case'
    return np.stack([(samples - mean) @ vectors[:, i] / values[i] ** 0.5 for i in range(len(values))], axis=1)


@pytest.mark.parametrize('centred', [True, False])
def test_whitening_is_the_slow_form(centred):
    """Eigenvectors may point either way, so inner products are compared."""
    to_fit, samples = correlated(), correlated(7)
    found = fit_whitening(torch.from_numpy(to_fit).float(), centred)(torch.from_numpy(samples).float()).double().numpy()
    expected = slow_whitening(to_fit, samples, centred)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-3, atol=1e-3)


def test_whitened_features_have_no_mean_and_equal_spread_in_all_directions():
    features = torch.from_numpy(correlated()).float()
    whitened = fit_whitening(features)(features)
    torch.testing.assert_close(whitened.mean(dim=0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(whitened.T @ whitened / 400, torch.eye(5), atol=1e-3, rtol=0)


def test_the_form_about_zero_takes_most_of_the_spread_along_the_mean_away():
    """The second moment there is the mean's square, not the spread."""
    features = torch.from_numpy(correlated()).float() + 30
    mean = features.mean(dim=0)
    spread = [float(((w(features + mean / 10) - w(features)).norm(dim=1)).mean())
              for w in (fit_whitening(features), fit_whitening(features, centred=False))]  # fmt: skip
    assert spread[1] < 0.5 * spread[0]


@pytest.mark.parametrize(('centred', 'share'), [(True, 1e-3), (False, 1e-5)])
def test_directions_with_little_spread_are_divided_as_if_they_had_a_share_of_the_largest(centred, share):
    """Spreads of 10, 1 and 0.001 along the axes, the last one below the share of the first."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.linalg.qr(torch.randn(100, 3, generator=generator))[0]
    samples = (samples - samples.mean(dim=0)) * 10 * torch.tensor([10, 1, 0.001])
    spread = samples.double().T @ samples.double() / 100
    least = (share * torch.linalg.eigvalsh(spread)[-1]) ** -0.5
    step = torch.eye(3)[2:]
    found = fit_whitening(samples, centred)
    assert float((found(step) - found(torch.zeros(1, 3))).norm()) == pytest.approx(float(least), rel=0.01)


@pytest.mark.parametrize(
    ('features', 'message'),
    [
        (torch.zeros(1, 3), 'several images, got 1'),
        (torch.full((5, 3), 0.1), 'all the same'),
        (torch.zeros(5, 3), 'all the same'),
        (torch.tensor([[1.0, torch.nan], [2, 3]]), 'hold NaN'),
    ],
)
def test_features_that_cannot_be_whitened_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        fit_whitening(features)
