"""The page of one or several runs: python tools/report.py WORK_DIR [MORE ...] --out report.html"""

import argparse

from dino_plugin.commands.command_line import existing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Show runs in a browser: curves, pictures, films, warnings, settings and what differs.'
    )
    parser.add_argument('folders', nargs='+', type=existing, metavar='WORK_DIR',
                        help='working directories of trainings, or folders that hold some')  # fmt: skip
    parser.add_argument('--out', default='report.html', help='the page, one file (default: report.html)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from dino_plugin.report.page import write_page

    print(write_page(args.folders, args.out))


if __name__ == '__main__':
    main()
