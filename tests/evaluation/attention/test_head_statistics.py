"""Statistics of heads: by hand, against slow references over pixels and pairs, and refusals."""

import math

import pytest
import torch
from networks import randomised

from dino_plugin.backbones.attention_maps import attention_of
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.evaluation.attention.heads import (
    attended_distance,
    figure_statistics,
    map_statistics,
)

RANDOM = torch.Generator().manual_seed(0)


def test_entropy_and_area_at_their_limits_and_by_hand():
    one_place, everywhere = torch.zeros(2, 5), torch.ones(2, 5)
    one_place[1, 3] = 0.7
    halves = torch.zeros(2, 5)
    halves[0, :2] = 0.2
    found = map_statistics(torch.stack([one_place, everywhere, halves]))
    assert found['entropy'].tolist() == pytest.approx([0, 1, math.log(2) / math.log(10)])
    assert found['area'].tolist() == pytest.approx([0.1, 0.6, 0.2])
    assert map_statistics(everywhere[None], threshold=0.9)['area'].tolist() == pytest.approx([0.9])


def test_figure_statistics_by_hand():
    """Three patches of 2 x 2 pixels: all figure, half of it, none."""
    figure = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    maps = torch.tensor([[[0.5, 0.3, 0.2]], [[0.1, 0.1, 0.2]]])
    found = figure_statistics(maps, figure)
    assert found['figure_mass'].tolist() == pytest.approx([0.65, 0.375])
    assert found['inside'].tolist() == pytest.approx([0.5, 0.25])
    assert found['boundary'].tolist() == pytest.approx([0.3, 0.25])
    assert found['outside'].tolist() == pytest.approx([0.2, 0.5])
    assert found['peak_in_figure'].tolist() == [1, 0]
    # Figure pixels: 4 at 0.5 and 2 at 0.3; ground: 2 at 0.3 and 4 at 0.2. Of 36 pairs 4 are ties.
    assert found['figure_ground_auc'].tolist() == pytest.approx([34 / 36, 0.5 * 12 / 36])


@pytest.mark.parametrize('void', [False, True])
def test_figure_statistics_are_those_of_the_enlarged_map(void):
    maps = torch.rand(3, 4, 5, generator=RANDOM).mul(6).round().add(1)  # with equal values
    figure = torch.rand(8, 15, generator=RANDOM) > 0.5
    figure[:2, :3], figure[2:4, :3] = True, False
    unknown = torch.rand(8, 15, generator=RANDOM) > 0.7 if void else torch.zeros_like(figure)
    unknown[6:, 12:] = void  # all of one patch
    found = figure_statistics(maps, figure, unknown if void else None)
    known = torch.zeros(4, 5)
    for row in range(8):
        for column in range(15):
            known[row // 2, column // 3] += not unknown[row, column]
    for head, attention in enumerate(maps):
        attention = attention * (known > 0)
        attention = attention / attention.sum()
        pixels = dict(figure=[], ground=[])
        mass = dict(figure=0.0, inside=0.0, boundary=0.0, outside=0.0)
        shares = {}
        for row, column in [(row, column) for row in range(4) for column in range(5)]:
            own = figure[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            valid = ~unknown[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            values = [bool(value) for value in own[valid]]
            if not values:
                continue
            value = float(attention[row, column])
            share = sum(values) / len(values)
            shares[row, column] = share
            mass['figure'] += value * share
            mass['inside' if share == 1 else 'outside' if share == 0 else 'boundary'] += value
            pixels['figure'] += [value] * sum(values)
            pixels['ground'] += [value] * (len(values) - sum(values))
        wins = [1.0 if one > other else 0.5 if one == other else 0.0
                for one in pixels['figure'] for other in pixels['ground']]  # fmt: skip
        assert float(found['figure_ground_auc'][head]) == pytest.approx(sum(wins) / len(wins))
        assert float(found['figure_mass'][head]) == pytest.approx(mass['figure'], abs=1e-6)
        for zone in ('inside', 'boundary', 'outside'):
            assert float(found[zone][head]) == pytest.approx(mass[zone], abs=1e-6)
        peak = divmod(int(attention.argmax()), 5)
        assert float(found['peak_in_figure'][head]) == pytest.approx(shares[peak])


def test_a_map_that_is_the_mask_has_all_mass_on_the_figure_and_auc_one():
    figure = torch.zeros(8, 8, dtype=torch.bool)
    figure[:4, :4] = True
    maps = torch.zeros(1, 4, 4)
    maps[0, :2, :2] = 1
    found = figure_statistics(maps, figure)
    assert [float(found[name]) for name in ('figure_mass', 'inside', 'figure_ground_auc', 'peak_in_figure')] == [1] * 4
    inverse = figure_statistics(1 - maps, figure)
    assert float(inverse['figure_ground_auc']) == 0 and float(inverse['figure_mass']) == 0
    uniform = figure_statistics(torch.ones(1, 4, 4), figure)
    assert float(uniform['figure_ground_auc']) == 0.5 and float(uniform['figure_mass']) == 0.25


def test_masks_of_one_kind_are_refused():
    for figure in (torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match='all figure or all ground'):
            figure_statistics(torch.ones(1, 2, 2), figure)


def test_nan_and_a_single_patch_are_refused():
    with pytest.raises(ValueError, match='NaN'):
        map_statistics(torch.full((1, 2, 2), torch.nan))
    with pytest.raises(ValueError, match='at least 2 patches'):
        map_statistics(torch.ones(1, 1, 1))


def backbone_of(name):
    backbone = TimmBackbone(name, img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
    randomised(backbone.model)
    return backbone


@pytest.mark.parametrize('chunk', [256, 5])
def test_attended_distance_is_the_mean_over_all_pairs(chunk, monkeypatch):
    monkeypatch.setattr('dino_plugin.evaluation.attention.heads._CHUNK', chunk)
    (block,) = attention_of(backbone_of('vit_small_patch14_reg4_dinov2'), torch.randn(2, 3, 24, 32, generator=RANDOM))
    probabilities = block.probabilities(range(5, 17))[..., 5:]
    probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    for image, head in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        total = 0.0
        for i in range(12):
            for j in range(12):
                apart = math.hypot(i // 4 - j // 4, i % 4 - j % 4)
                total += float(probabilities[image, head, i, j]) * apart
        assert float(attended_distance(block)[image, head]) == pytest.approx(total / 12 / 5, rel=1e-5)


def test_attended_distance_of_class_attention_is_refused():
    backbone = TimmBackbone('xcit_nano_12_p8_224', img_size=32, embed_dim=32, depth=1, num_heads=2)
    (block,) = attention_of(backbone, torch.randn(1, 3, 24, 24))
    with pytest.raises(ValueError, match='only the class token attends'):
        attended_distance(block)
