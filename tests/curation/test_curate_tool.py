"""tools/curate.py: from a folder of images to a list that a training takes, and the page."""

import runpy
import sys

import pytest
import torch
from bundled import CIFAR

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.images.image_dataset import ImageDataset


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


def test_a_folder_becomes_a_list_to_train_on_and_a_second_run_has_nothing_to_do(
    images, tmp_path, repository, monkeypatch, capsys
):
    torch.manual_seed(0)
    tiny = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    state = {f'distillation.teacher.backbone.{key}': value for key, value in tiny.state_dict().items()}
    torch.save({'meta': {'backbone': tiny.description}, 'state_dict': state}, tmp_path / 'epoch_1.pth')
    tool, out = str(repository / 'tools/curate.py'), tmp_path / 'out'
    command = [tool, tmp_path / 'epoch_1.pth', '--images', images, '--keep', 12, '--out', out, '--clusters', 8, 3,
               '--duplicates', 0.99999, '--resize', 32, '--crop', 32, '--num-workers', 0]  # fmt: skip
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    for _ in range(2):
        runpy.run_path(tool, run_name='__main__')
        (out / 'embeddings_images/000000.npy').touch()
        assert capsys.readouterr().out.splitlines()[-2:] == [str(out / 'page.html'), str(out / 'chosen/chosen.txt')]
        (tmp_path / 'epoch_1.pth').write_bytes(b'not read again')
    chosen = ImageDataset(ann_file=str(out / 'chosen/chosen.txt'))
    paths = [info['img_path'] for info in map(chosen.get_data_info, range(len(chosen)))]
    assert len(set(paths)) == len(paths) == 12
    assert not any({f'{images}/copy_{number}.jpg', f'{images}/0{number}.jpg'} <= set(paths) for number in range(5))
    assert (out / 'embeddings_images/unreadable.txt').read_text().split() == [str(images / 'broken.jpg')]
    page = (out / 'page.html').read_text()
    assert page.count('<img src="data:image/') == 4 and 'images 45, pairs 5' in page and str(tmp_path) not in page
