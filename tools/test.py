"""Evaluate a checkpoint by a config: python tools/test.py configs/knn/knn_imagenette.py CHECKPOINT"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import add_launch_arguments, existing, import_yapf, new_parser, option_values
from dino_plugin.commands.everyday_test_options import add_test_options, apply_test_options, short_test_option

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def parse_args() -> argparse.Namespace:
    parser = new_parser('Evaluate a checkpoint by a config.')
    add_test_options(parser)
    add_launch_arguments(parser)
    parser.add_argument(
        'checkpoint',
        type=_none_or_existing,
        help="a training checkpoint, an exported backbone, the authors' own, or 'none'",
    )
    parser.add_argument('--out', help='write the results to this .json, .yaml or .pkl file')
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation, where the config has a tta_pipeline'
    )
    parser.add_argument('--show-dir', help='segmentation and detection: draw predictions into this folder')
    return parser.parse_args()


def _none_or_existing(path: str) -> str:
    return path if path == 'none' else existing(path)


def apply_test_arguments(cfg: Config, args: argparse.Namespace) -> None:
    if args.tta:
        if 'tta_pipeline' not in cfg:
            raise SystemExit(f'--tta: {args.config} has no tta_pipeline.')
        dataset = cfg.test_dataloader.dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        dataset.pipeline = cfg.tta_pipeline
    if args.show_dir:
        if 'visualization' not in cfg.default_hooks:
            raise SystemExit(f'--show-dir: {args.config} has no predictions to draw.')
        cfg.default_hooks.visualization.update(draw=True, interval=1)  # some versions draw each 50th image
        cfg.visualizer.save_dir = args.show_dir


def build_runner(cfg: Config, checkpoint: str) -> Runner:
    """A plain backbone loads the checkpoint itself; the state dict of any other model must match exactly."""
    from dino_plugin.commands.runner import Runner
    from dino_plugin.engine.downstream.trained_model import name_backbone, only_backbone

    reads_itself = only_backbone(cfg.model)
    if reads_itself and checkpoint != 'none':
        cfg.model.backbone.checkpoint = checkpoint
    elif checkpoint != 'none':
        name_backbone(cfg.model, checkpoint)
    runner = Runner.from_cfg(cfg)
    if not reads_itself and checkpoint != 'none':
        runner.load_checkpoint(checkpoint, strict=True)  # mmengine itself would only log what is missing
    return runner


def in_digits(value: float) -> str:
    """Two digits after the point for per cents; three that count for small numbers, such as learning rates."""
    return f'{value:.2f}' if abs(value) >= 1 else f'{value:.3g}'


def show(results: dict, title: str) -> None:
    """A table below its title, which rich would break at any place if it was in the table."""
    from rich import print as rich_print
    from rich.table import Table

    table = Table('result', 'value')
    for name, value in results.items():
        table.add_row(name, in_digits(value) if isinstance(value, float) else str(value))
    print(title)
    rich_print(table)


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    if args.launcher != 'none':
        import_yapf()
    from mmengine.dist import is_main_process
    from mmengine.fileio import dump
    from mmengine.hooks.test_time_aug_hook import PrepareTTAHook

    from dino_plugin.commands.launch import load_config
    from dino_plugin.commands.mistakes import explained

    def change(cfg: Config) -> None:
        with explained(cfg, 'test', short=short_test_option):
            apply_test_options(cfg, args, option_values(args.cfg_options))

    title = f'{Path(args.config).stem}: {args.checkpoint}{", untrained" if args.untrained else ""}'
    cfg = load_config(args, change)
    apply_test_arguments(cfg, args)
    with explained(cfg, 'test', short=short_test_option):
        runner = build_runner(cfg, args.checkpoint)
        if args.tta:
            runner.register_hook(PrepareTTAHook(cfg.tta_model))
        results = runner.test()
    if is_main_process():
        show(results, title)
        if args.out:
            dump(results, args.out)
    failed = {name: count for name, count in results.items() if name.endswith('/failed') and count}
    if failed:
        raise SystemExit(f'Some parts failed: {failed}; the log names them.')


if __name__ == '__main__':
    main()
