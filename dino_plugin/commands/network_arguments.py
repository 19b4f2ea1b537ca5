"""The network that the command line of a program names; quick to import."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import add_options, existing, fail, option_values

if TYPE_CHECKING:
    from dino_plugin.backbones.timm_backbone import TimmBackbone

CHECKPOINT_HELP = (
    "a training checkpoint, an exported backbone, the authors' own, an address, "
    "or 'none' with --backbone model_name=NAME pretrained=True for timm's weights"
)


def checkpoint_name(path: str) -> str:
    """Type of an argument that is a checkpoint, or the word none."""
    return path if path == 'none' else existing(path)


def add_backbone_options(parser: argparse.ArgumentParser) -> None:
    """Adds the option ``--backbone``."""
    add_options(parser, '--backbone', 'what the checkpoint does not say: model_name=vit_small_patch16_224')


def backbone_or_fail(checkpoint: str, pairs: list[tuple[str, str]]) -> TimmBackbone:
    """The network, on a GPU if there is one; the program ends with a message if it does not fit.

    Args:
        checkpoint: As from `checkpoint_name`. With the word none, initial weights are the same in each run (seed 0).
        pairs: Of ``--backbone``.
    """
    import torch

    from dino_plugin.backbones.timm_backbone import TimmBackbone

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    try:
        return TimmBackbone(**option_values(pairs), checkpoint=None if checkpoint == 'none' else checkpoint).to(device)
    except (ValueError, OSError) as error:
        fail(str(error).replace('--cfg-options model.backbone.', '--backbone '))  # there is no config


def names_of(checkpoints: Sequence[str], model_name: str, taken: Sequence[str] = ()) -> dict[str, str]:
    """{name: checkpoint}: a file's name with as many of its folders as tell it from the others; each file once.

    Args:
        checkpoints: As from `checkpoint_name`.
        model_name: The name of the word none.
        taken: Names of others.
    """
    files = list(dict.fromkeys(checkpoints))
    parts = [(model_name,) if file == 'none' else Path(file).with_suffix('').parts for file in files]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(each[-depth:]) for each in parts]
        if len({*names, *taken}) == len(names) + len(taken):
            return dict(zip(names, files))
    return dict(zip(files, files))  # they differ in their endings
