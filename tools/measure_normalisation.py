"""Mean and deviation of each channel of a config's images: python tools/measure_normalisation.py CONFIG [FOLDER]

Prints lines for a config. The images are those of its train_dataloader, as the first step of the pipeline loads them:
with dino_plugin.LoadChannels any number of channels, scaled by its bits, value_range or percentiles.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dino_plugin.commands.command_line import fail, new_parser

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = new_parser("Mean and standard deviation of each channel of a config's images.")
    parser.add_argument('folder', nargs='?', help="images to measure (default: the config's data_root)")
    parser.add_argument('--num', type=int, help='images, spread over the dataset (default: all)')
    parser.add_argument(
        '--percentiles',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='measure these percentiles of the stored numbers first, and take them as the value_range',
    )
    return parser.parse_args()


def load_parts(cfg: Config, folder: str | None) -> tuple[Any, Any]:
    """The dataset without its pipeline, and the pipeline's first step."""
    from mmengine.registry import DATASETS, TRANSFORMS

    dataset, pipelines = cfg.train_dataloader.dataset, []
    while True:
        pipelines += [dataset.get('pipeline'), *dataset.get('pipelines', [])]
        if 'dataset' not in dataset:
            break
        dataset = dataset.dataset
    steps = next((steps for steps in pipelines if steps), None)
    if steps is None:
        fail(f'the data set of train_dataloader, {dataset.type}, has no pipeline whose first step loads an image.')
    loader = TRANSFORMS.build(steps[0])
    dataset.pipeline = []
    if folder:
        dataset.data_root = folder
    return DATASETS.build(dataset), loader


def loaded(dataset: Any, number: int | None, load: Callable[[dict], Any], title: str) -> Iterator[Any]:
    """The images that can be read, with a bar of progress; those that cannot are counted."""
    from rich.console import Console
    from rich.progress import track

    from dino_plugin.data.images.headers import UndecodableImageError

    number = min(number or len(dataset), len(dataset))
    damaged = []
    for place in track(range(number), title, console=Console(stderr=True)):
        try:
            yield load(dataset[place * len(dataset) // number])
        except UndecodableImageError as error:
            damaged.append(str(error))
    if damaged:
        print(f'# {len(damaged)} of {number} files cannot be read and were left out; the first: {damaged[0]}')


def line_of(values: Any) -> str:
    return ', '.join(f'{value:.6g}' for value in values)


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from mmengine.registry import init_default_scope

    from dino_plugin.commands.launch import read_config
    from dino_plugin.commands.mistakes import explained
    from dino_plugin.data.images.channel_levels import ValueRange
    from dino_plugin.data.images.channel_loading import LoadChannels
    from dino_plugin.data.images.channel_statistics import measure_normalisation, measure_percentiles
    from dino_plugin.data.mmcv_transforms import image_in_order

    cfg = read_config(args)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    with explained(cfg, 'train'):
        dataset, loader = load_parts(cfg, args.folder)
        of_channels = isinstance(loader, LoadChannels)
        if args.percentiles and not of_channels:
            fail('--percentiles measures stored numbers, which only dino_plugin.LoadChannels scales.')
        if args.percentiles:
            pairs = measure_percentiles(loaded(dataset, args.num, loader.numbers, 'range'), args.percentiles)
            loader.value_range = ValueRange(value_range=pairs.tolist(), nodata=loader.value_range.nodata)
            print(f'value_range=[{", ".join(f"({line_of(pair)})" for pair in pairs)}],  # of LoadChannels')
        load = loader.levels if of_channels else lambda results: image_in_order(loader(results))
        mean, std = measure_normalisation(loaded(dataset, args.num, load, 'mean and std'))
        print(f'data_preprocessor=dict(mean=[{line_of(mean)}], std=[{line_of(std)}]),  # of the model')
    if not std.all():
        print(
            '# A channel has one value in all images (std 0), which cannot be normalised: leave it out by keep=[...].'
        )


if __name__ == '__main__':
    main()
