"""The short options of what most people change, for tools/train.py and tools/test.py; quick to import."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from dino_plugin.commands.command_line import existing, fail

if TYPE_CHECKING:
    from mmengine.config import Config

_TRAIN = ('images', 'backbone', 'init', 'epochs', 'batch_size', 'num_workers')
HEADING = 'what most people change'
_SHORT = {
    'train_dataloader.batch_size': '--batch-size N', 'train_dataloader.num_workers': '--num-workers N',
    'train_cfg.max_epochs': '--epochs N', 'model.backbone.model_name': '--backbone NAME',
    'model.backbone.checkpoint': '--init FILE', 'model.backbone.pretrained': '--init FILE|pretrained',
}  # fmt: skip
REMARK = 'A value in --cfg-options wins over each of these.'


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Adds --images, --backbone, --init, --epochs, --batch-size, --num-workers, --dry-run, --smoke."""
    group = first_group(parser)
    group.add_argument('--images', nargs='+', type=existing, metavar='DIR',
                       help='the images, in one folder or several, at any depth, or a text list of paths, absolute or '
                       'from the working directory (auto takes folders only); for a config with labels the folder with '
                       'its layout, such as DIR/train and DIR/val')  # fmt: skip
    group.add_argument('--backbone', metavar='NAME', help='the network, by its name in timm: vit_base_patch16_224')
    group.add_argument('--init', type=_pretrained_or_existing, metavar='FILE|pretrained',
                       help="first weights of the backbone: a file, or timm's for its name")  # fmt: skip
    group.add_argument('--epochs', type=positive, metavar='N', help='length of the training')
    group.add_argument('--batch-size', type=positive, metavar='N', help='images of a step on each GPU')
    group.add_argument('--num-workers', type=not_negative, metavar='N',
                       help='processes that read images, for each GPU; 0: none but the training itself')  # fmt: skip
    group.add_argument('--dry-run', action='store_true', help='build everything, make the first batch, train nothing')
    group.add_argument('--smoke', action='store_true',
                       help='the same config with a tiny network, few images and two epochs: minutes on a CPU, to see '
                       'that everything runs')  # fmt: skip


def first_group(parser: argparse.ArgumentParser) -> 'argparse._ArgumentGroup':
    """A group that stands before all other options in the help."""
    group = parser.add_argument_group(HEADING, REMARK)
    parser._action_groups.insert(1, parser._action_groups.pop())
    return group


def short_train_option(name: str) -> str | None:
    """The option above that sets the value of this dotted name, or None."""
    first, last = name.partition('.')[0], name.rpartition('.')[2]
    if first in ('train_dataloader', 'val_dataloader') and last in ('data_root', 'input_dir'):
        return '--images DIR'
    return _SHORT.get(name)


def apply_train_options(cfg: 'Config', args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Changes a config as the short options of a training say.

    Args:
        cfg: A config that trains; changed in place.
        args: With the attributes that `add_train_options` adds, or some of them.
        options: Of ``--cfg-options``, merged into the config already; they win.

    Raises:
        SystemExit: With status 2, if an option makes no sense for this config; the message says what does.
    """
    from dino_plugin.commands.another_backbone import init_backbone, use_backbone
    from dino_plugin.commands.image_folders import train_on

    given = {name for name in _TRAIN if getattr(args, name, None) is not None}
    if given and not (cfg.get('train_dataloader') and cfg.get('train_cfg')):
        fail(f'{args.config} trains nothing: use tools/test.py.')
    if 'backbone' in given:
        use_backbone(cfg, args.backbone, options)
    if 'init' in given:
        init_backbone(cfg, args.init, 'backbone' in given, options)
    if 'images' in given:
        train_on(cfg, args.images, options)
    if 'batch_size' in given:
        cfg.train_dataloader.batch_size = args.batch_size
        if 'batch_size' in cfg.train_dataloader.get('sampler', {}):
            cfg.train_dataloader.sampler.batch_size = args.batch_size
    if 'num_workers' in given:
        _read_by(cfg, args.num_workers)
    if 'epochs' in given:
        _train_for(cfg, args.epochs)
    cfg.merge_from_dict(options)


def _read_by(cfg: 'Config', num_workers: int) -> None:
    from dino_plugin.commands.few_images import loaders_of

    for loader in loaders_of(cfg):
        loader.num_workers = num_workers
        if not num_workers:
            loader['persistent_workers'] = False


def _train_for(cfg: 'Config', epochs: int) -> None:
    """Another number of epochs; schedules that count epochs keep their form."""
    if 'max_epochs' not in cfg.train_cfg:
        ends = [f'param_scheduler.{index}.end=N' for index, scheduler in enumerate(cfg.get('param_scheduler') or [])
                if 'end' in scheduler]  # fmt: skip
        fail(
            f'--epochs: the length of this config is counted in steps, {cfg.train_cfg.max_iters:,} of them. To change '
            f'it: --cfg-options {" ".join(["train_cfg.max_iters=N", *ends[-1:]])}'
        )
    old, cfg.train_cfg.max_epochs = cfg.train_cfg.max_epochs, epochs
    if 'val_interval' in cfg.train_cfg:
        cfg.train_cfg.val_interval = min(cfg.train_cfg.val_interval, epochs)
    for scheduler in cfg.get('param_scheduler') or []:
        if not scheduler.get('by_epoch', True):
            continue
        if 'begin' in scheduler:  # before its end, also in a training of one epoch
            scheduler.begin = min(_in_proportion(scheduler.begin, epochs, old), epochs - 1)
        for name in ('end', 'T_max'):
            if name in scheduler:
                scheduler[name] = _in_proportion(scheduler[name], epochs, old)
        if 'milestones' in scheduler:
            scheduler.milestones = [_in_proportion(epoch, epochs, old) for epoch in scheduler.milestones]


def _in_proportion(epoch: int, new: int, old: int) -> int:
    return min(-(-epoch * new // old), new)


def positive(text: str) -> int:
    """Type of an argument that is a number of at least 1."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """Type of an argument that is a number of at least 0."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f'expected a whole number, {least} or more, got {text!r}')
    return int(text)


def _pretrained_or_existing(path: str) -> str:
    return path if path == 'pretrained' and not os.path.exists(path) else existing(path)
