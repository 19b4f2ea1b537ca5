"""tools/compare_heads.py: a line for each checkpoint, the same numbers as by the functions, pictures, refusals."""

import csv
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from bundled import DAVIS

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.data.images.decoding import read_image
from dino_plugin.data.images.label_masks import read_mask
from dino_plugin.evaluation.attention.images import heads_of_image
from dino_plugin.evaluation.attention.summary import describe_heads, summarise_heads

CLIP = 'blackswan'


def saved(path, seed, name='vit_tiny_patch16_224', **arguments):
    torch.manual_seed(seed)
    backbone = TimmBackbone(name, **arguments)
    with torch.no_grad():
        for block in getattr(backbone.model, 'blocks', []):
            block.attn.qkv.weight.mul_(20)  # so that heads differ
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'meta': {'backbone': backbone.description}, 'state_dict': state}, path)
    return path


@pytest.fixture
def checkpoints(tmp_path):
    small = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
    return [saved(tmp_path / f'epoch_{epoch}.pth', epoch, **small) for epoch in (1, 10)]


@pytest.fixture
def run_tool(repository, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        tool = str(repository / 'tools/compare_heads.py')
        fixed = ['--images', DAVIS / f'JPEGImages/480p/{CLIP}', '--number', 2, '--size', 64, '--out', tmp_path / 'out']
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, [*arguments, *fixed])])
        runpy.run_path(tool, run_name='__main__')
        return capsys.readouterr().out

    return run


def expected(checkpoint, masks=True, blocks=None):
    backbone, images = TimmBackbone(checkpoint=str(checkpoint)), []
    for path in sorted((DAVIS / f'JPEGImages/480p/{CLIP}').glob('*.jpg'))[:2]:
        found = heads_of_image(backbone, read_image(path), blocks, 64, attended_distances=True)
        labels = read_mask(DAVIS / f'Annotations/480p/{CLIP}/{path.stem}.png') if masks else None
        images.append(describe_heads(found.maps, labels, found.attended_distances))
    return summarise_heads(images)


def test_a_line_for_each_checkpoint_in_their_order(run_tool, checkpoints, tmp_path):
    printed = run_tool(*checkpoints, '--masks', DAVIS / f'Annotations/480p/{CLIP}')
    with (tmp_path / 'out/comparison.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['checkpoint'] for row in rows] == ['1_epoch_1', '2_epoch_10']
    for row, checkpoint in zip(rows, checkpoints):
        summary = expected(checkpoint)
        for key, values in summary.means.items():
            assert float(row[key]) == pytest.approx(values.mean(), abs=1e-4)
        assert float(row['silhouette_3']) == pytest.approx(summary.clusters.silhouette[3], abs=1e-4)
        assert float(row['silhouette']) == pytest.approx(max(summary.clusters.silhouette.values()), abs=1e-4)
        assert float(row['cophenetic']) == pytest.approx(summary.clusters.cophenetic, abs=1e-4)
        apart = [summary.distances[i, j] for i in range(4) for j in range(4) if i != j]
        assert float(row['head_distance']) == pytest.approx(np.mean(apart), abs=1e-4)
        assert (tmp_path / f'out/{row["checkpoint"]}/head_clusters.png').exists()
    assert rows[0]['entropy'] != rows[1]['entropy']
    assert cv2.imread(str(tmp_path / 'out/heads_over_time.png')).std() > 10
    assert printed.endswith('comparison.csv\n')
    (line,) = [line for line in printed.splitlines() if ' entropy ' in line]
    assert rows[0]['entropy'] in line and rows[1]['entropy'] in line


def test_one_checkpoint_without_masks_and_some_blocks(run_tool, checkpoints, tmp_path):
    run_tool(checkpoints[0], '--blocks', -1)
    with (tmp_path / 'out/comparison.csv').open() as file:
        (row,) = csv.DictReader(file)
    summary = expected(checkpoints[0], masks=False, blocks=[1])
    assert float(row['entropy']) == pytest.approx(np.mean(summary.means['entropy']), abs=1e-4)
    assert 'figure_mass' not in row and 'cophenetic' not in row  # two heads have no clusters
    assert not (tmp_path / 'out/heads_over_time.png').exists()


def test_what_cannot_be_compared_is_said_in_a_sentence(run_tool, checkpoints, tmp_path, capsys):
    convnet = saved(tmp_path / 'convnet.pth', 0, 'resnet10t')
    for arguments, said in (
        ([convnet], 'ResNet is a convolutional network'),
        ([checkpoints[0], '--masks', tmp_path], 'others by a list: names=FILE'),
        ([checkpoints[0], '--blocks', 5], 'block 5 does not exist'),
        ([checkpoints[0], tmp_path / 'no.pth'], 'no.pth does not exist'),
    ):
        with pytest.raises(SystemExit) as stop:
            run_tool(*arguments)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
