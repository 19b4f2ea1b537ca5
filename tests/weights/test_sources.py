"""Checkpoints from web addresses and from the Hugging Face Hub: downloaded once, verified, never unpickled freely."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mmengine.runner.checkpoint as of_mmengine
import pytest
import torch
from hostile_files import DESCRIPTION, Attack, network_state
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.export.backbone import export_backbone
from dino_plugin.weights.checkpoint import backbone_description
from dino_plugin.weights.reading import sources
from dino_plugin.weights.safe_loading import load_checkpoint as load_safely


class Server(ThreadingHTTPServer):
    """Serves ``files``, a dictionary from paths to bytes, and counts the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.requests, self.missing_bytes = {}, [], 0
        self.address = f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.0'

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def _answer(self, with_body):
        self.server.requests.append(f'{self.command} {self.path}')
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header('X-Error-Code', 'EntryNotFound')  # as the Hub says it
        content = content or b''
        self.send_header('Content-Length', str(len(content) + self.server.missing_bytes))
        self.send_header('X-Repo-Commit', 'a' * 40)
        self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server, and an empty folder for downloads."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / 'hub'))
    with Server() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()
    torch.hub.set_dir(before)


def saved(content, path: Path) -> bytes:
    torch.save(content, path)
    return path.read_bytes()


def training(folder: Path) -> bytes:
    return saved({'meta': {'backbone': DESCRIPTION}, 'state_dict': network_state()}, folder / 'training.pth')


def holds_the_network(model: nn.Module) -> bool:
    return all(torch.equal(value, model.state_dict()[key]) for key, value in network_state().items())


def test_a_checkpoint_is_downloaded_once_with_the_description_beside_it(server, tmp_path, capsys):
    training(tmp_path)
    path = export_backbone(tmp_path / 'training.pth', tmp_path / 'vit')
    for file in (path, path.with_suffix('.json')):
        server.files[f'/models/{file.name}'] = file.read_bytes()
    url = f'{server.address}/models/{path.name}'
    for _ in range(2):
        assert holds_the_network(TimmBackbone(checkpoint=url).model)
    assert server.requests == [f'GET /models/{path.stem}.json', f'GET /models/{path.name}']
    found = sources.local_file(url)
    assert found.read_bytes() == path.read_bytes() and found.is_relative_to(tmp_path / 'hub')
    assert {file.name for file in found.parent.iterdir()} == {path.name, f'{path.stem}.json', '.lock'}


def test_files_of_one_name_from_two_places_are_two_files(server, tmp_path):
    for number in (1, 2):
        server.files[f'/{number}/model.pth'] = saved({'w': torch.tensor(float(number))}, tmp_path / 'a.pth')
    assert [load_safely(f'{server.address}/{number}/model.pth')['w'] for number in (1, 2)] == [1, 2]


def test_processes_that_ask_at_once_download_once(server, tmp_path):
    server.files['/a.pth'] = training(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(sources.local_file, [f'{server.address}/a.pth'] * 4))
    assert len(set(found)) == 1 and server.requests.count('GET /a.pth') == 1


def test_the_hash_in_a_name_is_compared_unless_it_may_be_a_date(server, tmp_path):
    content = training(tmp_path)
    right = hashlib.sha256(content).hexdigest()[:8]
    names = [f'a-{right}.pth', 'a-20240131.pth', 'a-deadbeef.pth']
    server.files |= {f'/{name}': content for name in names}
    for name in names[:2]:
        load_safely(f'{server.address}/{name}')
    with pytest.raises(OSError, match=rf'a-deadbeef\.pth cannot be downloaded: its SHA-256 begins with {right}, while'):
        load_safely(f'{server.address}/a-deadbeef.pth')
    assert not [file for file in (tmp_path / 'hub').rglob('*') if 'dead' in file.name or file.name.startswith('tmp')]


def test_a_download_that_ends_early_or_never_begins_is_refused_and_leaves_nothing(server, tmp_path):
    server.files['/a.pth'] = training(tmp_path)
    server.missing_bytes = 1000
    with pytest.raises(OSError, match=r'/a\.pth cannot be downloaded: the connection ended after \d+ of \d+ bytes'):
        load_safely(f'{server.address}/a.pth')
    with pytest.raises(OSError, match=r'/b\.pth cannot be downloaded: HTTP status 404'):
        load_safely(f'{server.address}/b.pth')
    with pytest.raises(OSError, match=r'127\.0\.0\.1:9/a\.pth cannot be downloaded: .*refused'):
        load_safely('http://127.0.0.1:9/a.pth')
    assert not [file for file in (tmp_path / 'hub').rglob('*') if file.is_file() and file.name != '.lock']
    server.missing_bytes = 0
    assert load_safely(f'{server.address}/a.pth')['meta'] == {'backbone': DESCRIPTION}


