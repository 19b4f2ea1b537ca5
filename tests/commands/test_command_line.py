"""Options of the command line mean what they mean in OpenMMLab's tools, and keep their blanks."""

import argparse

import pytest
from mmengine.config import Config, DictAction

from dino_plugin.commands.command_line import add_options, existing, option_values

VALUES = [
    '1', '-2', '1e-3', 'inf', '1_000', '0x10', 'None', 'none', 'True', 'false', '', 'word', 'a=b', 'a/b.jpg',
    '1,2,3', 'a,b', '1,', ',', '[1,2]', '(1,2)', '(1,)', '[]', '()', '[(1,2),(3,4)]', '[[1,2],[3,[4,5]],None]',
    '[a(b),c]', '(a', 'a)', '[a', '{a:1}', '"word"', "'word'", "'a,b'", '"(1,2)"', '"1"', "['a',\"b\"]", "['1']",
    '["[1,2]",3]', '[0.9,0.999]', '(True,None,1.5,x)',
]  # fmt: skip
SEPARATING = [' 3 ', '[ 1 , 2 ]', '( 1, (2 , 3 ) )', '1, 2', '[a, b]', '[(0.4, 1.0), (0.05, 0.4)]', ' [1,2] ']


def parse(*words: str) -> dict:
    parser = argparse.ArgumentParser()
    add_options(parser, '--cfg-options', '')
    return option_values(parser.parse_args(['--cfg-options', *words]).cfg_options)


def by_mmengine(*words: str) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


@pytest.mark.parametrize('text', [*VALUES, *SEPARATING])
def test_a_value_is_what_mmengine_makes_of_it(text):
    ours, theirs = parse(f'a.b={text}'), by_mmengine(f'a.b={text}')
    assert repr(ours) == repr(theirs)  # types, too: 1 is not True


def test_options_may_be_given_in_several_groups_and_the_last_one_counts():
    words = ['a=1', 'b=2', '--cfg-options', 'c=3', 'a=4']
    assert parse(*words) == by_mmengine(*words) == dict(a=4, b=2, c=3)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('my images', 'my images'),
        ('/data/my images/2024 01', '/data/my images/2024 01'),
        ('my photos (2024, 2025)', 'my photos (2024, 2025)'),
        ("'my images'", 'my images'),
        ('1 2', '1 2'),
        (' two  blanks ', ' two  blanks '),
        ('[my images, other (old) images]', ['my images', 'other (old) images']),
        ('my images, 3', ['my images', 3]),
        ('[("a b", 1), (c, None)]', [('a b', 1), ('c', None)]),
    ],
)
def test_blanks_inside_a_text_stay(text, expected):
    assert parse(f'data_root={text}') == dict(data_root=expected)
    cfg = Config(dict(train=dict(data_root='')))
    cfg.merge_from_dict({f'train.{key}': value for key, value in parse(f'data_root={text}').items()})
    assert cfg.train.data_root == expected


@pytest.mark.parametrize('word', ['train_cfg.max_epochs', 'my', '=3'])
def test_a_word_without_a_name_or_a_value_is_answered_with_the_form(word, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(word)
    assert stop.value.code == 2
    assert f'{word!r} is not of the form NAME=VALUE, such as train_cfg.max_epochs=10' in capsys.readouterr().err


def test_brackets_that_do_not_fit_are_told_with_the_option(capsys):
    with pytest.raises(SystemExit) as stop:
        parse('data_root=[my images, (other]')
    assert stop.value.code == 2
    assert 'data_root=[my images, (other]: Imbalanced brackets exist in' in capsys.readouterr().err


def test_a_comma_in_the_name_of_an_existing_folder_makes_no_list(tmp_path, monkeypatch):
    (tmp_path / 'cats, dogs').mkdir()
    monkeypatch.setenv('HOME', str(tmp_path))
    assert parse(f'data_root={tmp_path}/cats, dogs') == dict(data_root=f'{tmp_path}/cats, dogs')
    assert parse('data_root=~/cats, dogs') == dict(data_root='~/cats, dogs')  # the data set knows what ~ is
    assert parse(f'data_root={tmp_path}/cats, birds') == dict(data_root=[f'{tmp_path}/cats', 'birds'])


def test_a_tilde_that_the_shell_left_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'a file.pth').write_bytes(b'')
    assert existing('~/a file.pth') == f'{tmp_path}/a file.pth'
    assert existing('https://host/~user/a.pth') == 'https://host/~user/a.pth'
    with pytest.raises(argparse.ArgumentTypeError, match='~/gone does not exist'):
        existing('~/gone')
