"""Checkpoint files that are damaged, lie or attack, given to everything that reads one; URLs among them."""

import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from hostile_files import DAMAGED, DESCRIBED, WRONG_NUMBERS, Attack
from mmengine.config import ConfigDict
from mmengine.runner import CheckpointLoader

import dino_plugin.engine.vocabulary  # noqa: F401
from dino_plugin.backbones.feature_maps import TimmFeatureMaps
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.engine.downstream.trained_model import name_backbone
from dino_plugin.engine.evaluating.clip_segmenter import ClipSegmenter
from dino_plugin.engine.evaluating.feature_extractor import FeatureExtractor
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.teacher import load_teacher

OURS = dict(type='dino_plugin.TimmBackbone')


def _export(path: str) -> None:
    folder = Path(torch.hub.get_dir()).parent
    export_backbone(path, folder / 'export')


def _segmenter(path: str) -> None:
    name_backbone(ConfigDict(backbone=dict(type='dino_plugin.TimmFeatureMaps')), path)
    TimmFeatureMaps(checkpoint=path)


# Readers of weights; mmengine's has no network, so it minds neither types nor descriptions.
READERS: dict[str, Callable[[str], object]] = {
    'TimmBackbone': lambda path: TimmBackbone(checkpoint=path),
    'pretrained=PATH': lambda path: TimmBackbone(pretrained=path),
    'k-NN': lambda path: FeatureExtractor(OURS | dict(checkpoint=path)),
    'propagation': lambda path: ClipSegmenter(OURS | dict(checkpoint=path), dict(type='dino_plugin.LabelPropagator')),
    'segmentation': _segmenter,
    'export': _export,
    'frozen teacher': lambda path: load_teacher(TimmBackbone(checkpoint=path), {}, path),
}
MMENGINE = {
    'resume': lambda path: CheckpointLoader.load_checkpoint(path),
    'load_from': lambda path: CheckpointLoader.load_checkpoint(path, 'cpu'),
}


def _refused(make: Callable[[Path], None], suffix: str, read: Callable[[str], object], folder: Path) -> str:
    make(folder / f'file{suffix}')
    return _must_refuse(read, str(folder / f'file{suffix}'))


def _must_refuse(read: Callable[[str], object], source: str) -> str:
    try:
        read(source)
    except ValueError as error:
        assert 'file' in str(error), error
        return 'refused'
    raise AssertionError('it was read')


def _attacked(read: Callable[[str], object], scheme: str, folder: Path) -> str:
    """The attack as a path, by http, and by an object store that reads with mmengine's loader."""
    victim = folder / 'victim'
    (folder / 'web').mkdir()
    torch.save({'state_dict': {'w': Attack(victim)}}, folder / 'web/file.pth')
    before, loaders = torch.hub.get_dir(), dict(CheckpointLoader._schemes)
    torch.hub.set_dir(str(folder / 'hub'))
    handler = partial(QuietHandler, directory=folder / 'web')

    def load_from_store(filename: str, map_location=None) -> dict:
        return torch.load(folder / 'web/file.pth', map_location, weights_only=False)

    CheckpointLoader.register_scheme(prefixes='store://', loader=load_from_store)
    try:
        with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            source = dict(
                path=folder / 'web/file.pth',
                http=f'http://127.0.0.1:{server.server_port}/file.pth',
                store='store://file.pth',
            )[scheme]
            outcome = _must_refuse(read, str(source))
            server.shutdown()
    finally:
        torch.hub.set_dir(before)
        CheckpointLoader._schemes = loaders
    assert not victim.exists(), 'it ran code'
    return outcome


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


def cases() -> dict[str, Callable[[Path], str]]:
    """Every file with every reader."""
    torch.set_num_threads(1)
    found = {}
    for reader, read in (READERS | MMENGINE).items():
        for name, (suffix, make) in DAMAGED.items():
            found[f'{name}, read by {reader}'] = partial(_refused, make, suffix, read)
        for scheme in ('path', 'http', 'store'):
            found[f'code from a {scheme}, read by {reader}'] = partial(_attacked, read, scheme)
    for reader, read in READERS.items():
        for name, make in (WRONG_NUMBERS | DESCRIBED).items():
            found[f'{name}, read by {reader}'] = partial(_refused, make, '.pth', read)
    for reader, read in MMENGINE.items():
        for name in ('not a number', 'infinity'):
            found[f'{name}, read by {reader}'] = partial(_refused, WRONG_NUMBERS[name], '.pth', read)
    return found
