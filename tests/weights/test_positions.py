"""Learnt positions on another grid: each family's rule, from the file to the export."""

import json
import math

import pytest
import timm
import torch
from torch.nn.functional import interpolate

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.positions import RULES, resampled
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone

SIZES = [(96, 96), (96, 160), (224, 224), (480, 832)]
SHALLOW = dict(img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=2)
ARGUMENTS = dict(img_size=224, patch_size=16, embed_dim=24, depth=2, num_heads=2)


def by_hand(positions, old, new, rule):
    """The sum over old places, one at a time, along rows and then along columns."""

    def kernel(x, a):
        x = abs(x)
        if x < 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    def along(values, size):
        count = len(values)
        step = count / (size + rule.offset)
        result = []
        for place in range(size):
            centre = (place + 0.5) * step
            if rule.antialiased:
                width = max(step, 1.0)
                weights = [kernel((i + 0.5 - centre) / width, -0.5) for i in range(count)]
                weights = [weight / sum(weights) for weight in weights]
            else:
                weights = [0.0] * count
                first = math.floor(centre - 0.5) - 1
                for tap in range(first, first + 4):
                    weights[min(max(tap, 0), count - 1)] += kernel(tap + 0.5 - centre, -0.75)
            result.append(sum(weight * value for weight, value in zip(weights, values) if weight))
        return torch.stack(result)

    grid = along(positions[0, 1:].double().unflatten(0, old), new[0])
    grid = along(grid.transpose(0, 1), new[1]).transpose(0, 1)
    return torch.cat([positions[:, :1].double(), grid.flatten(0, 1)[None]], dim=1)


def by_the_authors(positions, old, new, name):
    """PyTorch's call in DINO's and DINOv2's code (scale factors with an offset) and elsewhere (a size)."""
    grid = positions[:, 1:].unflatten(1, old).movedim(-1, 1)
    if name == 'dino':
        factors = tuple((side + 0.1) / math.sqrt(old[0] * old[1]) for side in new)
        grid = interpolate(grid, scale_factor=factors, mode='bicubic')
    else:
        grid = interpolate(grid, size=new, mode='bicubic', antialias=name == 'timm')
    return torch.cat([positions[:, :1], grid.movedim(1, -1).flatten(1, 2)], dim=1)


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('size', SIZES)
def test_each_rule_equals_the_sum_by_hand_and_the_authors_call(name, size):
    positions, old, new = torch.randn(1, 1 + 14 * 14, 5), (14, 14), (size[0] // 16, size[1] // 16)
    found = resampled(positions, old, new, 1, RULES[name])
    torch.testing.assert_close(found, by_hand(positions, old, new, RULES[name]).float(), rtol=0, atol=2e-5)
    torch.testing.assert_close(found, by_the_authors(positions, old, new, name), rtol=0, atol=2e-5)


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('size', SIZES)
def test_a_network_adds_the_positions_of_its_rule_and_learns_them(name, size):
    """Compared with timm's own network of that size, whose table holds them already; gradients, too."""
    torch.manual_seed(0)
    backbone = TimmBackbone('vit_tiny_patch16_224', position_resampling=name, **ARGUMENTS).eval()
    new = (size[0] // 16, size[1] // 16)
    plain = timm.create_model('vit_tiny_patch16_224', num_classes=0, **{**ARGUMENTS, 'img_size': size}).eval()
    learnt = backbone.model.pos_embed
    table = learnt if new == (14, 14) else by_the_authors(learnt, (14, 14), new, name)
    state = {**backbone.model.state_dict(), 'pos_embed': table.detach()}
    plain.load_state_dict(state)
    images = torch.randn(1, 3, *size)
    found = backbone(images)
    torch.testing.assert_close(found.class_token, plain(images), rtol=1e-4, atol=1e-5)
    found.class_token.square().sum().backward()
    plain(images).square().sum().backward()
    theirs = plain.pos_embed.grad
    expected = theirs if table is learnt else torch.autograd.grad(table, learnt, theirs)[0]
    torch.testing.assert_close(learnt.grad, expected, rtol=1e-3, atol=1e-4)
    assert list(backbone.model.state_dict()) == list(plain.state_dict())


def test_rules_differ_where_it_matters():
    """On the grid of local views; on the network's own grid they are one."""
    images = torch.randn(2, 3, 96, 96)
    backbones = {}
    for name in RULES:
        torch.manual_seed(0)
        backbones[name] = TimmBackbone('vit_tiny_patch16_224', position_resampling=name, **ARGUMENTS).eval()
    with torch.no_grad():
        local = {name: backbone(images).class_token for name, backbone in backbones.items()}
        whole = {name: backbone(torch.ones(1, 3, 224, 224)).class_token for name, backbone in backbones.items()}
    assert not torch.allclose(local['timm'], local['dino'], rtol=0, atol=1e-3)
    assert not torch.allclose(local['huggingface'], local['dino'], rtol=0, atol=1e-5)
    assert torch.equal(whole['timm'], whole['dino']) and torch.equal(whole['timm'], whole['huggingface'])


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match=r"position_resampling='bilinear' is unknown; use one of \['timm', 'dino'"):
        TimmBackbone('vit_tiny_patch16_224', position_resampling='bilinear', **ARGUMENTS)


def training_checkpoint(path, backbone):
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(backbone=backbone.description)), path)


