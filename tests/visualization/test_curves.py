"""Training curves from mmengine's scalars."""

import json

import cv2
import pytest

from dino_plugin.visualization.curves import plot_curves
from dino_plugin.visualization.scalars import read_scalars


def write(folder, lines):
    path = folder / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(line) for line in lines) + '\n')


def training(first, last, loss=5.0):
    lines = [dict(loss=loss / step, target_entropy=3.0, lr=0.1, epoch=1, step=step) for step in range(first, last)]
    return [*lines, {'knn/top1_k10': 40.0, 'knn/top1_k20': 41.0, 'knn/top5_k20': 80.0, 'step': last - 1}]


def test_runs_of_one_directory_are_joined_and_the_later_one_counts(tmp_path):
    write(tmp_path / '20260101_000000', training(1, 10))
    write(tmp_path / '20260102_000000', training(7, 15, loss=50.0))
    scalars = read_scalars(tmp_path)
    assert list(scalars['loss']) == list(range(1, 15))
    assert scalars['loss'][6] == 5.0 / 6
    assert scalars['loss'][7] == 50.0 / 7
    assert scalars['knn/top1_k20'] == {14: 41.0}, 'iterations 7 to 9 were done again'


def test_each_kind_of_number_has_a_panel_of_its_own(tmp_path):
    write(tmp_path / 'a' / 'run', training(1, 30))
    write(tmp_path / 'b' / 'run', [dict(loss=1.0, step=1), dict(loss=0.5, step=2)])
    heights = [cv2.imread(str(plot_curves(tmp_path / name, tmp_path / f'{name}.png'))).shape[0] for name in 'ab']
    assert heights[0] == 3 * heights[1]


def test_a_directory_without_scalars_and_scalars_without_curves_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No vis_data/scalars\.json'):
        plot_curves(tmp_path, tmp_path / 'out.png')
    write(tmp_path / 'run', [dict(lr=0.1, step=1)])
    with pytest.raises(ValueError, match='neither loss nor entropy nor k-NN, only: lr'):
        plot_curves(tmp_path, tmp_path / 'out.png')
