"""Features are kept for exactly what they depend on; a file that is not whole counts as none."""

import os
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from dino_plugin.evaluation.features.cache import FeatureCache, cache_key, default_folder


def infos(folder: Path, *names: str) -> list[dict]:
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_bytes(name.encode())
    return [dict(img_path=str(folder / name), gt_label=number) for number, name in enumerate(names)]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_key_changes_with_everything_that_features_depend_on_and_with_nothing_else(tmp_path):
    images, model = infos(tmp_path, 'a.jpg', 'b.jpg'), network()
    key = cache_key(model, images, dict(size=224))
    assert key == cache_key(network(), infos(tmp_path, 'a.jpg', 'b.jpg'), dict(size=224))
    changed = network()
    with torch.no_grad():
        changed[0].weight[2, 1] += 1e-6
    statistics = network()
    statistics[1].num_batches_tracked += 1
    others = [
        cache_key(changed, images, dict(size=224)),
        cache_key(statistics, images, dict(size=224)),
        cache_key(model, images[::-1], dict(size=224)),
        cache_key(model, images[:1], dict(size=224)),
        cache_key(model, [images[0], images[1] | dict(gt_label=0)], dict(size=224)),
        cache_key(model, [images[0], images[1] | dict(box=(0, 0, 5, 5))], dict(size=224)),
        cache_key(model, images, dict(size=225)),
    ]
    os.utime(tmp_path / 'a.jpg', ns=(1, 1))
    others.append(cache_key(model, images, dict(size=224)))
    assert len({key, *others}) == 9


def test_weights_of_any_type_count(tmp_path):
    keys = {
        cache_key(nn.Linear(2, 2).to(dtype), infos(tmp_path, 'a.jpg'), None)
        for dtype in (torch.bfloat16, torch.float64)
    }
    assert len(keys) == 2


def test_samples_without_a_file_have_no_key():
    assert cache_key(network(), [dict(gt_label=0)], None) is None


def test_what_was_written_is_read_and_a_broken_file_counts_as_none(tmp_path):
    cache = FeatureCache(tmp_path)
    rows = dict(features=torch.randn(5, 3), labels=torch.arange(5))
    assert cache.read('key', 5) is None
    cache.write('key', rows)
    found = cache.read('key', 5)
    assert found.keys() == rows.keys() and all(torch.equal(found[name], rows[name]) for name in rows)
    assert cache.read('key', 6) is None and cache.read('other', 5) is None
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-8])
    assert cache.read('key', 5) is None
    file.write_bytes(b'')
    assert cache.read('key', 5) is None


def test_the_least_recently_used_files_make_room(tmp_path):
    cache = FeatureCache(tmp_path, max_gigabytes=3000e-9)  # two files of about 1,100 bytes
    for number, name in enumerate(('a', 'b')):
        cache.write(name, dict(features=torch.zeros(250)))
        os.utime(next(tmp_path.glob(f'{name}-*')), (number, number))
    assert cache.read('a', 250) is not None  # used now, so b is the oldest
    cache.write('c', dict(features=torch.zeros(250)))
    assert cache.read('b', 250) is None and cache.read('a', 250) is not None and cache.read('c', 250) is not None
    cache.write('large', dict(features=torch.zeros(1000)))
    assert cache.read('large', 1000) is None and cache.read('a', 250) is not None


def test_two_runs_may_write_the_same_features_at_once(tmp_path):
    cache, rows = FeatureCache(tmp_path), dict(features=torch.arange(30000.0))
    threads = [threading.Thread(target=cache.write, args=('key', rows)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(cache.read('key', 30000)['features'], rows['features'])
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize('named', [True, False])
def test_the_environment_names_the_folder(named, tmp_path, monkeypatch):
    monkeypatch.setenv('DINO_PLUGIN_CACHE', str(tmp_path) if named else '')
    monkeypatch.setenv('HOME', '/home/someone')
    assert default_folder() == (tmp_path if named else Path('/home/someone/.cache/dino_plugin')) / 'features'
