"""Writing an exported backbone: file names with a hash, and the folder of Hugging Face."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from dino_plugin.export.huggingface import image_processor_config
from dino_plugin.export.tensors import Exported

GRAPH_SUFFIXES = {'onnx': '.onnx', 'torch_export': '.pt2'}


def write_tensors(exported: Exported, out: Path, card: Mapping[str, Any]) -> Path:
    """Writes the weights, and the other files of a Hugging Face folder; returns the path of the weights."""
    suffix = '.pth' if out.suffix == '.pth' else '.safetensors'
    if exported.config is None and suffix == '.pth':
        buffer = io.BytesIO()
        torch.save(exported.state, buffer)
        return write_file(buffer.getvalue(), out, suffix)
    content = save(exported.state, metadata={'format': 'pt'})
    if exported.config is None:
        return write_file(content, out, suffix)
    if suffix == '.pth':
        raise ValueError(f'A Hugging Face folder holds safetensors; give the folder without .pth, got {out}.')
    folder = out.with_name(_with_hash(out.name.removesuffix(suffix), content))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.safetensors').write_bytes(content)
    processor = image_processor_config(card['image_size'], card['mean'], card['std'])
    for name, config in {'config.json': exported.config, 'preprocessor_config.json': processor}.items():
        (folder / name).write_text(json.dumps(config, indent=2) + '\n')
    return folder / 'model.safetensors'


def write_file(content: bytes, out: Path, suffix: str) -> Path:
    """Writes one file; its name gets the hash of the content and the suffix.

    Raises:
        ValueError: If ``out`` has the suffix of another format.
    """
    if out.suffix in {'.safetensors', '.pth', *GRAPH_SUFFIXES.values()} - {suffix}:
        raise ValueError(f'This format writes {suffix}; give a name with that suffix or none, got {out}.')
    path = out.with_name(_with_hash(out.name.removesuffix(suffix), content) + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _with_hash(name: str, content: bytes) -> str:
    return f'{name}-{hashlib.sha256(content).hexdigest()[:8]}'
