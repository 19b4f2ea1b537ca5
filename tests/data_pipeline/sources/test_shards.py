"""Images in tar shards: the same bytes as in files, read alone; what is missing or damaged is named."""

import io
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from image_folders import copy_images
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from safetensors import safe_open
from safetensors.numpy import save_file

from dino_plugin.data.images.headers import UndecodableImageError
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.image_files import find_classes
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.mmcv_transforms import LoadImage
from dino_plugin.data.sources import stores
from dino_plugin.data.sources.index_writing import index_shards, write_index_of
from dino_plugin.data.sources.member_paths import member_path
from dino_plugin.data.sources.shard_dataset import ShardDataset
from dino_plugin.data.sources.shard_index import ShardIndex
from dino_plugin.data.sources.shard_writing import member_names, write_shards
from dino_plugin.evaluation.features.cache import cache_key

NAMES = [f'{kind}/{number}.jpg' for kind in ('cat', 'dog') for number in range(6)]


@pytest.fixture
def images(tmp_path) -> Path:
    return copy_images(tmp_path / 'images', *NAMES)


def write(images: Path, out: Path, images_per_shard: int = 5, **options) -> Path:
    found = find_classes(str(images), None, ('.jpg',))
    write_shards(found.samples, images, out, images_per_shard, **options)
    index_shards(str(out), classes=found.classes)
    return out


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as shard:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    return path


def name_of(info: dict) -> str:
    return info['img_path'].split('::')[1].split('@')[0]


def test_shards_hold_the_files_of_the_folder_with_their_labels(images, tmp_path):
    shards = ShardDataset(write(images, tmp_path / 'shards'), with_labels=True)
    files = ImageDataset(images, with_labels=True)
    assert shards.metainfo['classes'] == files.metainfo['classes'] == ('cat', 'dog')
    assert sorted(os.listdir(tmp_path / 'shards'))[:3] == ['00000.tar', '00001.tar', '00002.tar']
    of_files = {os.path.relpath(info['img_path'], images): info for info in map(files.get_data_info, range(12))}
    of_shards = {name_of(info): info for info in map(shards.get_data_info, range(12))}
    assert of_shards.keys() == of_files.keys()
    assert list(of_shards) != sorted(of_shards)  # in random order
    for name, info in of_shards.items():
        assert fileio.get(info['img_path']) == (images / name).read_bytes()
        assert info['gt_label'] == of_files[name]['gt_label']
        for loader in (LoadImage(), LoadImageFromFile()):
            ours, theirs = (loader.transform(dict(sample))['img'] for sample in (info, of_files[name]))
            assert np.array_equal(ours, theirs)


def test_several_folders_parts_and_pickles_are_as_with_lists(images, tmp_path):
    folders = [write(images, tmp_path / name, seed=seed) for seed, name in enumerate('ab')]
    both = ShardDataset(folders)
    paths = [both.get_data_info(number)['img_path'] for number in range(24)]
    singles = [ShardDataset(folder) for folder in folders]
    assert paths == [single.get_data_info(number)['img_path'] for single in singles for number in range(12)]
    assert 'gt_label' not in both.get_data_info(0)
    assert both.starts.tolist() == [0, 5, 10, 12, 17, 22]
    assert [ShardDataset(folders, indices=[13, 2]).get_data_info(i)['img_path'] for i in (0, 1)] == [
        paths[13],
        paths[2],
    ]
    last = ShardDataset(folders, indices=-3)
    assert [last.get_data_info(i)['img_path'] for i in range(3)] == paths[-3:]
    assert both.get_data_info(-1)['img_path'] == paths[-1]
    assert pickle.loads(pickle.dumps(both)).get_data_info(7) == both.get_data_info(7)
    assert ShardDataset(folders, max_pixels=9).get_data_info(0)['max_pixels'] == 9


def test_an_interrupted_writing_goes_on_and_leaves_no_half_shard(images, tmp_path):
    whole, parts = write(images, tmp_path / 'whole'), tmp_path / 'parts'

    def stopped(numbers):
        yield next(iter(numbers))
        raise KeyboardInterrupt

    samples = find_classes(str(images), None, ('.jpg',)).samples
    with pytest.raises(KeyboardInterrupt):
        write_shards(samples, images, parts, 5, progress=stopped)
    assert [path.name for path in parts.glob('*.tar')] == ['00000.tar']
    untouched = (parts / '00000.tar').stat().st_mtime_ns
    write(images, parts)
    assert (parts / '00000.tar').stat().st_mtime_ns == untouched
    for path in whole.glob('*.tar'):
        assert (parts / path.name).read_bytes() == path.read_bytes()
    for others, options in ((samples[1:], {}), (samples, dict(seed=1))):
        with pytest.raises(ValueError, match='has shards of other images or options'):
            write_shards(others, images, parts, 5, **options)
    with pytest.raises(ValueError, match='shards that this program did not write'):
        write_shards(samples, images, tar(tmp_path / 'others/0.tar', {}).parent)


