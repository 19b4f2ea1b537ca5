"""The network that a program's command line names: files, the word none, and names for tables."""

import runpy
import sys

import pytest
import torch
from bundled import CIFAR

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.commands.network_arguments import backbone_or_fail, names_of

TINY = dict(model_name='vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
PAIRS = [(name, str(value)) for name, value in TINY.items()]


def test_files_have_as_many_folders_in_their_names_as_tell_them_apart():
    assert names_of(['runs/a/epoch_1.pth'], '') == {'epoch_1': 'runs/a/epoch_1.pth'}
    paths = ['runs/a/epoch_1.pth', 'runs/b/epoch_1.pth', 'runs/a/epoch_1.pth']
    assert names_of(paths, '') == {'a/epoch_1': paths[0], 'b/epoch_1': paths[1]}
    assert names_of(['none', 'a.pth'], 'vit_small_patch16_224.dino') == {
        'vit_small_patch16_224.dino': 'none',
        'a': 'a.pth',
    }
    assert names_of(['runs/untrained.pth'], '', taken=('untrained',)) == {'runs/untrained': 'runs/untrained.pth'}
    assert names_of(['a.pth', 'a.safetensors'], '') == {'a.pth': 'a.pth', 'a.safetensors': 'a.safetensors'}


def test_the_word_none_is_timms_network_with_the_same_initial_weights_in_each_run():
    torch.manual_seed(0)
    expected = TimmBackbone(**TINY).state_dict()
    torch.manual_seed(7)
    found = backbone_or_fail('none', PAIRS).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_network_that_nothing_names_ends_the_program_with_the_option_that_it_has(capsys):
    with pytest.raises(SystemExit):
        backbone_or_fail('none', [])
    error = capsys.readouterr().err
    assert '--backbone model_name' in error and 'cfg-options' not in error


@pytest.mark.parametrize('tool', ['retrieve', 'extract_features', 'visualize_features', 'visualize_attention'])
def test_tools_take_a_name_of_timm_in_place_of_a_file(tool, repository, tmp_path, monkeypatch):
    images = sorted((CIFAR / 'cat').glob('*.jpg'))[:3]
    folder, out = tmp_path / 'images', tmp_path / ('out.npy' if tool == 'extract_features' else 'out.png')
    folder.mkdir()
    for path in images:
        (folder / path.name).symlink_to(path)
    arguments = dict(
        retrieve=['--images', folder, '--queries', images[0], '--size', '32', '--num-workers', '0'],
        extract_features=['--images', folder, '--resize', '32', '--crop', '32', '--num-workers', '0'],
        visualize_features=[folder, '--size', '32'],
        visualize_attention=[images[0], '--size', '32'],
    )[tool]
    options = ['--backbone', *(f'{name}={value}' for name, value in TINY.items())]
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', 'none', *map(str, arguments), '--out', str(out), *options])
    runpy.run_path(str(repository / f'tools/{tool}.py'), run_name='__main__')
    assert out.stat().st_size
