"""tools/curate.py: from a folder of images, or from shards, to a list that a training takes, and the page."""

import os
import runpy
import sys

import pytest
import torch
from bundled import CIFAR

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.image_files import find_images
from dino_plugin.data.sources.index_writing import index_shards
from dino_plugin.data.sources.shard_dataset import ShardDataset
from dino_plugin.data.sources.shard_writing import write_shards


@pytest.fixture
def images(tmp_path):
    """Forty photographs, five of them twice, and a file that is no image."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for number, path in enumerate(sorted(CIFAR.glob('*/*.jpg'))[::25]):
        (folder / f'{number:02}.jpg').write_bytes(path.read_bytes())
        if number < 5:
            (folder / f'copy_{number}.jpg').write_bytes(path.read_bytes())
    (folder / 'broken.jpg').write_bytes(b'no image')
    return folder


@pytest.fixture
def curated(repository, monkeypatch, tmp_path):
    """What the tool printed, for a folder of images and one of results."""
    torch.manual_seed(0)
    tiny = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    state = {f'distillation.teacher.backbone.{key}': value for key, value in tiny.state_dict().items()}
    torch.save({'meta': {'backbone': tiny.description}, 'state_dict': state}, tmp_path / 'epoch_1.pth')

    def run(images, out, capsys):
        tool = str(repository / 'tools/curate.py')
        command = [tool, tmp_path / 'epoch_1.pth', '--images', images, '--keep', 12, '--out', out, '--clusters', 8, 3,
                   '--duplicates', 0.99999, '--resize', 32, '--crop', 32, '--num-workers', 0]  # fmt: skip
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        runpy.run_path(tool, run_name='__main__')
        return capsys.readouterr().out.splitlines()

    return run


def test_a_folder_becomes_a_list_to_train_on_and_a_second_run_has_nothing_to_do(images, tmp_path, curated, capsys):
    out, checkpoint = tmp_path / 'out', tmp_path / 'epoch_1.pth'
    status = checkpoint.stat()
    for _ in range(2):
        assert curated(images, out, capsys)[-2:] == [str(out / 'page.html'), str(out / 'chosen/chosen.txt')]
        checkpoint.write_bytes(bytes(status.st_size))  # not read again
        os.utime(checkpoint, ns=(status.st_atime_ns, status.st_mtime_ns))
    chosen = ImageDataset(ann_file=str(out / 'chosen/chosen.txt'))
    paths = [info['img_path'] for info in map(chosen.get_data_info, range(len(chosen)))]
    assert len(set(paths)) == len(paths) == 12
    assert not any({f'{images}/copy_{number}.jpg', f'{images}/0{number}.jpg'} <= set(paths) for number in range(5))
    assert (out / 'embeddings_images/unreadable.txt').read_text().split() == [str(images / 'broken.jpg')]
    page = (out / 'page.html').read_text()
    assert page.count('<img src="data:image/') == 4 and 'images 45, pairs 5' in page and str(tmp_path) not in page


def test_shards_become_an_index_to_train_on(images, tmp_path, curated, capsys):
    shards, out = tmp_path / 'shards', tmp_path / 'out'
    (images / 'broken.jpg').unlink()
    write_shards([dict(img_path=path) for path in find_images(str(images))[0]], str(images), str(shards), 20)
    index_shards(str(shards))
    assert curated(shards, out, capsys)[-1] == str(out / 'chosen')
    chosen = ShardDataset(out / 'chosen', pipeline=[dict(type='dino_plugin.LoadImage')])
    infos = [chosen.get_data_info(number) for number in range(len(chosen))]
    assert [info['img_path'] for info in infos] == (out / 'chosen/chosen.txt').read_text().splitlines()
    assert len(infos) == 12 and len(chosen.starts) == len({info['img_path'].split('::')[0] for info in infos})
    whole = ShardDataset(shards, pipeline=[dict(type='dino_plugin.LoadImage')])
    all_images = {info['img_path']: number for number, info in enumerate(map(whole.get_data_info, range(len(whole))))}
    for number, info in enumerate(infos):
        assert (chosen[number]['img'] == whole[all_images[info['img_path']]]['img']).all()


@pytest.mark.parametrize('changed', ['epoch_1.pth', 'images/07.jpg'])
def test_the_list_has_whole_paths_and_embeddings_of_another_checkpoint_or_image_are_not_taken(
    changed, images, tmp_path, curated, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    curated('images', tmp_path / 'out', capsys)
    assert (tmp_path / 'out/chosen/chosen.txt').read_text().startswith(f'{images}/')
    os.utime(tmp_path / changed, ns=(0, 0))
    with pytest.raises(SystemExit):
        curated(images, tmp_path / 'out', capsys)
    assert 'embeddings_images holds the work of other settings' in capsys.readouterr().err
