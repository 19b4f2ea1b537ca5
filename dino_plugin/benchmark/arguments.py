"""The arguments of ``tools/benchmark.py``; light to import, so that --help comes at once.

What the machine decides is None until :func:`complete` fills it in.
"""

import argparse
import ast
from pathlib import Path

# Each is a sub-command, and the module of this folder that runs it.
COMMANDS = ('data', 'collate', 'step', 'knn', 'propagation', 'parts', 'scaling')
MODELS = ('tiny', 'small', 'base')
PRECISIONS = ('fp32', 'bf16', 'fp16')
PARTS = ('ema', 'optimizer', 'clip', 'loss')
COMPILED = ('compiled_blocks', 'compiled_colours')
SWITCHES = (
    'class_token_only', 'packed_views', 'attention_fp32', 'attention_bf16', 'loss_backward', 'subset_drop_path',
    'remembered_positions', 'teacher_without_autograd', *COMPILED,
)  # fmt: skip
AXES = ('batch', 'local-views', 'image-size', 'workers', 'processes')
USUAL = 'usual'


def build_parser() -> argparse.ArgumentParser:
    """One sub-command for each kind of measurement."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument('--reference', help='a checkout of facebookresearch/dino, to be run beside ours')
    shared.add_argument('--rounds', type=_positive, default=5, help='of all candidates in turn (default: 5)')
    shared.add_argument('--warm-up', type=int, default=1, help='rounds before that, not counted (default: 1)')
    shared.add_argument('--threads', type=_positive, default=1, help='of torch and OpenCV (default: 1)')
    parser = argparse.ArgumentParser(
        description='Measure dino_plugin, beside facebookresearch/dino if there is a checkout of it. '
        'Tables for people; the last line is one JSON object.'
    )
    commands = parser.add_subparsers(dest='command', required=True)
    added = {name: commands.add_parser(name, parents=[shared], help=_purpose(name)) for name in COMMANDS}
    for name in ('step', 'knn', 'propagation', 'parts', 'scaling'):
        added[name].add_argument('--device', choices=['cpu', 'cuda'], help='(default: cuda, if there is a GPU)')
    for name in ('data', 'scaling'):
        added[name].add_argument(
            '--images', help='a folder; every image below it (default: the DAVIS frames of a checkout)'
        )
    _add_data(added['data'])
    _add_collate(added['collate'])
    _add_step(added['step'])
    _add_knn(added['knn'])
    _add_propagation(added['propagation'])
    _add_parts(added['parts'])
    _add_scaling(added['scaling'])
    return parser


def complete(options: argparse.Namespace, has_gpu: bool) -> None:
    """Fill in what the machine decides."""
    if 'device' in options:
        options.device = options.device or ('cuda' if has_gpu else 'cpu')
    if 'batch' in options:
        options.batch = options.batch or (64 if has_gpu else 2)
    if getattr(options, 'profile', None) == USUAL:
        options.profile = 'bf16' if has_gpu else 'fp32'


def _add_data(parser: argparse.ArgumentParser) -> None:
    _add_numbers(parser, ('chunk', 16, 'images a round'), ('num-local', 8, 'local views of an image'))


def _add_collate(parser: argparse.ArgumentParser) -> None:
    _add_numbers(
        parser,
        ('batch', 32, 'images in a batch'),
        ('batches', 12, 'batches a round'),
        ('workers', 2, 'processes of the data loader'),
        ('global-size', 224, 'pixels of the two global views'),
        ('local-size', 96, 'pixels of the local views'),
        ('num-local', 8, 'local views of an image'),
    )


def _add_step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', nargs='+', choices=MODELS, help='(default: small; on a GPU small and base)')
    parser.add_argument(
        '--profile', nargs='?', choices=[*PRECISIONS, USUAL], const=USUAL, metavar='PRECISION',
        help='show where the time of our step goes instead, in fp32, bf16 or fp16 (default: bf16 on a GPU, else fp32)',
    )  # fmt: skip
    _add_network(parser)


def _add_knn(parser: argparse.ArgumentParser) -> None:
    _add_numbers(
        parser,
        ('bank', 100_000, 'labelled samples'),
        ('queries', 2_000, 'samples to classify; the reference needs 100 or more'),
        ('dim', 384, 'features of a sample'),
        ('classes', 1_000, 'classes'),
    )


def _add_propagation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--grids', nargs='+', default=['16=30x52', '8=60x104'], metavar='PATCH=ROWSxCOLUMNS',
                        help='of patches, by the size of a patch (default: 16=30x52 8=60x104, of 480p)')  # fmt: skip
    _add_numbers(parser, ('dim', 384, 'features of a patch'), ('objects', 4, 'with the background'))


def _add_parts(parser: argparse.ArgumentParser) -> None:
    names = [*PARTS, *SWITCHES]
    parser.add_argument('--model', choices=MODELS, default='small', help='(default: small)')
    parser.add_argument(
        '--only', nargs='+', choices=names, default=names, metavar='NAME', help=f'of {", ".join(names)}'
    )
    parser.add_argument(
        '--compile', action='store_true', help=f'measure {" and ".join(COMPILED)}, too; takes minutes on a CPU'
    )
    _add_network(parser, batch=8)


def _add_scaling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--axes', nargs='+', choices=AXES, default=list(AXES), help='(default: all)')
    parser.add_argument('--points', nargs='+', type=int, help='in place of the usual ones; for one axis')
    parser.add_argument('--model', choices=MODELS, default='small', help='(default: small)')
    parser.add_argument('--precision', choices=['fp32', 'bf16'], default='bf16', help='(default: bf16)')
    parser.add_argument('--compile-blocks', action='store_true', help='as the backbone takes it')
    parser.add_argument('--num-images', type=int, default=64, help='of the axis of workers, a round (default: 64)')
    _add_network(parser)


def _add_network(parser: argparse.ArgumentParser, batch: int | None = None) -> None:
    default = batch or '64 on a GPU, else 2'
    parser.add_argument('--batch', type=int, default=batch, help=f'images in a step (default: {default})')
    _add_numbers(
        parser,
        ('global-size', 224, 'pixels of the two global views'),
        ('local-size', 96, 'pixels of the local views'),
        ('num-local', 8, 'local views of an image'),
        ('prototypes', 65536, 'of the head'),
    )


def _add_numbers(parser: argparse.ArgumentParser, *numbers: tuple[str, int, str]) -> None:
    for name, default, what in numbers:
        parser.add_argument(f'--{name}', type=int, default=default, help=f'{what} (default: {default})')


def _purpose(name: str) -> str:
    """The first words of the module that runs a sub-command, without importing it."""
    return ast.get_docstring(ast.parse(Path(__file__).with_name(f'{name}.py').read_text(encoding='utf-8'))) or ''


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{number} is no number of 1 or more')
    return number
