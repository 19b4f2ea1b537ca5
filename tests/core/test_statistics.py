import math

import pytest
import torch

from dino_plugin.core import statistics


def test_entropy_lies_between_zero_and_the_logarithm_of_the_outcomes():
    assert statistics.entropy(torch.tensor([1.0, 0, 0])).item() == 0
    assert statistics.entropy(torch.full((5,), 0.2)).item() == pytest.approx(math.log(5))
    assert statistics.kl_to_uniform(torch.full((5,), 0.2)).item() == pytest.approx(0, abs=1e-6)
    assert statistics.kl_to_uniform(torch.tensor([0.0, 1.0])).item() == pytest.approx(math.log(2))


def test_information_is_zero_in_both_forms_of_collapse_and_full_for_distinct_samples():
    same_sharp = torch.eye(4)[[2, 2, 2]]
    same_flat = torch.full((3, 4), 0.25)
    assert statistics.mutual_information(same_sharp).item() == pytest.approx(0, abs=1e-6)
    assert statistics.mutual_information(same_flat).item() == pytest.approx(0, abs=1e-6)
    assert statistics.mutual_information(torch.eye(4)).item() == pytest.approx(math.log(4))


def test_feature_std_is_zero_for_one_direction_and_one_for_the_whole_sphere():
    torch.manual_seed(0)
    assert statistics.feature_std(torch.ones(9, 4) * torch.rand(9, 1)).item() == pytest.approx(0, abs=1e-6)
    assert statistics.feature_std(torch.randn(20000, 16)).item() == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize('rank', [1, 3])
def test_the_effective_rank_counts_equal_directions(rank):
    features = torch.zeros(6, 8)
    features[torch.arange(6), torch.arange(6) % rank] = 1.0
    assert statistics.effective_rank(features).item() == pytest.approx(rank, rel=1e-4)