def test_files_that_are_no_images_are_left_out_and_named(images, tmp_path):
    (images / 'cat/0.jpg').write_bytes((images / 'cat/0.jpg').read_bytes()[:200])
    (images / 'dog/1.jpg').write_text('<html>not found</html>')
    assert len(ShardDataset(write(images, tmp_path / 'shards'))) == 10
    skipped = sorted((tmp_path / 'shards/skipped.txt').read_text().splitlines())
    assert [line.split(': ')[0] for line in skipped] == [str(images / 'cat/0.jpg'), str(images / 'dog/1.jpg')]
    assert 'truncated' in skipped[0] and 'HTML' in skipped[1]


def test_no_two_members_have_one_key():
    names = member_names(['a.b/c.d.JPG', 'a.b/c_d.jpg', 'a.b/c_d.png', 'e.jpg'])
    assert names == ['a.b/c_d.jpg', 'a.b/c_d_1.jpg', 'a.b/c_d_2.png', 'e.jpg']
    assert len({name.split('.')[0] for name in member_names(['x_2.jpg', 'x.jpg', 'x.png'])}) == 3


def test_names_that_are_not_utf_8_or_have_other_line_ends_are_kept(images, tmp_path):
    odd = [os.fsdecode(b'caf\xe9.jpg'), 'two\u2028lines.jpg', 'über uns.jpg']
    for place, name in enumerate(odd):
        os.rename(images / NAMES[place], images / 'cat' / name)
    (images / 'cat' / os.fsdecode(b'empty\xe9.jpg')).write_bytes(b'')
    shards = ShardDataset(write(images, tmp_path / 'shards'), with_labels=True)
    assert len(shards) == len(NAMES)
    for info in map(shards.get_data_info, range(len(shards))):
        assert fileio.get(info['img_path']) == (images / name_of(info)).read_bytes()
    assert {f'cat/{name}' for name in odd} < {name_of(info) for info in map(shards.get_data_info, range(len(shards)))}
    assert b'empty\xe9.jpg' in (tmp_path / 'shards/skipped.txt').read_bytes()


def test_the_members_of_others_are_found(images, tmp_path):
    """As webdataset writes them: other members between, long names; the ending is all after the first dot."""
    picture, long = (images / NAMES[0]).read_bytes(), f'{"n" * 120}.JPEG'
    members = {'0.txt': b'a cat', '0.jpg': picture, '0.json': b'{}', '0.seg.png': b'mask', long: picture + b'end'}
    tar(tmp_path / 'shards/a/0.tar', members | {'1.cls': b'7\n', '1.png': picture, '2.jpg': b''})
    dataset = ShardDataset(index_shards(str(tmp_path / 'shards')).index.path.rpartition('/')[0])
    assert [name_of(dataset.get_data_info(i)) for i in range(len(dataset))] == ['0.jpg', long, '1.png']
    assert fileio.get(dataset.get_data_info(1)['img_path']) == picture + b'end'
    assert [dataset._indexes[0].sample(i, '')['gt_label'] for i in range(3)] == [-1, -1, 7]
    with pytest.raises(ValueError, match=r'2 of 3 images in the shards of .* have no label'):
        ShardDataset(tmp_path / 'shards', with_labels=True)
    with pytest.raises(ValueError, match=r'looked for members in \.gif, all after .* and found \.jpeg, \.jpg, \.json'):
        index_shards(str(tmp_path / 'shards'), str(tmp_path / 'other'), extensions=('.gif',))


def test_shards_that_are_added_are_read_alone(images, tmp_path):
    picture = (images / NAMES[0]).read_bytes()
    folder = tar(tmp_path / 'shards/b.tar', {'0.jpg': picture, '1.jpg': picture}).parent
    index_shards(str(folder))
    tar(folder / 'a.tar', {'ä/2.jpg': picture})
    tar(folder / 'c.tar', {'3.jpg': picture, '4.jpg': picture})
    read = []

    def stopped(names):
        for name in names:
            read.append(name)
            if name == 'c.tar':
                raise KeyboardInterrupt
            yield name

    with pytest.raises(KeyboardInterrupt):
        index_shards(str(folder), progress=stopped)
    assert read == ['a.tar', 'c.tar']
    assert list(ShardIndex(str(folder / 'index.safetensors')).shards) == ['a.tar', 'b.tar']
    indexed = index_shards(str(folder), num_workers=1)
    assert indexed.num_new == 1
    assert [indexed.index.name(i) for i in range(5)] == ['ä/2.jpg', '0.jpg', '1.jpg', '3.jpg', '4.jpg']