def test_the_rule_goes_with_the_weights_into_checkpoint_export_and_back(tmp_path):
    backbone = TimmBackbone('vit_tiny_patch16_224', position_resampling='dino', **ARGUMENTS)
    assert backbone.description['position_resampling'] == 'dino'
    training_checkpoint(tmp_path / 'epoch_1.pth', backbone)
    exported = export_backbone(tmp_path / 'epoch_1.pth', tmp_path / 'vit')
    assert json.loads(exported.with_suffix('.json').read_text())['position_resampling'] == 'dino'
    images = torch.randn(2, 3, 96, 160)
    for file in (tmp_path / 'epoch_1.pth', exported):
        again = TimmBackbone(checkpoint=str(file))
        assert again.position_resampling == 'dino'
        assert backbone_description(load_checkpoint(file), file)['position_resampling'] == 'dino'
        assert torch.equal(again.eval()(images).class_token, backbone.eval()(images).class_token)
    assert TimmBackbone(checkpoint=str(exported), position_resampling='timm').position_resampling == 'timm'


@pytest.mark.parametrize('format', ['torch_export', 'onnx'])
def test_a_program_resamples_by_the_rule_too(tmp_path, format):
    """The rule that leaves the network's own grid alone and moves places elsewhere; timm's is in tests/export."""
    if format == 'onnx':
        pytest.importorskip('onnxscript')
        runtime = pytest.importorskip('onnxruntime')
    backbone = TimmBackbone('vit_tiny_patch16_224', position_resampling='dino', **SHALLOW).eval()
    training_checkpoint(tmp_path / 'a.pth', backbone)
    path = export_backbone(tmp_path / 'a.pth', tmp_path / 'out', format=format)
    images = torch.randn(1, 3, 40, 24)
    if format == 'onnx':
        session = runtime.InferenceSession(path.read_bytes(), providers=['CPUExecutionProvider'])
        found = torch.from_numpy(session.run(None, {'images': images.numpy()})[0])
    else:
        found = torch.export.load(path).module()(images)[0]
    assert json.loads(path.with_suffix('.json').read_text())['graph']['fixed_because'] is None
    torch.testing.assert_close(found, backbone(images).class_token, rtol=1e-4, atol=1e-5)


def rectangular(rows, columns, **changes):
    arguments = {**ARGUMENTS, 'img_size': (16 * rows, 16 * columns), **changes}
    return timm.create_model('vit_tiny_patch16_224', num_classes=0, **arguments), arguments


@pytest.mark.parametrize(
    ('in_file', 'wanted'),
    [((14, 16), (16, 14)), ((14, 16), (7, 32)), ((14, 16), (15, 15)), ((8, 18), (12, 12)), ((14, 16), (14, 16))],
)
def test_the_grid_is_what_the_file_says_never_what_a_count_suggests(in_file, wanted):
    """14 x 16 patches and a class token are 225 = 15 x 15 positions; 8 x 18 are as many as 12 x 12."""
    (source, arguments), (model, _) = rectangular(*in_file), rectangular(*wanted)
    said = dict(model_name='vit_tiny_patch16_224', timm_arguments=arguments)
    report = load_backbone(model, source.state_dict(), description=said)
    assert report.resampled == ([] if in_file == wanted else ['pos_embed'])
    expected = source.pos_embed if in_file == wanted else by_the_authors(source.pos_embed, in_file, wanted, 'timm')
    torch.testing.assert_close(model.pos_embed, expected, rtol=0, atol=1e-5)


def test_what_could_be_several_grids_is_refused_with_the_cure():
    source, model = rectangular(14, 16)[0], rectangular(16, 14)[0]
    with pytest.raises(ValueError, match=r'positions for 224 patches .*the model has 16 x 14\. Put a \.json'):
        load_backbone(model, source.state_dict())


def test_a_network_without_learnt_positions_is_not_built_for_a_grid():
    """A description may hold arguments that only newer versions of timm take."""
    model = timm.create_model('resnet10t', num_classes=0)
    said = dict(model_name='resnet10t', timm_arguments=dict(argument_of_another_version=1))
    assert not load_backbone(model, model.state_dict(), description=said).resampled
    plain = rectangular(14, 14)[0]
    with pytest.raises(ValueError, match='timm cannot build'):
        load_backbone(plain, plain.state_dict(), description=dict(said, model_name='vit_tiny_patch16_224'))
