"""All that can be measured of networks with the data at hand, in one table:

python tools/scorecard.py CHECKPOINT [MORE ...] --images DIR [--masks DIR] [--class-masks DIR] [--clips DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import existing, fail, option_values
from dino_plugin.commands.network_arguments import (
    CHECKPOINT_HELP,
    add_backbone_options,
    backbone_or_fail,
    checkpoint_name,
    names_of,
)

if TYPE_CHECKING:
    from torch import nn

    from dino_plugin.evaluation.scorecard.data import Card


MOST_WITH_MASKS = 100


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure networks beside an untrained one and raw pixels.',
        epilog='Classes are known from --labels, from DIR/train/CLASS and DIR/val/CLASS, or from DIR/CLASS.',
    )
    parser.add_argument('checkpoints', nargs='+', type=checkpoint_name, metavar='CHECKPOINT', help=CHECKPOINT_HELP)
    parser.add_argument('--images', type=existing, required=True, help='folder of images')
    parser.add_argument('--labels', type=existing, help='CSV with the columns file (below --images) and label')
    parser.add_argument('--masks', type=existing, help='folder with JPEGImages and Annotations: images and their masks')
    parser.add_argument('--class-masks', type=existing, help='folder with images and masks that hold a class in each '
                        'pixel, 255 for none: half of the images teach, the others ask')  # fmt: skip
    parser.add_argument('--clips', type=existing, help="clips in DAVIS's layout, with a mask for each frame")
    parser.add_argument('--pairs', type=existing, help='CSV with the columns first and second, paths below its folder: '
                        'two pictures of the same thing in each row')  # fmt: skip
    parser.add_argument('--out', default='work_dirs/scorecard', help='folder of scorecard.json and pictures')
    parser.add_argument('--image-size', type=int,
                        help="pixels of the square from an image (default: the network's, at most 224)")  # fmt: skip
    parser.add_argument('--short-side', type=int, default=240, help='shorter side of images with masks and of frames')
    parser.add_argument('--limit', type=int, default=10000, help='largest number of images (default: 10,000)')
    parser.add_argument('--no-cache', action='store_true', help='keep no features and take none')
    add_backbone_options(parser)
    return parser.parse_args()


def object_images(folder: str | None, *places: str) -> list:
    """Images with masks below two places of the folder; at most 100, spread over all."""
    from dino_plugin.evaluation.objects.images import ObjectDataset

    if folder is None:
        return []
    davis = all(Path(folder, place, '480p').is_dir() for place in places)
    found = list(ObjectDataset(folder, *(f'{place}/480p' if davis else place for place in places)))
    return found[:: -(-len(found) // MOST_WITH_MASKS)]


def untrained(network: nn.Module) -> nn.Module:
    """The same architecture with initial weights, seed 0.

    LayerScale is 1 in it: with timm's 1e-5 the blocks do nothing, and the class tokens of all images are alike.
    """
    import torch

    from dino_plugin.backbones.timm_backbone import TimmBackbone

    torch.manual_seed(0)
    arguments = dict(network.description['timm_arguments'])
    if any(name.endswith(('ls1.gamma', '.gamma_1')) for name in network.model.state_dict()):
        arguments['init_values'] = 1.0
    return TimmBackbone(network.description['model_name'], **arguments)


def show(columns: dict[str, dict]) -> None:
    """Measures down, networks across; below, why some could not be measured."""
    from rich.console import Console
    from rich.table import Column, Table

    table, reasons = Table(Column('measure', no_wrap=True), *columns), []
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        values = [column.get(name, '') for column in columns.values()]
        table.add_row(
            name, *(f'{value:.1f}' if isinstance(value, float) else value and 'see below' for value in values)
        )
        reasons += [f'{name}: {text}' for text in dict.fromkeys(values) if isinstance(text, str) and text]
    Console(width=max(80, 30 + 18 * len(columns))).print(table)
    print(*reasons, sep='\n', end='\n' if reasons else '')


def save_pictures(networks: dict[str, nn.Module], card: Card, folder: Path) -> list[Path]:
    """Patch features of some images as colours, for each network."""
    from dino_plugin.data.images.decoding import read_image
    from dino_plugin.visualization.contact_sheet import save_image
    from dino_plugin.visualization.pca import pca_of_images

    masked = card.objects or card.class_masks
    if masked:
        images = [item.read_image() for item in masked[:: max(1, len(masked) // 8)][:8]]
    else:
        infos = card.images[:: max(1, len(card.images) // 8)][:8]
        images = [read_image(info['img_path']) for info in infos]
    return [
        save_image(
            pca_of_images(network, images, card.short_side), folder / f'features_{number}_{name.replace("/", "_")}.png'
        )
        for number, (name, network) in enumerate(networks.items())
    ]


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    import dino_plugin.engine.vocabulary  # noqa: F401
    from dino_plugin.evaluation.features.cache import FeatureCache
    from dino_plugin.evaluation.scorecard.data import Card, read_images
    from dino_plugin.evaluation.scorecard.measures import measure, measure_pixels
    from dino_plugin.evaluation.scorecard.pairs import read_pairs
    from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
    from dino_plugin.export.graphs import own_size

    model_name = str(option_values(args.backbone).get('model_name', 'none'))
    named = names_of(args.checkpoints, model_name, taken=('untrained', 'raw pixels'))
    networks = {name: backbone_or_fail(checkpoint, args.backbone) for name, checkpoint in named.items()}
    first = next(iter(networks.values()))
    networks['untrained'] = untrained(first).to(next(first.parameters()).device)
    try:
        images, labelled = read_images(Path(args.images), args.labels and Path(args.labels), args.limit)
        card = Card(
            images=images,
            labelled=labelled,
            objects=object_images(args.masks, 'JPEGImages', 'Annotations'),
            clips=DAVISDataset(args.clips, year=2016).clips if args.clips else [],
            size=args.image_size or min(*own_size(first.model), 224),
            short_side=args.short_side,
            class_masks=object_images(args.class_masks, 'images', 'masks'),
            pairs=read_pairs(Path(args.pairs)) if args.pairs else None,
        )
        columns, seconds = {}, {}
        for name, network in networks.items():
            began = time.perf_counter()
            columns[name] = measure(network, card, None if args.no_cache else FeatureCache())
            seconds[name] = time.perf_counter() - began
        columns['raw pixels'] = measure_pixels(card)
        out = Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        pictures = save_pictures(networks, card, out)
    except (ValueError, OSError) as error:
        fail(str(error))
    show(columns)
    known = '' if labelled is None else f', {len(labelled.bank)} to learn from and {len(labelled.queries)} to classify'
    masks = len(card.objects) + len(card.class_masks)
    print(f'{len(images)} images of {card.size} px{known}; {masks} with masks, {len(card.clips)} clips.')
    print('Features are class token and mean patch; LiDAR is of class tokens.')
    content = dict(measures=columns, seconds=seconds, images=len(images), size=card.size, short_side=card.short_side)
    (out / 'scorecard.json').write_text(json.dumps(content, indent=1) + '\n')
    print(*pictures, out / 'scorecard.json', sep='\n')


if __name__ == '__main__':
    main()
