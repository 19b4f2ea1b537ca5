"""Search a folder by images: python tools/retrieve.py CHECKPOINT --images DIR --queries IMAGE [...] --out sheet.png"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.network_arguments import (
    CHECKPOINT_HELP,
    add_backbone_options,
    backbone_or_fail,
    checkpoint_name,
)

if TYPE_CHECKING:
    from dino_plugin.evaluation.retrieval.files import Described


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Find the images of a folder that are most like the queries, or most like each other.'
    )
    parser.add_argument('checkpoint', type=checkpoint_name, help=CHECKPOINT_HELP)
    parser.add_argument('--images', type=existing, required=True, help='the folder; sub-folders are searched, too')
    parser.add_argument('--queries', nargs='+', type=existing, default=[], metavar='IMAGE', help='images to search for')
    parser.add_argument('--out', default='nearest.png', help='the picture of the answers (default: %(default)s)')
    parser.add_argument('--nearest', type=int, default=8, help='answers to each query, at most all (default: 8)')
    parser.add_argument('--pairs', metavar='FILE.csv', help='write pairs of near-duplicates inside the folder')
    parser.add_argument('--closest', type=int, default=100, help='pairs at most, most similar first (default: 100)')
    parser.add_argument('--threshold', type=float, default=-1.0,
                        help='only pairs that are at least so similar; 1: equal (default: any)')  # fmt: skip
    parser.add_argument('--features', default='class', choices=['class', 'mean', 'class+mean', 'gem', 'class+gem'],
                        help="'class' finds things of a kind, 'class+gem' copies (default: class)")  # fmt: skip
    parser.add_argument('--index', default='exact', choices=['exact', 'flat', 'ivf', 'hnsw'],
                        help='for millions, by faiss; ivf and hnsw may miss some (default: exact)')  # fmt: skip
    parser.add_argument('--size', type=int, default=224, help='images are resized to this square (default: 224)')
    parser.add_argument('--num-workers', type=int, default=2, help='processes that read images (default: 2)')
    add_backbone_options(parser)
    args = parser.parse_args()
    if not args.queries and not args.pairs:
        parser.error('give --queries IMAGE [...] to search for, --pairs FILE.csv, or both')
    return args


def answer_queries(args: argparse.Namespace, bank: Described, queries: Described) -> None:
    """Print the nearest images of each query and draw them; a query that lies in the folder is not its own answer."""
    from dino_plugin.data.images.decoding import read_image
    from dino_plugin.evaluation.retrieval.index import indexed_nearest
    from dino_plugin.visualization.answers import Answer, answers_sheet
    from dino_plugin.visualization.contact_sheet import save_image

    k = min(args.nearest + 1, len(bank.paths))
    similarities, numbers = indexed_nearest(bank.features, queries.features, k, args.index)
    rows = []
    for query, values, order in zip(queries.paths, similarities.tolist(), numbers.tolist()):
        found = [(value, bank.paths[number]) for value, number in zip(values, order) if number >= 0]
        found = [(value, path) for value, path in found if path.resolve() != query.resolve()][: args.nearest]
        print(query, *(f'  {value:.3f}  {path}' for value, path in found), sep='\n')
        answers = [Answer(read_image(path), f'{value:.2f}') for value, path in found]
        rows.append((query.name, read_image(query), answers))
    print(save_image(answers_sheet(rows), args.out))


def write_pairs(args: argparse.Namespace, bank: Described) -> None:
    import csv

    from dino_plugin.evaluation.retrieval.pairs import closest_pairs, indexed_pairs

    if args.index == 'exact':
        pairs = closest_pairs(bank.features, args.closest, args.threshold)
    else:
        pairs = indexed_pairs(bank.features, args.closest, args.threshold, args.index)
    Path(args.pairs).parent.mkdir(parents=True, exist_ok=True)
    with open(args.pairs, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['similarity', 'first', 'second'])
        for first, second, similarity in zip(*(part.tolist() for part in pairs)):
            writer.writerow([f'{similarity:.4f}', bank.paths[first], bank.paths[second]])
    print(f'{args.pairs}: {len(pairs.first)} pairs of {len(bank.paths)} images')


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from dino_plugin.data.images.image_files import find_images
    from dino_plugin.evaluation.retrieval.files import describe_files

    paths = [Path(path) for path in find_images(args.images)[0]]
    if not paths:
        fail(f'no image in {args.images} or below')
    backbone = backbone_or_fail(args.checkpoint, args.backbone)
    try:
        bank = describe_files(backbone, paths, args.size, args.features, num_workers=args.num_workers)
        for path, reason in bank.failed.items():
            print(f'left out: {path}: {reason}')
        if args.queries:
            queries = describe_files(backbone, [Path(query) for query in args.queries], args.size, args.features)
            if queries.failed:
                fail(next(iter(queries.failed.values())))
            answer_queries(args, bank, queries)
        if args.pairs:
            write_pairs(args, bank)
    except (ValueError, ImportError) as error:
        fail(str(error))


if __name__ == '__main__':
    main()
