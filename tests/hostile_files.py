"""Checkpoint files that are damaged, lie or attack, for tests and `tests/faults/`."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file

DESCRIPTION = {
    'model_name': 'vit_tiny_patch16_224',
    'timm_arguments': dict(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2),
}


def network_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of the network of `DESCRIPTION`."""
    import timm

    torch.manual_seed(seed)
    model = timm.create_model(DESCRIPTION['model_name'], num_classes=0, **DESCRIPTION['timm_arguments'])
    return model.state_dict()


class Attack:
    """Touches a file when an unrestricted unpickler reads it."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        import os

        return os.system, (f'touch "{self.victim}"',)


class HugeArray:
    """An array of numpy that claims terabytes."""

    def __reduce__(self):
        core = numpy._core if hasattr(numpy, '_core') else numpy.core
        return core.multiarray._reconstruct, (numpy.ndarray, (10**13,), b'b')


def with_record(source: Path, target: Path, change: Callable[[str, bytes], bytes], compression: int = 0) -> None:
    """A copy of a PyTorch file with other records, and right checksums."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def _training(path: Path, **changes) -> None:
    content = {'meta': {'backbone': DESCRIPTION, 'epoch': 1, 'iter': 1}, 'state_dict': network_state()}
    torch.save(content | changes, path)


def _flipped(path: Path) -> None:
    """One bit of one weight, as a bad disk makes it."""
    _training(path)
    content = bytearray(path.read_bytes())
    value = network_state()['blocks.0.mlp.fc1.weight'].numpy().tobytes()
    content[content.find(value) + 7] ^= 64
    path.write_bytes(content)


def _claiming(path: Path, number: int, legacy: bool) -> None:
    """A storage of 1,000 numbers that says it has more."""
    whole = path.with_suffix('.whole')
    torch.save({'state_dict': {'w': torch.zeros(1000)}}, whole, _use_new_zipfile_serialization=not legacy)
    old, new = b'M\xe8\x03', b'\x8a\x08' + struct.pack('<q', number)
    if legacy:
        path.write_bytes(whole.read_bytes().replace(old, new))
    else:
        with_record(whole, path, lambda _, content: content.replace(old, new))
    whole.unlink()


def _bomb(path: Path) -> None:
    """400 MB of zeros in a file of 400 kB."""
    whole = path.with_suffix('.whole')
    torch.save({'state_dict': {'w': torch.zeros(100_000_000)}}, whole)
    with_record(whole, path, lambda _, content: content, zipfile.ZIP_DEFLATED)
    whole.unlink()


def _poisoned(path: Path, value: float) -> None:
    state = network_state()
    state['blocks.0.attn.qkv.weight'][3, 5] = value
    _training(path, state_dict=state)


def _typed(path: Path, dtype: torch.dtype) -> None:
    _training(path, state_dict={key: value.to(dtype) for key, value in network_state().items()})


def _described(path: Path, name: str = DESCRIPTION['model_name'], **arguments) -> None:
    _training(path, meta={'backbone': {'model_name': name, 'timm_arguments': arguments}})


def _garbage(path: Path) -> None:
    path.write_bytes(numpy.random.default_rng(0).bytes(5000))


def _truncated(path: Path) -> None:
    _training(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_safetensors(path: Path) -> None:
    save_file(network_state(), path)
    path.write_bytes(path.read_bytes()[:-100])


# Name, suffix and maker of each file. The maker of an attack is told the file that must not appear.
DAMAGED: dict[str, tuple[str, Callable[[Path], None]]] = {
    'empty': ('.pth', lambda path: path.write_bytes(b'')),
    'a page of a web server': ('.pth', lambda path: path.write_bytes(b'<html>404</html>')),
    'random bytes': ('.pth', _garbage),
    'truncated': ('.pth', _truncated),
    'truncated safetensors': ('.safetensors', _cut_safetensors),
    'one bit flipped': ('.pth', _flipped),
    'a list': ('.pth', lambda path: torch.save([torch.ones(2)], path)),
    'a claim of 72 TiB': ('.pth', lambda path: _claiming(path, 20 * 10**12, legacy=False)),
    'a claim of 72 TiB in the old format': ('.pth', lambda path: _claiming(path, 20 * 10**12, legacy=True)),
    'a claim of 4 GB in the old format': ('.pth', lambda path: _claiming(path, 10**9, legacy=True)),
    'one value repeated to 36 TiB': ('.pth', lambda path: torch.save({'w': torch.zeros(1).expand(10**13)}, path)),
    'an array of 9 TiB': ('.pth', lambda path: torch.save({'w': HugeArray()}, path)),
    'a zip bomb': ('.pth', _bomb),
}
WRONG_NUMBERS: dict[str, Callable[[Path], None]] = {
    'not a number': lambda path: _poisoned(path, float('nan')),
    'infinity': lambda path: _poisoned(path, float('-inf')),
    'int8': lambda path: _typed(path, torch.int8),
    'complex': lambda path: _typed(path, torch.complex64),
}
DESCRIBED: dict[str, Callable[[Path], None]] = {
    'an address': lambda path: _described(path, pretrained_cfg=dict(url='http://127.0.0.1:9/weights.pth')),
    'another file': lambda path: _described(path, checkpoint_path='/etc/passwd'),
    'a repository': lambda path: _described(path, 'hf-hub:owner/name'),
    'a folder': lambda path: _described(path, 'local-dir:/tmp'),
    'no network': lambda path: _described(path, 'vit_enormous'),
    'ten million blocks': lambda path: _described(path, depth=10**7),
    'a list of a thousand stages': lambda path: _described(path, 'convnext_tiny', depths=[3] * 1000),
    'a width below zero': lambda path: _described(path, embed_dim=-16),
    'seven billion parameters': lambda path: _described(path, 'vit_7b_patch16_dinov3'),
    'text as a number': lambda path: _described(path, embed_dim='16'),
    'a path as a layer': lambda path: _described(path, norm_layer='../../x'),
    'no dictionary': lambda path: _training(path, meta={'backbone': {'model_name': 'resnet18', 'timm_arguments': [1]}}),
    'a rule that does not exist': lambda path: _training(
        path, meta={'backbone': DESCRIPTION | {'position_resampling': 'nearest'}}
    ),
}
