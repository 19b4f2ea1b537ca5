"""An index of tar shards that exist already, so that each image can be read: python tools/index_shards.py SHARDS"""

import argparse
from collections import Counter
from functools import partial

from dino_plugin.commands.command_line import fail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write the index that dino_plugin.ShardDataset needs, for tar files in webdataset's layout, as "
        'img2dataset writes them. Shards that were added later are read alone; an interrupted run goes on.'
    )
    parser.add_argument('shards', help='a folder, or an address that fsspec knows, such as s3://bucket/shards')
    parser.add_argument('--out', default='', help='the index, a local file (default: index.safetensors in the folder)')
    parser.add_argument('--extensions', nargs='+', help='endings of images, all after the first dot of a name')
    parser.add_argument('--num-workers', type=int, default=0, help='processes that read shards (default: 0, this one)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from rich.console import Console
    from rich.progress import track

    from dino_plugin.data.images.image_files import EXTENSIONS
    from dino_plugin.data.sources.index_writing import index_shards
    from dino_plugin.data.sources.tar_members import CAPTIONS

    bar = partial(track, description='Index', console=Console(stderr=True))
    extensions = tuple(args.extensions or EXTENSIONS)
    try:
        indexed = index_shards(args.shards, args.out, extensions, args.num_workers, progress=bar)
    except KeyboardInterrupt:
        fail('interrupted; the same command goes on')
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        fail(str(error))
    index = indexed.index
    for name, damage in index.damage.items():
        print(f'{name} is damaged ({damage}); the images before that are in the index')
    others = sum((Counter(counts) for counts in index.others.values()), Counter())
    for ending in CAPTIONS:
        del others[ending]
    if others:
        kinds = ', '.join(f'{number} {ending or "without ending"}' for ending, number in others.most_common(10))
        print(f'{others.total()} members were not taken ({kinds}): other endings, empty files or symbolic links')
    print(f'{index.path}: {len(index)} images in {len(index.shards)} shards, {indexed.num_new} of them new')


if __name__ == '__main__':
    main()
