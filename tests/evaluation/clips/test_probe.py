"""The attentive probe against a slow reference, and what it knows of the order of frames; many probes against one."""

import math

import pytest
import torch
from networks import randomised
from torch.nn.functional import cross_entropy, gelu, layer_norm, linear

from dino_plugin.engine.evaluating.clip_classifier import ClipClassifier, ProbeSetting
from dino_plugin.engine.evaluating.probe_groups import ProbeGroups
from dino_plugin.evaluation.bank_metric import Labelled
from dino_plugin.evaluation.clips.metric import ClipMetric
from dino_plugin.evaluation.clips.probe import AttentiveProbe

NETWORK = dict(
    type='dino_plugin.TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=32,
    depth=1, num_heads=2, drop_path_rate=0.2,
)  # fmt: skip
FORMS = [(0, 'none'), (0, 'sincos'), (2, 'none'), (2, 'sincos'), (2, 'rope')]


def tokens(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def slow_attention(state, prefix, queries, keys, values, heads, angles):
    """One head, one query at a time; with angles, pairs of features (2k, 2k + 1) of queries and keys are turned."""
    size, found = queries.shape[-1] // heads, torch.zeros(len(queries), queries.shape[-1])

    def turned(vector, place):
        if angles is None:
            return vector
        pairs = torch.view_as_complex(vector.reshape(-1, 2).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones(size // 2), angles[place])).flatten()

    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for place, query in enumerate(queries[:, part]):
            scores = [turned(query, place) @ turned(key, other) / size**0.5 for other, key in enumerate(keys[:, part])]
            found[place, part] = torch.stack(scores).softmax(0) @ values[:, part]
    return linear(found, state[f'{prefix}.proj.weight'], state[f'{prefix}.proj.bias'])


def slow_probe(state, frames, heads, blocks, time):
    """Scores of one film, written from the docstring's equation."""
    dim = frames.shape[-1]

    def norm(x, name):
        return layer_norm(x, (dim,), state[f'{name}.weight'], state[f'{name}.bias'], 1e-6)

    def layer(x, name):
        return linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    width = dim if time == 'sincos' else dim // heads
    rates = torch.tensor([10_000 ** (-2 * k / width) for k in range(width // 2)])
    rows, angles = [], []
    for number, frame in enumerate(frames):
        for patch in frame:
            position = torch.cat([(number * rates).sin(), (number * rates).cos()])
            rows.append(patch + position if time == 'sincos' else patch)
            angles.append(number * rates)
    x, angles = torch.stack(rows), angles if time == 'rope' else None
    for number in range(blocks):
        name = f'blocks.{number}'
        queries, keys, values = layer(norm(x, f'{name}.norm1'), f'{name}.attn.qkv').chunk(3, dim=-1)
        x = x + slow_attention(state, f'{name}.attn', queries, keys, values, heads, angles)
        x = x + layer(gelu(layer(norm(x, f'{name}.norm2'), f'{name}.mlp.fc1')), f'{name}.mlp.fc2')
    keys, values = layer(norm(x, 'norm'), 'pool.kv').chunk(2, dim=-1)
    query = layer(state['pool.latent'][0], 'pool.q')
    z = slow_attention(state, 'pool', query, keys, values, heads, None)
    z = z + layer(gelu(layer(norm(z, 'pool.norm'), 'pool.mlp.fc1')), 'pool.mlp.fc2')
    return layer(z, 'classifier')[0]


@pytest.mark.parametrize(('blocks', 'time'), FORMS)
def test_the_probe_is_its_equation(blocks, time):
    probe, films = randomised(AttentiveProbe(16, 5, 2, blocks, time)), tokens(2, 3, 4, 16)
    with torch.no_grad():
        expected = torch.stack([slow_probe(probe.state_dict(), film, 2, blocks, time) for film in films])
        torch.testing.assert_close(probe(films), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(('blocks', 'time'), FORMS)
def test_frames_in_another_order_are_the_same_film_without_positions_alone(blocks, time):
    probe, films = randomised(AttentiveProbe(16, 5, 2, blocks, time)), tokens(2, 4, 3, 16)
    forward, other = probe(films).detach(), probe(films[:, [2, 0, 3, 1]]).detach()
    assert torch.allclose(forward, other, rtol=1e-3, atol=1e-4) == (time == 'none')
    heat = probe.attention(films)
    torch.testing.assert_close(heat.sum(dim=(1, 2)), torch.ones(2))
    moved = probe.attention(films[:, [2, 0, 3, 1]])[:, [1, 3, 0, 2]]
    assert torch.allclose(heat, moved, rtol=1e-3, atol=1e-5) == (time == 'none')


@pytest.mark.parametrize('time', ['none', 'sincos'])
def test_forward_and_backward_are_learnt_with_positions_and_are_a_coin_without(time):
    """Each film drifts along one feature; the same film backwards is the other class."""
    torch.manual_seed(0)
    probe, direction, steps = AttentiveProbe(32, 2, 2, time=time), torch.randn(32), torch.arange(4.0) - 1.5
    optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3)

    def films(count):
        drifting = torch.randn(count, 1, 4, 32) + 0.5 * steps[:, None, None] * direction
        return torch.cat([drifting, drifting.flip(1)]), torch.arange(2).repeat_interleave(count)

    for _ in range(120):
        inputs, labels = films(16)
        optimizer.zero_grad()
        cross_entropy(probe(inputs), labels).backward()
        optimizer.step()
    inputs, labels = films(100)
    right = float((probe(inputs).argmax(dim=1) == labels).float().mean())
    assert right == 0.5 if time == 'none' else right > 0.9


def test_the_query_looks_at_the_patch_whose_key_is_nearest():
    probe = AttentiveProbe(16, 5, 1, time='none')
    films = tokens(1, 3, 4, 16)
    with torch.no_grad():
        probe.pool.q.weight.copy_(torch.eye(16))
        probe.pool.kv.weight[:16] = torch.eye(16)
        probe.pool.latent[0, 0] = 100 * probe.norm(films)[0, 2, 1]
    assert probe.attention(films)[0].flatten().argmax() == 2 * 4 + 1


def test_residual_branches_begin_smaller_in_later_blocks():
    torch.manual_seed(0)
    probe = AttentiveProbe(96, 5, 2, num_self_blocks=2)
    lasts = [(block.attn.proj, block.mlp.fc2) for block in probe.blocks] + [(probe.pool.proj, probe.pool.mlp.fc2)]
    for number, pair in enumerate(lasts, start=1):
        for last in pair:
            assert float(last.weight.detach().std()) == pytest.approx(0.02 / math.sqrt(2 * number), rel=0.03)
    assert float(probe.blocks[1].mlp.fc1.weight.detach().std()) == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(time='clock'), 'time is one of'),
        (dict(time='rope'), 'needs a block'),
        (dict(num_heads=5), '5 heads do not'),
    ],
)
def test_forms_that_do_not_exist_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AttentiveProbe(16, 5, **{'num_heads': 2, **options})


def films_and_labels(count: int) -> list[dict]:
    images, labels = tokens(count, 4, 1, 3, 3, 32, 32), torch.arange(4 * count).view(count, 4) % 3
    return [dict(images=one, labels=label) for one, label in zip(images, labels)]


def test_probes_that_learn_together_equal_each_alone_and_the_backbone_stays():
    torch.manual_seed(0)
    model = ClipClassifier(NETWORK, 3, (0.01, 0.001), (0.0, 0.5), num_self_blocks=1).train()
    began = [value.clone() for value in model.probes[0].state_dict().values()]
    backbone = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    wrapper = ProbeGroups(dict(type='OptimWrapper', optimizer=dict(type='AdamW')))(model)
    batches = films_and_labels(3)
    for batch in batches:
        wrapper.update_params(model(**batch, mode='loss')['loss'])
    assert all(torch.equal(value, backbone[name]) for name, value in model.backbone.state_dict().items())
    assert [tuple(setting) for setting in model.settings] == [(0.01, 0.0), (0.01, 0.5), (0.001, 0.0), (0.001, 0.5)]
    for together, setting in zip(model.probes, model.settings):
        alone = AttentiveProbe(32, 3, 2, 1)  # two heads, as the backbone
        alone.load_state_dict(dict(zip(alone.state_dict(), began)))
        decayed = [value for value in alone.parameters() if value.ndim > 1]
        others = [value for value in alone.parameters() if value.ndim <= 1]
        groups = [dict(params=decayed, weight_decay=setting.weight_decay), dict(params=others, weight_decay=0.0)]
        optimizer = torch.optim.AdamW(groups, lr=setting.learning_rate)
        for batch in batches:
            optimizer.zero_grad()
            cross_entropy(alone(model.tokens(batch['images'])[:, 0]), batch['labels']).backward()
            optimizer.step()
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(together.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_views_are_averaged_after_the_softmax_and_tokens_are_those_of_the_frames():
    torch.manual_seed(0)
    model = ClipClassifier(NETWORK, 3, (0.01,), (0.0,), frames_at_once=5).eval()
    images = torch.randn(2, 3, 4, 3, 32, 32)
    found = model.tokens(images)
    torch.testing.assert_close(found[1, 2, 3], model.backbone(images[1, 2, 3]).patches.flatten(0, 1))
    expected = torch.stack([model.probes[0](found[:, view]).softmax(-1) for view in range(3)]).mean(0)
    torch.testing.assert_close(model(images)[0], expected)
    torch.testing.assert_close(model(found)[0], expected)
    with pytest.raises(ValueError, match='num_classes=3'):
        model(found, torch.tensor([0, 3]), mode='loss')


def test_the_mean_over_classes_counts_a_rare_class_as_much_as_a_frequent_one():
    ranked = torch.tensor([0, 0, 0, 0, 2])[:, None, None]  # class 1 has no film
    metric = ClipMetric()
    metric.settings = [ProbeSetting(1e-3, 0.1)]
    found = metric.score_among(Labelled(ranked, torch.tensor([0, 0, 0, 2, 2])))
    assert found == pytest.approx(dict(top1=80.0, mean_class=75.0, learning_rate=1e-3, weight_decay=0.1))
