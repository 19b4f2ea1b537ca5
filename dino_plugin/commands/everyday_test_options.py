"""The short options of tools/test.py: which images, at which size, trained or not; quick to import."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.everyday_options import first_group, positive

if TYPE_CHECKING:
    from mmengine.config import Config

QUERIES, BANK = 'test_dataloader.dataset', 'test_cfg.bank_dataloader.dataset'


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """Adds --images, --bank, --queries, --masks, --image-size, --untrained."""
    group = first_group(parser)
    group.add_argument('--images', type=existing, metavar='DIR',
                       help='the images; if some are compared with others: DIR/train is the bank, DIR/val or DIR/test '
                       'has the queries')  # fmt: skip
    group.add_argument('--bank', type=existing, metavar='DIR', help='the images that others are compared with')
    group.add_argument('--queries', type=existing, metavar='DIR', help='the images that are compared with the bank')
    group.add_argument('--masks', type=existing, metavar='DIR', help='masks of the objects in --images')
    group.add_argument('--image-size', type=positive, metavar='N',
                       help='pixels of a side (default: what the checkpoint says of itself, and what the config says '
                       'if that is smaller, or another size than the usual 224)')  # fmt: skip
    group.add_argument('--untrained', action='store_true',
                       help='the network that the checkpoint describes, with its initial weights (seed 0)')  # fmt: skip


def short_test_option(name: str) -> str | None:
    """The option above that sets the value of this dotted name, or None."""
    return {
        f'{QUERIES}.images': '--images DIR', f'{QUERIES}.data_root': '--images DIR, or --queries DIR with a bank',
        f'{BANK}.data_root': '--images DIR or --bank DIR', f'{QUERIES}.masks': '--masks DIR',
    }.get(name)  # fmt: skip


def apply_test_options(cfg: 'Config', args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Changes a config as the short options of a test say, and takes the size of images from the checkpoint.

    Args:
        cfg: A config that tests; changed in place.
        args: With the attributes that `add_test_options` adds, and `checkpoint`, which becomes 'none' with --untrained.
        options: Of ``--cfg-options``, merged into the config already; they win.

    Raises:
        SystemExit: With status 2, if an option makes no sense for this config; the message says what does.
        ValueError: If the checkpoint cannot be read, or does not describe the network that --untrained asks for.
    """
    from dino_plugin.commands.own_input import untrained, use_own_input

    if args.images:
        _images(cfg, args.images)
    bank = (cfg.get('test_cfg') or {}).get('bank_dataloader')
    for name, folder in (('--bank', args.bank), ('--queries', args.queries)):
        if folder and not bank:
            fail(f'{name}: this config has no bank of images to compare with: --images DIR.')
    if args.bank:
        bank.dataset.data_root = args.bank
    if args.queries:
        cfg.test_dataloader.dataset.data_root = args.queries
    if args.masks:
        if 'masks' not in cfg.test_dataloader.dataset or bank:
            fail(f'--masks: {args.config} has no folder for masks alone; its header says where they are.')
        cfg.test_dataloader.dataset.masks = args.masks
    use_own_input(cfg, args.checkpoint, args.image_size)
    if args.untrained:
        untrained(cfg, args.checkpoint)
        args.checkpoint = 'none'
    cfg.merge_from_dict(options)


def _images(cfg: 'Config', folder: str) -> None:
    from dino_plugin.commands.image_folders import named_sets, use_folder

    dataset = cfg.test_dataloader.dataset
    if dataset.get('images') and not dataset.get('data_root'):  # with masks in a folder of their own
        dataset.images = folder
        return
    use_folder(cfg, folder)
    missing = [part.data_root for part in named_sets(cfg).values() if not os.path.isdir(part.data_root)]
    if missing and (cfg.get('test_cfg') or {}).get('bank_dataloader'):
        fail(f'--images {folder}: there is no folder {missing[0]}. Elsewhere: --bank DIR --queries DIR')