def test_no_address_of_mmengine_runs_code(server, tmp_path, monkeypatch):
    """`--resume`, `load_from`, `init_cfg`, `last_checkpoint` and other packages: all ask `CheckpointLoader`."""
    victim = tmp_path / 'victim'
    server.files['/evil.pth'] = saved({'state_dict': {'w': Attack(victim)}}, tmp_path / 'evil.pth')
    url = f'{server.address}/evil.pth'
    monkeypatch.setattr(of_mmengine, 'get_torchvision_models', lambda: {'evil': url})
    monkeypatch.setattr(of_mmengine, 'get_external_models', lambda: {'evil': url})
    monkeypatch.setattr(of_mmengine, 'get_mmcls_models', lambda: {'evil': url})

    class Bucket:
        def get(self, filename):
            return server.files['/evil.pth']

    monkeypatch.setattr(of_mmengine, 'get_file_backend', lambda *_, **__: Bucket())
    names = [url, 'torchvision://evil', 'modelzoo://evil', 'open-mmlab://evil', 'openmmlab://evil', 'mmcls://evil']
    names += ['s3://bucket/evil.pth', 'petrel://bucket/evil.pth']
    for name in names:
        for read in (CheckpointLoader.load_checkpoint, load_safely):
            with pytest.raises(ValueError, match=r'Checkpoint .*evil.* is refused: it imports \w+\.system'):
                read(name)

    class Segmenter(BaseModule):
        def __init__(self, **settings):
            super().__init__(init_cfg=dict(type='Pretrained', **settings))
            self.backbone = nn.Linear(1, 1)

    for settings in (dict(checkpoint=url), dict(checkpoint=url, prefix='backbone.')):
        with pytest.raises(ValueError, match='is refused: it imports'):
            Segmenter(**settings).init_weights()
    with pytest.raises(ValueError, match='is refused: it imports'):
        load_checkpoint(nn.Linear(1, 1), url)
    assert not victim.exists()


def test_names_of_other_model_zoos_serve_as_checkpoints(server, tmp_path, monkeypatch):
    server.files['/a.pth'] = training(tmp_path)
    monkeypatch.setattr(of_mmengine, 'get_torchvision_models', lambda: {'vit': f'{server.address}/a.pth'})
    model = TimmBackbone(DESCRIPTION['model_name'], checkpoint='torchvision://vit', **DESCRIPTION['timm_arguments'])
    assert holds_the_network(model.model)


FROM_THE_HUB = """
import torch
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.weights.safe_loading import load_checkpoint

found = {'state': TimmBackbone(checkpoint='hf-hub:owner/vit').model.state_dict()}
found['again'] = TimmBackbone(checkpoint='hf-hub:owner/vit').model.state_dict()
found['bin'] = load_checkpoint('hf-hub:owner/old')
found['file'] = load_checkpoint('hf-hub:owner/old@v1/weights/other.pth')
for name in ('hf-hub:owner/none', 'hf-hub:owner'):
    try:
        load_checkpoint(name)
    except OSError as error:
        found[name] = str(error)
torch.save(found, 'found.pth')
"""


def test_a_repository_of_the_hub_serves_as_a_checkpoint(server, tmp_path, repository):
    save_file(network_state(), tmp_path / 'model.safetensors')
    config = {'architecture': DESCRIPTION['model_name'], 'model_args': DESCRIPTION['timm_arguments']}
    server.files |= {
        '/owner/vit/resolve/main/model.safetensors': (tmp_path / 'model.safetensors').read_bytes(),
        '/owner/vit/resolve/main/config.json': json.dumps(config).encode(),
        '/owner/old/resolve/main/pytorch_model.bin': saved({'w': torch.ones(1)}, tmp_path / 'a.pth'),
        '/owner/old/resolve/v1/weights/other.pth': saved({'w': torch.zeros(1)}, tmp_path / 'b.pth'),
    }
    # A Python of its own: huggingface_hub reads the environment when it is imported.
    environment = {'HF_ENDPOINT': server.address, 'HF_HOME': str(tmp_path / 'cache'), 'HF_HUB_OFFLINE': '0'}
    environment |= {'HF_HUB_DISABLE_XET': '1', 'HF_HUB_DISABLE_PROGRESS_BARS': '1', 'PYTHONPATH': str(repository)}
    command = [sys.executable, '-c', FROM_THE_HUB]
    subprocess.run(command, cwd=tmp_path, env=os.environ | environment, check=True, capture_output=True)
    found = torch.load(tmp_path / 'found.pth', weights_only=True)
    for key, value in network_state().items():
        assert torch.equal(found['state'][key], value) and torch.equal(found['again'][key], value)
    assert server.requests.count('GET /owner/vit/resolve/main/model.safetensors') == 1
    assert found['bin']['w'] == 1 and found['file']['w'] == 0
    assert 'hf-hub:owner/none cannot be fetched' in found['hf-hub:owner/none']
    assert 'need a token' in found['hf-hub:owner/none']
    assert found['hf-hub:owner'] == (
        'hf-hub:owner is no repository of the Hugging Face Hub; write hf-hub:owner/name[@revision][/file].'
    )


def test_a_checkpoint_elsewhere_says_its_network_when_a_segmenter_is_tested(server, tmp_path):
    server.files['/a.pth'] = training(tmp_path)
    url = f'{server.address}/a.pth'
    assert backbone_description(load_safely(url), url) == DESCRIPTION
