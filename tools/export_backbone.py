"""Write a checkpoint's backbone for another program: python tools/export_backbone.py CHECKPOINT [OUT] --format timm"""

import argparse
import json
from pathlib import Path

from dino_plugin.commands.command_line import fail
from dino_plugin.export.formats import FORMATS, GRAPH_FORMATS, OWN


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a checkpoint's backbone for another program.")
    parser.add_argument(
        'checkpoint', help="of a training, or the authors' own: a file, https://... or hf-hub:owner/name"
    )
    parser.add_argument(
        'out',
        nargs='?',
        help='name without a hash, with or without the suffix: .safetensors (default) or .pth, .onnx, .pt2; '
        'a folder for huggingface (default: the name of the checkpoint, beside it, or here if it is an address)',
    )
    parser.add_argument(
        '--format',
        choices=[*FORMATS, OWN, *GRAPH_FORMATS],
        default='timm',
        help="original: names of the authors' repositories; own: a network that is not from timm, under its own names; "
        'onnx, torch_export: the network itself',
    )
    parser.add_argument(
        '--source', default='teacher', help='teacher, student, or the name of another network in the file'
    )
    parser.add_argument(
        '--mean',
        nargs='+',
        type=float,
        help="of images, in levels of 0 to 255 (default: the checkpoint's, or ImageNet's)",
    )
    parser.add_argument('--std', nargs='+', type=float, help='standard deviation, in the same unit')
    parser.add_argument(
        '--image-size',
        nargs=2,
        type=int,
        metavar=('ROWS', 'COLUMNS'),
        help='size that onnx or torch_export fixes, in pixels (default: any size)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from dino_plugin.export.backbone import export_backbone  # not above: PyTorch takes seconds
    from dino_plugin.weights.reading.sources import is_remote

    given = {name: tuple(value) for name in ('mean', 'std', 'image_size') if (value := getattr(args, name))}
    beside = Path(args.checkpoint).name if is_remote(args.checkpoint) else args.checkpoint
    out = args.out or Path(beside).with_suffix('')
    try:
        path = export_backbone(args.checkpoint, out, args.source, format=args.format, **given)
    except (ValueError, ImportError, OSError) as error:
        fail(str(error))
    card = path.with_suffix('.json')
    if graph := json.loads(card.read_text()).get('graph'):
        print(f'images: {graph["inputs"]["images"]}, normalised; differs by {graph["largest_difference"]:.1e} at most.')
        if graph['fixed_because']:
            print(f'Rows and columns are fixed: {graph["fixed_because"]}. --image-size fixes others.')
    print(f'{path}\n{card}')


if __name__ == '__main__':
    main()