def test_a_damaged_shard_gives_the_images_before_the_damage(images, tmp_path, log):
    folder = write(images, tmp_path / 'shards')
    path = folder / '00001.tar'
    content = path.read_bytes()
    (folder / 'index.safetensors').unlink()
    path.write_bytes(
        content[: ShardDataset(write(images, tmp_path / 'o'))._indexes[0].members('00001.tar').offsets[3] + 9]
    )
    (folder / '00002.tar').write_bytes(b'no archive')
    index = index_shards(str(folder)).index
    assert [len(index.members(name).sizes) for name in index.shards] == [5, 3, 0]
    assert list(index.damage) == ['00001.tar', '00002.tar']
    ShardDataset(folder)
    assert 'shard 00001.tar in' in log() and 'is damaged' in log()


def test_an_image_that_went_bad_is_replaced_and_named(images, tmp_path, log):
    folder = write(images, tmp_path / 'shards')
    dataset = SeededDataset(ShardDataset(folder, pipeline=[LoadImage()]), max_undecodable=0.1)
    bad = dataset.dataset.get_data_info(6)['img_path']
    offset, size = map(int, bad.rpartition('@')[2].split('+'))
    with open(folder / '00001.tar', 'r+b') as file:
        file.seek(offset)
        file.write(bytes(size))
    assert dataset[6, 3]['img'].shape == (32, 32, 3)
    with pytest.raises(UndecodableImageError, match=r'00001\.tar is truncated: it ends inside this image'):
        LoadImage().transform(dict(img_path=member_path(str(folder / '00001.tar'), 'a.jpg', 10**6, 9)))
    assert dataset.undecodable_paths == [bad] and name_of(dict(img_path=bad)) in log()


def test_what_is_missing_is_said_before_the_training(images, tmp_path, log):
    folder = write(images, tmp_path / 'shards')
    with pytest.raises(FileNotFoundError, match=r'no index of shards: .*Make it: dino-plugin index'):
        ShardDataset(images)
    (folder / '00003.tar').touch()
    ShardDataset(folder)
    assert '1 shards in' in log() and 'not in its index' in log()
    with open(folder / '00002.tar', 'ab') as file:
        file.write(bytes(512))
    with pytest.raises(ValueError, match=r'1 shards of .* have another size than in .*: 00002\.tar'):
        ShardDataset(folder)
    (folder / '00001.tar').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 3 shards of the index .* do not exist: 00001\.tar'):
        ShardDataset(folder)
    (folder / 'index.safetensors').write_bytes(b'no index')
    with pytest.raises(ValueError, match='is no index of shards'):
        ShardDataset(folder)


def test_a_store_is_read_in_ranges_and_tried_again(images, tmp_path, monkeypatch):
    write(images, tmp_path / 'shards')
    store = fsspec.filesystem('memory')
    store.put(str(tmp_path / 'shards'), '/bucket/shards', recursive=True)
    dataset = ShardDataset('memory://bucket/shards', pipeline=[LoadImage()])
    files = ShardDataset(tmp_path / 'shards', pipeline=[LoadImage()])
    assert all(np.array_equal(dataset[i]['img'], files[i]['img']) for i in range(12))
    chained = ShardDataset('simplecache::memory://bucket/shards', pipeline=[LoadImage()])
    assert np.array_equal(chained[3]['img'], files[3]['img'])
    assert cache_key(torch.nn.Identity(), [dataset.get_data_info(0)], '') is None
    with pytest.raises(FileNotFoundError, match='no index'):
        ShardDataset('memory://bucket/nothing')
    tries, waited, whole = [], [], type(store).cat_file

    def unreachable(self, path, start=None, end=None):
        tries.append((start, end))
        if len(tries) < allowed:
            raise ConnectionResetError('gone')
        return whole(self, path, start, end)

    monkeypatch.setattr(type(store), 'cat_file', unreachable)
    monkeypatch.setattr(stores.time, 'sleep', waited.append)
    allowed = 3
    assert np.array_equal(dataset[0]['img'], files[0]['img'])
    offset, size = dataset._indexes[0]._arrays['offsets'][0], dataset._indexes[0]._arrays['sizes'][0]
    assert tries == [(offset, offset + size)] * 3 and waited == [1, 2]
    allowed = 10**9
    with pytest.raises(
        RuntimeError, match=r'memory://bucket/shards/.*\.tar cannot be read: ConnectionResetError: gone'
    ):
        SeededDataset(dataset)[0, 0]  # no other image takes its place


