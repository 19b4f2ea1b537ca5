"""The programs that draw pictures, run in this process with a small network."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from dino_plugin.backbones.timm_backbone import TimmBackbone


@pytest.fixture
def small_checkpoint(tmp_path):
    """A training checkpoint of a small network of two heads."""
    torch.manual_seed(0)
    backbone = TimmBackbone('vit_tiny_patch16_224', img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)
    state = {f'distillation.teacher.backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'meta': {'backbone': backbone.description}, 'state_dict': state}, tmp_path / 'epoch_1.pth')
    return tmp_path / 'epoch_1.pth'


@pytest.fixture
def run_picture_tool(repository, small_checkpoint, monkeypatch, capsys):
    """Name of a tool and its arguments after the checkpoint -> what it prints."""

    def run(name: str, *arguments: str | Path, checkpoint: str | Path = small_checkpoint) -> tuple[str, str]:
        tool = str(repository / f'tools/{name}.py')
        monkeypatch.setattr(sys, 'argv', [tool, str(checkpoint), *map(str, arguments)])
        runpy.run_path(tool, run_name='__main__')
        return capsys.readouterr()

    return run
