"""Captions of tables, shards and Hugging Face's data sets: drawn one by one, and refused where they are wrong."""

import io
import json
import random
import tarfile

import pytest
import torch
from image_folders import PICTURES

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.mmcv_transforms import LoadImage
from dino_plugin.data.sources.hugging_face import HuggingFaceDataset
from dino_plugin.data.sources.index_writing import index_shards
from dino_plugin.data.sources.shard_dataset import ShardDataset
from dino_plugin.evaluation.text.caption_batches import CaptionPreprocessor, PackCaptions, caption_collate
from dino_plugin.evaluation.text.captions import CaptionDataset

TABLE = 'image,caption\na.jpg,"A dog, running"\nb.jpg,two cats\na.jpg,Ein Hund läuft\na.jpg,"A dog, running"\n'


def table(folder, text=TABLE, name='train.csv', encoding='utf-8', **options):
    for place, image in enumerate(('a.jpg', 'b.jpg')):
        (folder / image).write_bytes(PICTURES[place].read_bytes())
    (folder / name).write_bytes(text.encode(encoding))
    return CaptionDataset(name, data_root=str(folder), **options)


@pytest.mark.parametrize('form', ['csv', 'tsv', 'with a byte-order mark'])
def test_an_image_has_the_captions_of_its_rows(form, tmp_path, log):
    if form == 'tsv':
        text = TABLE.replace('"A dog, running"', 'A dog, running').replace('jpg,', 'jpg\t').replace('e,c', 'e\tc')
        dataset = table(tmp_path, text, 'train.tsv')
    else:
        dataset = table(tmp_path, encoding='utf-8' if form == 'csv' else 'utf-8-sig')
    found = [dataset.get_data_info(place) for place in range(len(dataset))]
    assert [info['captions'] for info in found] == [['A dog, running', 'Ein Hund läuft'], ['two cats']]
    assert [info['img_path'] for info in found] == [str(tmp_path / name) for name in ('a.jpg', 'b.jpg')]
    assert '2 images with 3 captions' in log() and '1 rows stand there twice and count once' in log()


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ('file,caption\na.jpg,a dog\n', ValueError, r"no column 'image'; its first row names \['file', 'caption'\]"),
        ('', ValueError, "no column 'image'; its first row names None"),
        ('image,caption\n', ValueError, 'no row below its names'),
        (
            'image,caption\na.jpg,a dog\nb.jpg, \n',
            ValueError,
            r"line 3: image and caption expected, got \['b.jpg', ''\]",
        ),
        ('image,caption\na.jpg,a dog, running\n', ValueError, r"line 2: 2 cells expected, and .* more, \[' running'\]"),
        ('image,caption\na.jpg,"a dog\n' + 'x' * 200_000, ValueError, 'Is a quote not closed'),
        ('image,caption\na.jpg\n', ValueError, 'line 2: image and caption expected'),
        ('image,caption\na.jpg,a dog\nc.jpg,a cat\n', FileNotFoundError, r'1 of 2 files .* do not exist: .*c\.jpg'),
    ],
)
def test_tables_that_do_not_fit_are_refused_before_training(text, error, message, tmp_path):
    with pytest.raises(error, match=message):
        table(tmp_path, text)


def test_a_table_in_another_encoding_or_nowhere_is_refused(tmp_path):
    with pytest.raises(ValueError, match='is not UTF-8'):
        table(tmp_path, encoding='latin-1')
    with pytest.raises(FileNotFoundError, match=r'ann_file does not exist: .*test\.csv'):
        CaptionDataset('test.csv', data_root=str(tmp_path))


def test_one_caption_is_drawn_for_an_epoch_and_the_same_when_resumed(tmp_path):
    dataset = SeededDataset(table(tmp_path, pipeline=[LoadImage(), PackCaptions(draw_one=True)]))
    drawn = [dataset[0, seed][1] for seed in range(20)]
    assert all(len(captions) == 1 for captions in drawn)
    assert {captions[0] for captions in drawn} == {'A dog, running', 'Ein Hund läuft'}
    random.seed(5)
    assert [dataset[0, seed][1] for seed in reversed(range(20))] == drawn[::-1]
    whole = table(tmp_path, pipeline=[LoadImage(), PackCaptions()])
    assert [sample[1] for sample in whole] == [['A dog, running', 'Ein Hund läuft'], ['two cats']]