def test_shards_that_were_written_again_in_the_same_size_are_noticed(images, tmp_path, log):
    """Tar fills up to 10,240 bytes, so other labels and even other images seldom change the size."""
    picture = (images / NAMES[0]).read_bytes()
    labelled = lambda label: {'0.jpg': picture, '0.cls': label}  # noqa: E731
    folder = tar(tmp_path / 'shards/0.tar', labelled(b'3')).parent
    tar(folder / '1.tar', labelled(b'4'))
    index_shards(str(folder))
    copied = tmp_path / 'copy'
    shutil.copytree(folder, copied, copy_function=shutil.copyfile)
    assert len(ShardDataset(copied)) == 2  # other times, the same content
    assert '2 shards in' in log() and '2 of them were read and fit' in log()

    tar(folder / '0.tar', labelled(b'5'))
    with pytest.raises(ValueError, match=r'1 shards of .* were written again after .* 0\.tar\. .*index_shards'):
        ShardDataset(folder)
    assert index_shards(str(folder)).num_new == 1
    labels = [info['gt_label'] for info in map(ShardDataset(folder, with_labels=True).get_data_info, range(2))]
    assert labels == [5, 4]
    assert index_shards(str(folder)).num_new == 0
    assert index_shards(str(folder), extensions=('.jpg', '.jp2')).num_new == 2  # an ending more may find more


def test_an_index_of_images_that_somebody_chose_fits_a_shard_with_these_images(images, tmp_path):
    picture, path = (images / NAMES[0]).read_bytes(), tmp_path / 'shards/0.tar'
    index_shards(str(tar(path, {'0.jpg': picture, '1.jpg': picture, '1.cls': b'1'}).parent))
    write_index_of([ShardDataset(path.parent).get_data_info(1)['img_path']], str(tmp_path / 'chosen/index.safetensors'))
    tar(path, {'0.jpg': picture, '1.jpg': picture, '1.cls': b'2'})  # chosen images have no label
    assert len(ShardDataset(tmp_path / 'chosen')) == 1
    tar(path, {'0.jpg': picture, '2.jpg': picture, '1.cls': b'2'})
    with pytest.raises(ValueError, match='were written again'):
        ShardDataset(tmp_path / 'chosen')


def test_an_index_of_an_earlier_version_is_refused_and_read_anew(images, tmp_path):
    folder = write(images, tmp_path / 'shards')
    path = folder / 'index.safetensors'
    with safe_open(path, 'np') as file:
        header = json.loads(file.metadata()['shards'])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header['changes'], header['extensions']
    save_file(arrays, path, metadata=dict(shards=json.dumps(header)))
    with pytest.raises(ValueError, match=r'is of an earlier version, .*: dino-plugin index_shards'):
        ShardDataset(folder)
    assert index_shards(str(folder)).num_new == 3
    assert len(ShardDataset(folder)) == len(NAMES)


def test_links_to_folders_and_hard_links_in_a_tar_are_followed_and_the_rest_is_counted(images, tmp_path):
    """`tar` writes a file that has two names once, and a link the second time."""
    source = tmp_path / 'source'
    (source / 'b').mkdir(parents=True)
    shutil.copy(images / NAMES[0], source / '0.jpg')
    os.link(source / '0.jpg', source / 'b/1.jpg')
    (source / '0.cls').write_text('3')
    os.link(source / '0.cls', source / 'b/1.cls')
    os.symlink('0.jpg', source / 'soft.jpg')
    (source / 'old.jp2').write_bytes(b'other')
    (tmp_path / 'elsewhere').mkdir()
    with tarfile.open(tmp_path / 'elsewhere/0.tar', 'w') as shard:
        for name in ('0.jpg', '0.cls', 'b', 'soft.jpg', 'old.jp2'):
            shard.add(source / name, name)
    (tmp_path / 'shards').mkdir()
    os.symlink(tmp_path / 'elsewhere', tmp_path / 'shards/linked')
    os.symlink(tmp_path / 'shards', tmp_path / 'elsewhere/circle')

    index = index_shards(str(tmp_path / 'shards')).index
    assert list(index.shards) == ['linked/0.tar']
    dataset = ShardDataset(tmp_path / 'shards', with_labels=True)
    infos = {name_of(info): info for info in map(dataset.get_data_info, range(len(dataset)))}
    assert {name: info['gt_label'] for name, info in infos.items()} == {'0.jpg': 3, 'b/1.jpg': 3}
    assert {fileio.get(info['img_path']) for info in infos.values()} == {(images / NAMES[0]).read_bytes()}
    assert index_shards(str(tmp_path / 'shards')).index.others == {'linked/0.tar': {'.jpg': 1, '.jp2': 1}}
