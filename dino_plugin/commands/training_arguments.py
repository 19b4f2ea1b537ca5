"""The arguments of tools/train.py; quick to import."""

import argparse

from dino_plugin.commands.command_line import AUTO, add_launch_arguments, existing, new_parser
from dino_plugin.commands.everyday_options import add_train_options


def training_parser() -> argparse.ArgumentParser:
    """Their parser."""
    parser = new_parser('Train by a config.', AUTO)
    add_train_options(parser)
    add_launch_arguments(parser)
    parser.add_argument('--resume', nargs='?', const='auto', type=_auto_or_existing, metavar='PATH',
                        help='continue from PATH, or from the latest checkpoint')  # fmt: skip
    parser.add_argument('--amp', action='store_true', help='bf16; without it our configs choose by device')
    parser.add_argument('--no-validate', action='store_true', help='no evaluation during training')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the total batch size')
    return parser


def _auto_or_existing(path: str) -> str:
    return path if path == 'auto' else existing(path)
