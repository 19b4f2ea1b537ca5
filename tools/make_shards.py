"""Images of a folder as tar shards, with an index: python tools/make_shards.py FOLDER OUT"""

import argparse
from pathlib import Path

from dino_plugin.commands.command_line import existing, fail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write all images below a folder as tar shards in webdataset's layout, in random order, and their "
        'index. An interrupted run goes on where it was. Then: type=dino_plugin.ShardDataset data_root=OUT'
    )
    parser.add_argument('folder', type=existing, help='images at any depth')
    parser.add_argument('out', help='a new folder for the shards')
    parser.add_argument('--images-per-shard', type=int, default=10_000, help='(default: 10000)')
    parser.add_argument('--with-labels', action='store_true', help='sub-folders are classes')
    parser.add_argument('--seed', type=int, default=0, help='of the order (default: 0)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from functools import partial

    from rich.console import Console
    from rich.progress import track

    from dino_plugin.data.images.image_files import EXTENSIONS, find_classes, find_images, refuse_empty
    from dino_plugin.data.sources.index_writing import index_shards
    from dino_plugin.data.sources.shard_writing import SKIPPED, write_shards

    bar = partial(track, console=Console(stderr=True))
    try:
        if args.with_labels:
            found = find_classes(args.folder, None, EXTENSIONS)
            samples, classes = found.samples, found.classes
        else:
            paths, num_others = find_images(args.folder)
            refuse_empty(args.folder, paths, num_others, EXTENSIONS)
            samples, classes = [dict(img_path=path) for path in paths], ()
        write_shards(
            samples, args.folder, args.out, args.images_per_shard, args.seed, partial(bar, description='Shards')
        )
        indexed = index_shards(args.out, classes=classes, progress=partial(bar, description='Index'))
    except KeyboardInterrupt:
        fail('interrupted; the same command goes on')
    except (ValueError, OSError) as error:
        fail(str(error))
    listed = Path(args.out, SKIPPED)
    if skipped := listed.read_text(encoding='utf-8', errors='backslashreplace').splitlines():
        print(f'{len(skipped)} files are no whole images and were left out, see {listed}; the first: {skipped[0]}')
    print(f'{args.out}: {len(indexed.index)} images in {len(indexed.index.shards)} shards')


if __name__ == '__main__':
    main()
