"""A backbone exported as a program computes what the network computes, in onnxruntime and by torch.export.load."""

import io
import json
import runpy
import sys
from importlib.util import find_spec

import pytest
import torch
from networks import NETWORKS, random_network
from test_export import training_checkpoint
from torch import nn

from dino_plugin.export import graphs
from dino_plugin.export.backbone import export_backbone
from dino_plugin.export.formats import GRAPH_FORMATS
from dino_plugin.weights import positions

KINDS = ['plain', 'plain, not square', 'registers with positions, no layer scale', 'swiglu, registers', 'rotary']
SHALLOW = {kind: (NETWORKS[kind][0], NETWORKS[kind][1] | dict(depth=1)) for kind in KINDS}
SIZES = [(1, 32, 16), (3, 21, 67)]  # batch, rows, columns; the second is no whole number of patches of 8
CONVOLUTIONS = {'ResNet': ('resnet10t', {}), 'ConvNeXt': ('convnext_atto', dict(depths=(1, 1, 1, 1)))}
LARGE_SIZES = [(1, 96, 128), (3, 130, 67)]
FIXED = ('vit_relpos_small_patch16_224', NETWORKS['plain'][1] | dict(depth=1))  # a table of distances for one grid

WITHOUT_ONNX = [name for name in ('onnx', 'onnxscript', 'onnxruntime') if find_spec(name) is None]
with_onnx = pytest.mark.skipif(bool(WITHOUT_ONNX), reason=f'{WITHOUT_ONNX} of the extra onnx are not installed')
BOTH = [pytest.param(name, marks=with_onnx) if name == 'onnx' else name for name in GRAPH_FORMATS]


def program(path):
    """Images -> class token and patches, as the file computes them."""
    if path.suffix == '.pt2':
        return torch.export.load(path).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    assert [value.name for value in session.get_inputs()] == ['images']
    assert [value.name for value in session.get_outputs()] == ['class_token', 'patches']
    return lambda images: [torch.from_numpy(value) for value in session.run(None, {'images': images.numpy()})]


def exported(folder, network, format, **arguments):
    """The network trained, the program in the exported file, and the card."""
    teacher, _ = training_checkpoint(folder / 'a.pth', *network)
    path = export_backbone(folder / 'a.pth', folder / 'out', format=format, **arguments)
    return teacher, program(path), json.loads(path.with_suffix('.json').read_text())


def assert_equal(teacher, run, shapes):
    for batch, rows, columns in shapes:
        images = torch.randn(batch, 3, rows, columns)
        with torch.no_grad():
            pairs = zip(run(images), teacher(images), strict=True)
            for found, expected in pairs:
                assert found.shape == expected.shape
                assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize('format', BOTH)
@pytest.mark.parametrize('kind', KINDS)
def test_a_transformer_becomes_a_program_for_images_of_any_size(tmp_path, kind, format):
    teacher, run, card = exported(tmp_path, SHALLOW[kind], format)
    assert_equal(teacher, run, SIZES)
    assert card['graph']['inputs'] == {'images': ['batch', 3, 'rows', 'columns']}
    assert card['graph']['fixed_because'] is None and card['graph']['largest_difference'] < 1e-5
    assert 'not in the graph' in card['graph']['normalisation'] and card['mean'] == [0.485, 0.456, 0.406]


def batch_norm_goes_into_onnx() -> bool:
    """PyTorch 2.6 with a newer onnxscript cannot say so."""
    convnet = torch.export.export(nn.BatchNorm2d(2).eval(), (torch.zeros(2, 2, 3, 3),))
    try:
        torch.onnx.export(convnet, dynamo=True, verbose=False).save(io.BytesIO())
    except torch.onnx.OnnxExporterError:
        return False
    return True


@pytest.mark.parametrize('format', BOTH)
@pytest.mark.parametrize('kind', CONVOLUTIONS)
def test_a_convolutional_network_becomes_a_program_for_images_of_any_size(tmp_path, kind, format):
    if (kind, format) == ('ResNet', 'onnx') and not batch_norm_goes_into_onnx():
        pytest.skip("this PyTorch's ONNX exporter cannot convert BatchNorm with this onnxscript")
    teacher, run, card = exported(tmp_path, CONVOLUTIONS[kind], format)
    assert_equal(teacher, run, LARGE_SIZES)
    assert card['graph']['fixed_because'] is None


