"""`tools/extract_features.py`: the rows are those of `extract_features`, in the order of the names beside them."""

import os
import runpy
import sys

import numpy as np
import pyarrow.parquet
import pytest
import torch
from bundled import CIFAR
from safetensors.torch import load_file
from torch.utils.data import DataLoader

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.collate import image_collate
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.evaluation.features import files as feature_files
from dino_plugin.evaluation.features.extraction import extract_features
from dino_plugin.evaluation.features.files import write_features
from dino_plugin.evaluation.features.names import read_names

PIPELINE = [
    dict(type='dino_plugin.LoadImage'),
    dict(type='dino_plugin.ResizeCentreCrop', resize=32, crop=32),
    dict(type='dino_plugin.PackImage'),
]


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    return TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2).eval()


@pytest.fixture
def folder(tmp_path):
    """Eleven photographs and a file that is none."""
    root = tmp_path / 'images'
    root.mkdir()
    for number, path in enumerate(sorted(CIFAR.rglob('*.jpg'))[:11]):
        (root / f'{number:02}.jpg').write_bytes(path.read_bytes())
    (root / '05b.jpg').write_bytes(b'no image')
    return root


def dataset(folder):
    return ImageDataset(data_root=folder, pipeline=PIPELINE)


def expected(backbone, folder, **options):
    names = [str(folder / f'{number:02}.jpg') for number in range(11)]
    (folder / 'list.txt').write_text('\n'.join(names))
    listed = ImageDataset(ann_file=str(folder / 'list.txt'), pipeline=PIPELINE)
    return extract_features(backbone, DataLoader(listed, batch_size=4, collate_fn=image_collate), **options)[0], names


@pytest.mark.parametrize('suffix', ['.npy', '.safetensors', '.parquet'])
def test_rows_are_the_features_of_the_named_images(backbone, folder, tmp_path, suffix):
    rows, names = expected(backbone, folder, features='class+mean', num_blocks=2)
    written = write_features(backbone, dataset(folder), tmp_path / f'f{suffix}', 'class+mean', 2, 3, 0, part=4)
    assert written == (tmp_path / f'f{suffix}', (11, 48), [str(folder / '05b.jpg')])
    if suffix == '.parquet':
        table = pyarrow.parquet.read_table(written.out)
        found, listed = torch.tensor(np.stack(table['features'].to_numpy())), table['file'].to_pylist()
    else:
        found = torch.from_numpy(np.load(written.out)) if suffix == '.npy' else load_file(written.out)['features']
        listed = written.out.with_suffix('.txt').read_text().splitlines()
    assert listed == names
    torch.testing.assert_close(found, rows)
    assert not (tmp_path / f'f{suffix}.parts').exists()


def test_names_with_odd_bytes_and_line_ends_stay_beside_their_rows(backbone, folder, tmp_path):
    odd = {'00.jpg': os.fsdecode(b'0\xe9.jpg'), '01.jpg': '1\u2028b.jpg', '02.jpg': '2\x85\x0c.jpg'}
    for old, new in odd.items():
        (folder / old).rename(folder / new)
    write_features(backbone, dataset(folder), tmp_path / 'f.npy', num_workers=0)
    names = read_names(tmp_path / 'f.txt', 11)
    assert sorted(names) == sorted(str(path) for path in folder.iterdir() if path.name != '05b.jpg')
    with pytest.raises(ValueError, match='has 11 lines for 12 rows of features'):
        read_names(tmp_path / 'f.txt', 12)
    with pytest.raises(ValueError, match='Parquet files hold UTF-8 alone'):
        write_features(backbone, dataset(folder), tmp_path / 'f.parquet', num_workers=0)


def test_patch_grids_keep_their_shape(backbone, folder, tmp_path):
    written = write_features(backbone, dataset(folder), tmp_path / 'f.npy', 'patches', batch_size=5, num_workers=0)
    found = torch.from_numpy(np.load(written.out))
    assert found.shape == written.shape == (11, 4, 4, 16)
    means, _ = expected(backbone, folder, features='mean')
    torch.testing.assert_close(found.mean((1, 2)), means)


def test_an_interrupted_run_goes_on_and_another_network_begins_anew(backbone, folder, tmp_path, monkeypatch):
    seen = []
    stream = feature_files.stream_features

    def counted(network, batches, *arguments):
        for rows, numbers in stream(network, batches, *arguments):
            if len(seen) == 7:
                raise TimeoutError('killed here')
            seen.append(numbers.tolist())
            yield rows, numbers

    monkeypatch.setattr(feature_files, 'stream_features', counted)
    with pytest.raises(TimeoutError, match='killed here'):
        write_features(backbone, dataset(folder), tmp_path / 'f.npy', batch_size=1, num_workers=0, part=3)
    assert not (tmp_path / 'f.npy').exists()
    seen.clear()
    write_features(backbone, dataset(folder), tmp_path / 'f.npy', batch_size=1, num_workers=0, part=3)
    rows, names = expected(backbone, folder)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / 'f.npy')), rows)
    # Image 6 is the one that cannot be read: rows 0 to 5 were whole parts, the seventh row was not.
    assert [number for batch in seen for number in batch] == [7, 8, 9, 10, 11]
    assert (tmp_path / 'f.txt').read_text().split() == names

    monkeypatch.undo()
    (tmp_path / 'f.npy.parts').mkdir()
    (tmp_path / 'f.npy.parts/key.txt').write_text('of another network')
    (tmp_path / 'f.npy.parts/000000000009.safetensors').write_bytes(b'')
    write_features(backbone, dataset(folder), tmp_path / 'f.npy', batch_size=4, num_workers=0)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / 'f.npy')), rows)


def test_wrong_names_and_folders_without_an_image_are_told_before_work_starts(backbone, folder, tmp_path):
    with pytest.raises(ValueError, match=r'f\.csv: the name must end in one of \.safetensors, \.npy, \.parquet'):
        write_features(backbone, dataset(folder), tmp_path / 'f.csv')
    for path in folder.glob('*.jpg'):
        path.write_bytes(b'no image')
    with pytest.raises(ValueError, match='None of 12 images can be read'):
        write_features(backbone, dataset(folder), tmp_path / 'f.npy', num_workers=0)


def test_the_command_writes_what_the_function_writes(backbone, folder, tmp_path, repository, monkeypatch, capsys):
    checkpoint = tmp_path / 'a.pth'
    torch.save({'state_dict': backbone.model.state_dict(), 'meta': {'backbone': backbone.description}}, checkpoint)
    command = ['extract_features.py', str(checkpoint), '--images', str(folder), '--out', str(tmp_path / 'f.npy')]
    monkeypatch.setattr(sys, 'argv', [*command, '--resize=32', '--crop=32', '--num-workers=0', '--last-blocks=2'])
    runpy.run_path(str(repository / 'tools/extract_features.py'), run_name='__main__')
    assert '05b.jpg cannot be read and has no row' in capsys.readouterr().out
    rows, _ = expected(backbone, folder, num_blocks=2)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / 'f.npy')), rows)
    monkeypatch.setattr(sys, 'argv', [*command, '--last-blocks=3'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(repository / 'tools/extract_features.py'), run_name='__main__')
    assert 'last_blocks=3 must be 1 to 2' in capsys.readouterr().err
