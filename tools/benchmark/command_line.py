"""The command line of ``tools/benchmark.py``; light to import, so that --help and mistakes are answered at once."""

import argparse
from collections.abc import Sequence

COMMANDS = dict(
    data='image files -> a batch of their views, all that a worker does',
    reading='image files and shards -> bytes in memory, with a cold and a warm cache of the disk',
    collate='samples of two workers -> one batch in the main process',
    step='a whole training step; with --profile where its time goes',
    knn='k-NN classification for four values of k',
    propagation='labels of one frame of a video, from those of the frames before',
    discovery='the normalised cut of the patches of an image, as in TokenCut',
    parts='parts of a step, and each of its fast paths beside the plain one',
    scaling='speed and memory by batch, views, image size, workers, and options that save memory',
)
COMPILED = ('compiled_blocks', 'compiled_colours')
PARTS = (
    'ema', 'optimizer', 'loss', 'class_token_only', 'packed_views', 'attention_fp32', 'attention_bf16',
    'subset_drop_path', 'remembered_positions', *COMPILED,
)  # fmt: skip
AXES = ('batch', 'local-views', 'image-size', 'workers', 'memory')
# Whole numbers: what each is, and its default by command.
NUMBERS = {
    'rounds': ('of all candidates in turn', dict.fromkeys(COMMANDS, 5)),
    'images-per-shard': ('the last has fewer', dict(reading=1000)),
    'window': ('shards at a time', dict(reading=8)),
    'chunk': ('images a round', dict(data=16, reading=200)),
    'num-images': ('on the axis of workers, a round', dict(scaling=64)),
    'batch': ('images in a batch', dict(collate=32, step=2, parts=8, scaling=2)),
    'batches': ('a round', dict(collate=12)),
    'global-size': ('pixels of the two global views', dict.fromkeys(('collate', 'step', 'parts', 'scaling'), 224)),
    'local-size': ('pixels of the local views', dict.fromkeys(('collate', 'step', 'parts', 'scaling'), 96)),
    'num-local': ('views of an image', dict.fromkeys(('data', 'collate', 'step', 'parts', 'scaling'), 8)),
    'prototypes': ('of the head', dict.fromkeys(('step', 'parts', 'scaling'), 65536)),
    'bank': ('labelled samples', dict(knn=100_000)),
    'queries': ('samples to classify; the reference needs 100 or more', dict(knn=2_000)),
    'classes': ('of the samples', dict(knn=1_000)),
    'dim': ('features of a sample or patch', dict(knn=384, propagation=384, discovery=384)),
    'objects': ('with the background', dict(propagation=4, discovery=4)),
}


def build_parser() -> argparse.ArgumentParser:
    """One sub-command for each kind of measurement."""
    parser = argparse.ArgumentParser(
        description='Measure dino_plugin, beside facebookresearch/dino if there is a checkout of it. '
        'Tables for people; the last line is one JSON object.'
    )
    commands = parser.add_subparsers(dest='command', required=True)
    added = {name: commands.add_parser(name, help=purpose) for name, purpose in COMMANDS.items()}
    for name, command in added.items():
        command.add_argument('--reference', help='a checkout of facebookresearch/dino, to be run beside ours')
        if name not in ('data', 'collate', 'reading'):
            command.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='(default: cpu)')
        if name in ('step', 'parts', 'scaling'):
            command.add_argument('--model', choices=['tiny', 'small', 'base'], default='small', help='(default: small)')
    for name, (what, defaults) in NUMBERS.items():
        for command, default in defaults.items():
            added[command].add_argument(f'--{name}', type=int, default=default, help=f'{what} (default: {default})')
    added['reading'].add_argument('--out', help='folder on the disk to be measured (default: a temporary one)')
    for name in ('data', 'reading', 'scaling'):
        added[name].add_argument('--images', help='a folder; every image below it (default: frames of a checkout)')
    precisions = dict(choices=['fp32', 'bf16'])
    added['step'].add_argument('--profile', **precisions, help='show where the time of our step goes instead')
    added['scaling'].add_argument('--precision', **precisions, default='bf16', help='(default: bf16)')
    added['scaling'].add_argument('--axes', nargs='+', choices=AXES, default=AXES, help='(default: all)')
    for name in ('propagation', 'discovery'):
        added[name].add_argument(
            '--grids', nargs='+', default=['16=30x52', '8=60x104'], metavar='PATCH=ROWSxCOLUMNS',
            help='of patches, by the size of a patch (default: 16=30x52 8=60x104, of 480p)',
        )  # fmt: skip
    added['parts'].add_argument(
        '--only', nargs='+', choices=PARTS, default=[name for name in PARTS if name not in COMPILED], metavar='NAME',
        help=f'of {", ".join(PARTS)} (default: all but the last two, which take minutes on a CPU)',
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command, on one thread.

    Returns:
        The exit status: 1 if a check failed, else 0.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f'--rounds {options.rounds}: at least one round is needed.')
    import importlib
    import random

    import cv2
    import torch

    from benchmark.reference import Reference
    from benchmark.report import Report

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    random.seed(0)
    try:
        reference = Reference(options.reference) if options.reference else None
    except ValueError as error:
        parser.error(f'--reference: {error}')
    report = Report(options)
    importlib.import_module(f'benchmark.{options.command}').run(options, report, reference)
    report.print_json()
    return int(not all(report.checks.values()))