@pytest.fixture
def run_tool(tmp_path, repository, monkeypatch, capsys):
    """Format, network and options -> the network, the program that the tool writes, its card, and what is printed."""

    def run(format: str, network: tuple, *options: str):
        teacher, _ = training_checkpoint(tmp_path / 'a.pth', *network)
        tool = str(repository / 'tools/export_backbone.py')
        monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'a.pth'), '--format', format, *options])
        runpy.run_path(tool, run_name='__main__')
        (path,) = tmp_path.glob('a-*.pt2' if format == 'torch_export' else 'a-*.onnx')
        (card,) = tmp_path.glob('a-*.json')
        return teacher, program(path), json.loads(card.read_text())['graph'], capsys.readouterr().out

    return run


@pytest.mark.parametrize('format', BOTH)
def test_a_network_of_one_size_becomes_a_program_of_that_size_and_tool_and_card_say_why(run_tool, format):
    teacher, run, graph, printed = run_tool(format, FIXED)
    assert_equal(teacher, run, [(1, 32, 32), (3, 32, 32)])
    assert graph['inputs'] == {'images': ['batch', 3, 32, 32]}
    assert "doesn't match model (32)" in graph['fixed_because']
    assert 'Rows and columns are fixed: Input height' in printed
    with pytest.raises(Exception, match='32'):
        run(torch.zeros(1, 3, 40, 32))


@pytest.mark.parametrize('format', BOTH)
def test_the_tool_fixes_the_size_that_it_is_told(run_tool, format):
    teacher, run, graph, printed = run_tool(format, SHALLOW['plain'], '--image-size', '24', '43')
    assert_equal(teacher, run, [(1, 24, 43), (3, 24, 43)])
    with pytest.raises(Exception, match='43'):
        run(torch.zeros(1, 3, 24, 48))
    assert graph['inputs'] == {'images': ['batch', 3, 24, 43]} and graph['fixed_because'] is None
    assert "images: ['batch', 3, 24, 43], normalised" in printed and 'Rows and columns are fixed' not in printed


def test_a_program_that_differs_from_the_network_is_not_written(tmp_path, monkeypatch):
    right = positions._weights
    monkeypatch.setattr(positions, '_weights', lambda *arguments: right(*arguments).flip(1))  # while it is traced
    monkeypatch.setattr(positions, 'cached_weights', lambda *arguments: right(*arguments[:3], torch.tensor(0.0)))
    training_checkpoint(tmp_path / 'a.pth', *SHALLOW['plain'])
    with pytest.raises(ValueError, match=r'40 x 24 pixels .*values differ from the network, by \d+') as error:
        export_backbone(tmp_path / 'a.pth', tmp_path / 'out', format='torch_export', image_size=(40, 24))
    assert '--image-size' in str(error.value)
    assert not [*tmp_path.glob('out*')]


def test_missing_packages_are_named_with_the_extra(monkeypatch):
    monkeypatch.setattr(graphs, 'find_spec', lambda name: None if name == 'onnxscript' else True)
    with pytest.raises(ImportError, match=r'needs onnxscript, not installed here: pip install "dino_plugin\[onnx\]"'):
        graphs.graph_of(random_network('plain'), 'onnx')


@with_onnx
def test_a_network_larger_than_an_onnx_file_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(graphs, '_ONNX_LIMIT', 1000)
    with pytest.raises(ValueError, match=r'GiB of weights do not fit into one ONNX file .*: use torch_export'):
        graphs.graph_of(random_network('plain'), 'onnx')


def test_what_does_not_fit_the_format_is_refused(tmp_path):
    training_checkpoint(tmp_path / 'a.pth', *SHALLOW['plain'])
    with pytest.raises(ValueError, match=r"image_size=\(32, 32\) .*'timm' holds tensors"):
        export_backbone(tmp_path / 'a.pth', tmp_path / 'out', image_size=(32, 32))
    with pytest.raises(ValueError, match=r'writes \.pt2; give a name with that suffix or none, got .*out\.pth'):
        export_backbone(tmp_path / 'a.pth', tmp_path / 'out.pth', format='torch_export')
    with pytest.raises(ValueError, match=r"\['onnx', 'torch_export'\], got 'timm'"):
        graphs.graph_of(random_network('plain'), 'timm')
