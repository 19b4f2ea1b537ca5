"""Heads over training time: python tools/compare_heads.py CHECKPOINT [MORE ...] --images DIR [--masks DIR]"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.network_arguments import backbone_or_fail, checkpoint_name
from dino_plugin.commands.picture_tools import picture_parser

if TYPE_CHECKING:
    from dino_plugin.evaluation.attention.summary import HeadsSummary
    from dino_plugin.evaluation.objects.images import ObjectDataset


def parse_args() -> argparse.Namespace:
    parser = picture_parser('Statistics of heads and their clusters, for one checkpoint or several of one training.')
    parser.add_argument('more', nargs='*', type=checkpoint_name, metavar='MORE', help='later checkpoints')
    parser.add_argument('--images', required=True, type=existing, help='a folder of images')
    parser.add_argument('--masks', type=existing, help='a folder of indexed PNG of their names: 0 is the background')
    parser.add_argument('--number', type=int, help='take the first so many images')
    parser.add_argument('--blocks', type=int, nargs='+', help='from 0 on, or from the end if negative (default: all)')
    parser.add_argument('--out', default='heads', help='folder of the tables and pictures (default: heads)')
    return parser.parse_args()


def summary_of(args: argparse.Namespace, dataset: ObjectDataset) -> tuple[HeadsSummary, list[str]]:
    from dino_plugin.evaluation.attention.images import heads_of_image
    from dino_plugin.evaluation.attention.summary import describe_heads, summarise_heads
    from dino_plugin.evaluation.progress import progress

    backbone, images = backbone_or_fail(args.checkpoint, args.backbone), []
    for item in progress(map(dataset.__getitem__, range(len(dataset))), Path(args.checkpoint).name, len(dataset)):
        found = heads_of_image(backbone, item.read_image(), args.blocks, args.size, attended_distances=True)
        labels = None if item.mask_path is None else item.read_labels()
        images.append(describe_heads(found.maps, labels, found.attended_distances))
    return summarise_heads(images), found.names


def row_of(name: str, summary: HeadsSummary) -> dict[str, str]:
    row = {'checkpoint': name} | {key: f'{values.mean():.4f}' for key, values in summary.means.items()}
    row['head_distance'] = f'{summary.mean_distance:.4f}'
    if summary.clusters is not None and summary.clusters.silhouette:
        silhouette = summary.clusters.silhouette
        best = max(silhouette, key=silhouette.__getitem__)
        row |= dict(clusters=str(best), silhouette=f'{silhouette[best]:.4f}')
        row |= dict(silhouette_3=f'{silhouette[3]:.4f}' if 3 in silhouette else '')
        row |= dict(cophenetic=f'{summary.clusters.cophenetic:.4f}')
    return row


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from rich import print as rich_print
    from rich.table import Table

    from dino_plugin.evaluation.attention.reports import write_head_report
    from dino_plugin.evaluation.objects.images import ObjectDataset
    from dino_plugin.visualization.heads_over_time import plot_heads_over_time

    rows, means, out = [], [], Path(args.out)
    try:
        dataset = ObjectDataset(images=args.images, masks=args.masks, indices=args.number)
        for place, checkpoint in enumerate([args.checkpoint, *args.more], 1):
            args.checkpoint = checkpoint
            name = f'{place}_{Path(args.checkpoint).stem}'
            summary, heads = summary_of(args, dataset)
            write_head_report(summary, heads, out / name)
            rows.append(row_of(name, summary))
            means.append(summary.means)
    except (ValueError, OSError) as error:
        fail(str(error))
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (out / 'comparison.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    table = Table('mean over heads', *(row['checkpoint'] for row in rows))
    for name in names[1:]:
        table.add_row(name.replace('_', ' '), *(row.get(name, '') for row in rows))
    rich_print(table)
    if len(rows) > 1:
        values = {key: [one[key] for one in means] for key in means[0]}
        plot_heads_over_time(values, [row['checkpoint'] for row in rows], out / 'heads_over_time.png')
    print(f'{out}/comparison.csv')


if __name__ == '__main__':
    main()
