"""Columns of images: downloaded and streamed give the same files, in the same order."""

import pickle
from itertools import pairwise

import datasets
import fsspec
import pytest
from image_folders import PICTURES
from mmengine import fileio

from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.mmcv_transforms import LoadImage
from dino_plugin.data.sources import hugging_face, table_rows
from dino_plugin.data.sources.hugging_face import HuggingFaceDataset
from dino_plugin.data.sources.shard_sampler import ShardSampler

FILES = [path.read_bytes() for path in PICTURES[:11]]
LABELS = [number % 2 for number in range(11)]


@pytest.fixture(scope='module')
def table() -> datasets.Dataset:
    features = datasets.Features(image=datasets.Image(), kind=datasets.ClassLabel(names=['cat', 'dog']))
    images = [dict(bytes=data, path=None) for data in FILES[:10]] + [dict(bytes=None, path=str(PICTURES[10]))]
    return datasets.Dataset.from_dict(dict(image=images, kind=LABELS), features=features)


@pytest.fixture
def three_ways(table, tmp_path, monkeypatch) -> list[dict]:
    """A folder on disk, two Parquet files, and the same at an address, streamed."""
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    table.save_to_disk(tmp_path / 'saved')
    parts = [str(tmp_path / name) for name in ('a.parquet', 'b.parquet')]
    table.select(range(6)).to_parquet(parts[0], batch_size=4)
    table.select(range(6, 11)).to_parquet(parts[1], batch_size=4)
    store = fsspec.filesystem('memory')
    for part in parts:
        store.put(part, f'/hub{part}')
    addresses = [f'memory://hub{part}' for part in parts]
    return [
        dict(path=str(tmp_path / 'saved')),
        dict(path='parquet', load=dict(data_files=parts)),
        dict(path='parquet', load=dict(data_files=parts), streaming=True, split='train'),
        dict(path='parquet', load=dict(data_files=addresses), streaming=True),
    ]


def test_all_ways_give_the_files_and_the_labels(three_ways, monkeypatch):
    monkeypatch.setattr(table_rows, 'GROUPS_IN_MEMORY', 2)  # of four
    for way in three_ways:
        dataset = HuggingFaceDataset(**way, label_column='kind', pipeline=[LoadImage()])
        assert dataset.metainfo['classes'] == ('cat', 'dog')
        infos = [dataset.get_data_info(index) for index in (*range(11), 0, 5, 9)]
        hugging_face._OPEN.clear()
        dataset = pickle.loads(pickle.dumps(dataset))  # as for a spawned worker
        expected = [*FILES, FILES[0], FILES[5], FILES[9]]
        assert [fileio.get(info['img_path']) for info in infos] == expected
        assert [info['gt_label'] for info in infos[:11]] == LABELS
        assert dataset[3]['img'].shape == (32, 32, 3)
        assert 'gt_label' not in HuggingFaceDataset(**way).get_data_info(0)
        part = HuggingFaceDataset(**way, indices=[4, 2], max_pixels=9)
        assert fileio.get(part.get_data_info(1)['img_path']) == FILES[2] and len(part) == 2
        assert part.get_data_info(0)['max_pixels'] == 9


def test_labels_are_read_without_the_images(three_ways):
    dataset = HuggingFaceDataset(**three_ways[2], label_column='kind')
    assert [dataset.get_data_info(index)['gt_label'] for index in range(11)] == LABELS
    images, labels = map(len, dataset._rows._kept)
    assert (images, labels) == (0, 4)


def test_groups_of_rows_are_read_window_by_window(three_ways):
    dataset = SeededDataset(HuggingFaceDataset(**three_ways[2]))
    assert dataset.dataset.starts.tolist() == [0, 4, 6, 10]
    group_of = [0] * 4 + [1] * 2 + [2] * 4 + [3]
    order = [group_of[index] for index, _ in ShardSampler(dataset, window=1, seed=0)]
    assert len(list(dict.fromkeys(order))) == 1 + sum(a != b for a, b in pairwise(order)) == 4


def test_two_data_sets_of_other_files_are_open_at_a_time(three_ways):
    files = three_ways[1]['load']['data_files']
    first, second = (HuggingFaceDataset('parquet', load=dict(data_files=[file]), streaming=True) for file in files)
    assert [fileio.get(part.get_data_info(0)['img_path']) for part in (first, second)] == [FILES[0], FILES[6]]


def test_what_is_not_there_is_named(three_ways, tmp_path):
    for way in three_ways:
        with pytest.raises(ValueError, match=r"there is no column 'picture', there are \['image', 'kind'\]"):
            HuggingFaceDataset(**way, column='picture')
    with pytest.raises(ValueError, match=r"has none for the split 'test' of \['train'\]"):
        HuggingFaceDataset(**three_ways[2] | dict(split='test'))
    (tmp_path / 'a.csv').write_text('image\na.jpg\n')
    with pytest.raises(ValueError, match=r'streaming reads Parquet files, and csv has'):
        HuggingFaceDataset('csv', load=dict(data_files=str(tmp_path / 'a.csv')), streaming=True)
