"""Evaluate a checkpoint by a config: python tools/test.py configs/knn/knn_imagenette.py CHECKPOINT"""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import dump
from mmengine.runner import Runner
from rich import print as rich_print
from rich.table import Table

from dino_plugin.engine.feature_extractor import backbone_config
from dino_plugin.engine.launch import add_arguments, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint by a config.')
    add_arguments(parser)
    parser.add_argument('checkpoint', help="a training checkpoint, an exported backbone, the authors' own, or 'none'")
    parser.add_argument('--out', help='write the results to this .json, .yaml or .pkl file')
    return parser.parse_args()


def load_checkpoint_into(cfg: Config, checkpoint: str) -> None:
    """A bare backbone reads the checkpoint itself, by its own rules; other models are read whole by mmengine."""
    backbone = cfg.model.get('backbone') or {}
    if checkpoint != 'none' and str(backbone.get('type')).endswith('TimmBackbone'):
        cfg.model.backbone = backbone_config(checkpoint, backbone)
    elif checkpoint != 'none':
        cfg.load_from = checkpoint


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    load_checkpoint_into(cfg, args.checkpoint)
    results = Runner.from_cfg(cfg).test()
    if is_main_process():
        table = Table('result', 'value', title=f'{Path(args.config).stem}: {args.checkpoint}')
        for name, value in results.items():
            table.add_row(name, f'{value:.2f}' if isinstance(value, float) else str(value))
        rich_print(table)
        if args.out:
            dump(results, args.out)
    failed = {name: count for name, count in results.items() if name.endswith('/failed') and count}
    if failed:
        raise SystemExit(f'Not all of it succeeded: {failed}; the log names what failed.')


if __name__ == '__main__':
    main()