def shards(folder, members):
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / '0.tar', 'w') as shard:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            shard.addfile(entry, io.BytesIO(data))
    index_shards(str(folder))
    return ShardDataset(str(folder), with_captions=True, pipeline=[LoadImage(), PackCaptions()])


IMAGE = PICTURES[0].read_bytes()


def test_captions_of_shards_are_text_or_json_before_or_behind_the_image(tmp_path):
    described = json.dumps(dict(caption='three ducks', url='x')).encode()
    members = {
        'a.jpg': IMAGE, 'a.txt': b'a dog\n', 'b.txt': b'ein Hund', 'b.jpg': IMAGE, 'c.json': described,
        'c.jpg': IMAGE, 'd.txt': b'text first', 'd.jpg': IMAGE, 'd.json': described,
    }  # fmt: skip
    dataset = shards(tmp_path / 'shards', members)
    assert [sample[1] for sample in dataset] == [['a dog'], ['ein Hund'], ['three ducks'], ['text first']]
    assert 'caption_path' not in ShardDataset(str(tmp_path / 'shards')).get_data_info(0)


def test_an_image_without_a_caption_is_named_and_empty_ones_are_replaced(tmp_path, log):
    with pytest.raises(ValueError, match=r'1 of 2 images in the shards .* have no caption .*, such as b\.jpg'):
        shards(tmp_path / 'one', {'a.jpg': IMAGE, 'a.txt': b'a dog', 'b.jpg': IMAGE}).full_init()
    dataset = shards(tmp_path / 'other', {'a.jpg': IMAGE, 'a.txt': b'a dog', 'b.jpg': IMAGE, 'b.json': b'{"text": ""}'})
    seeded = SeededDataset(dataset)
    assert seeded[1, 0][1] == ['a dog'] and "holds no caption (KeyError: 'caption')" in log()


@pytest.mark.parametrize('streaming', [False, True])
def test_captions_of_a_hugging_face_data_set_are_a_text_or_several(streaming, tmp_path, monkeypatch):
    datasets = pytest.importorskip('datasets', reason='pip install "dino_plugin[datasets]"')
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    features = datasets.Features(image=datasets.Image(), text=datasets.Value('string'), all=[datasets.Value('string')])
    rows = dict(
        image=[dict(bytes=IMAGE, path=None)] * 2, text=['a dog', 'a cat'], all=[['a dog', 'a hound'], ['a cat']]
    )
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / 'a.parquet'))
    source = dict(path='parquet', load=dict(data_files=str(tmp_path / 'a.parquet')), streaming=streaming)
    for column, expected in (('text', [['a dog'], ['a cat']]), ('all', [['a dog', 'a hound'], ['a cat']])):
        dataset = HuggingFaceDataset(**source, caption_column=column, pipeline=[LoadImage(), PackCaptions()])
        assert [sample[1] for sample in dataset] == expected
    with pytest.raises(ValueError, match='labels or captions'):
        HuggingFaceDataset(**source, caption_column='text', label_column='text')


def test_the_key_of_a_caption_in_json_is_chosen(tmp_path):
    (tmp_path / 'a.json').write_text('{"caption": "a dog", "long": ["a black dog", "a dog that runs"]}')
    info = dict(img_path='a.jpg', caption_path=str(tmp_path / 'a.json'))
    assert PackCaptions()._captions(info) == ['a dog']
    assert PackCaptions(json_key='long')._captions(info) == ['a black dog', 'a dog that runs']


def test_samples_without_captions_are_refused_and_empty_ones_are_undecodable():
    with pytest.raises(ValueError, match=r'no captions for a\.jpg: use dino_plugin\.CaptionDataset'):
        PackCaptions()._captions(dict(img_path='a.jpg'))
    for captions in ([], ['a dog', ' '], None):
        with pytest.raises(UndecodableImageError, match=r'a\.jpg: a caption is empty'):
            PackCaptions()._captions(dict(img_path='a.jpg', captions=captions))


def test_a_batch_is_images_and_captions(tmp_path):
    images = torch.full((2, 4, 4, 3), 128, dtype=torch.uint8)
    batch = caption_collate([(images[0], ['a', 'b'], 'a.jpg'), (images[1], ['c'], 'b.jpg')])
    found = CaptionPreprocessor(mean=[128] * 3, std=[1] * 3)(batch)
    assert batch.names == ['a.jpg', 'b.jpg'] and found['captions'] == [['a', 'b'], ['c']]
    assert torch.equal(found['images'], torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match='images of different shapes'):
        caption_collate([(images[0], ['a'], ''), (images[1, :2], ['b'], '')])
