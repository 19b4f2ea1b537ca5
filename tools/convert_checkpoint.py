"""Make one file of the checkpoint folder of a sharded training, or a folder of a file, to go on from either."""

import argparse
from pathlib import Path

from dino_plugin.commands.command_line import fail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', type=Path, help='checkpoint of a training: a folder or a file')
    parser.add_argument('destination', type=Path, help='what to write; it must not exist')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from dino_plugin.engine.distributed.conversion import convert  # not above: PyTorch takes seconds

    try:
        print(convert(args.source, args.destination))
    except (ValueError, OSError) as error:
        fail(str(error))


if __name__ == '__main__':
    main()
