"""Choose images for training: python tools/curate.py CHECKPOINT --images DIR --keep NUMBER --out FOLDER

Near-duplicates are left out, then a balanced sample is drawn from clusters of clusters of embeddings. FOLDER gets
chosen/chosen.txt, a list to train on (of images in tar shards: the folder chosen, an index), and page.html, which shows
what was done. A run that was interrupted goes on, and `torchrun --nproc_per_node=8 -m dino_plugin curate ...` shares
the work.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dino_plugin.commands.command_line import existing, fail
from dino_plugin.commands.network_arguments import CHECKPOINT_HELP, add_backbone_options, checkpoint_name

if TYPE_CHECKING:
    from dino_plugin.curation.plan import Plan


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Choose images for training: no near-duplicates, and as many of rare things as of frequent ones.'
    )
    parser.add_argument('checkpoint', type=checkpoint_name, help=CHECKPOINT_HELP)
    parser.add_argument('--images', type=existing, required=True, help='a folder of images or of tar shards, or a list')
    parser.add_argument('--keep', type=int, required=True, help='images of the balanced choice')
    parser.add_argument('--out', required=True, help='folder of all stages; the list is chosen/chosen.txt in it')
    parser.add_argument('--held-out', type=existing, metavar='DIR', help='images that no chosen one may be like')
    parser.add_argument('--seeds', type=existing, metavar='DIR', help='images whose like is added')
    plan = parser.add_argument_group('the choice')
    number = partial(plan.add_argument, type=int)
    plan.add_argument('--duplicates', type=float, default=0.6,
                      help='cosine of whitened embeddings of near-duplicates (0.6); 2: there are none')  # fmt: skip
    plan.add_argument('--near-held-out', type=float, default=0.45, help='the same for held-out images (0.45)')
    plan.add_argument('--no-whitening', action='store_true', help='take these cosines of embeddings as they are')
    number('--neighbours', default=64, help='nearest images looked at for near-duplicates (default: %(default)s)')
    plan.add_argument('--index', default='auto', help="'exact', or faiss's words, IVF4096,Flat (exact up to 50,000)")
    number('--clusters', nargs='+', default=[], help='of each level, falling (default: by the number of images)')
    number('--iterations', default=50, help='of each k-means (default: %(default)s)')
    number(
        '--resamples', default=10, help='k-means of typical clusters, for a flatter hierarchy (default: %(default)s)'
    )
    number('--per-seed', default=4, help='nearest images of each seed (default: %(default)s)')
    number('--per-cluster', default=0, help='random images of each cluster that has seeds (default: %(default)s)')
    plan.add_argument('--nearest-first', action='store_true', help='of a cluster take typical images, not random ones')
    number('--repeats', default=1, help='how often an image may be listed (default: %(default)s)')
    number('--seed', default=0)
    embedding = parser.add_argument_group('the embeddings')
    embedding.add_argument('--features', choices=['class', 'mean', 'class+mean'], default='class')
    embedding.add_argument('--resize', type=int, default=256, help='pixels of the shorter side (default: %(default)s)')
    embedding.add_argument('--crop', type=int, default=224, help='pixels of the square (default: %(default)s)')
    embedding.add_argument('--batch-size', type=int, default=64)
    embedding.add_argument('--num-workers', type=int, default=2)
    embedding.add_argument('--precision', choices=['fp32', 'bf16', 'fp16'], default='fp32')
    add_backbone_options(parser)
    return parser.parse_args()


def plan_of(args: argparse.Namespace) -> Plan:
    from dino_plugin.curation.plan import Plan

    return Plan(
        args.keep, args.clusters, args.duplicates, args.near_held_out, not args.no_whitening, args.neighbours,
        args.index, args.per_seed, args.per_cluster, args.iterations, args.resamples, args.nearest_first, args.repeats,
        args.seed,
    )  # fmt: skip


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from mmengine.dist import is_main_process

    from dino_plugin.commands.curation import embeddings_of, join_if_launched
    from dino_plugin.curation.page import write_page
    from dino_plugin.curation.run import curate
    from dino_plugin.data.sources.shard_index import INDEX

    folders = dict(images=args.images, held_out=args.held_out, seeds=args.seeds)
    try:
        device = join_if_launched()
        sources = {name: embeddings_of(args, folder) for name, folder in folders.items() if folder}
        plan = plan_of(args)
        plan.refuse_impossible(sources['images'][0]['number'])
        stages = curate(plan, os.path.expanduser(args.out), sources, device)
    except (ValueError, ImportError, OSError) as error:
        fail(str(error))
    if is_main_process():
        print(write_page(stages.folder, stages.results))
        chosen = Path(stages.folder, 'chosen')
        print(chosen if (chosen / INDEX).is_file() else chosen / 'chosen.txt')


if __name__ == '__main__':
    main()
