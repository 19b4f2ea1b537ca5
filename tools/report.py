"""The page of one or several runs: python tools/report.py WORK_DIR [MORE ...] --out report.html, or --serve"""

import argparse
import sys
from collections.abc import Sequence

from dino_plugin.commands.command_line import existing, fail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Show runs in a browser: curves, pictures, films, warnings, settings and what differs.'
    )
    parser.add_argument('folders', nargs='+', type=existing, metavar='WORK_DIR',
                        help='working directories of trainings, or folders that hold some')  # fmt: skip
    parser.add_argument('--out', default='report.html', help='the page, one file (default: report.html)')
    parser.add_argument('--serve', action='store_true', help='no file: a page that is renewed while training goes on')
    parser.add_argument('--port', type=int, default=8765, help='of --serve; 0 chooses a free one (default: 8765)')
    parser.add_argument('--host', default='127.0.0.1',
                        help='of --serve: the address to listen at (default: 127.0.0.1, this machine)')  # fmt: skip
    return parser.parse_args()


def serve(folders: Sequence[str], host: str, port: int) -> None:
    """Serve the page until Ctrl-C."""
    from dino_plugin.report.server import LOOPBACK, ReportServer

    try:
        server = ReportServer(folders, host, port)
    except (OSError, OverflowError) as error:
        fail(f'{host}:{port} cannot be listened at ({error}); choose another --port, or 0 for a free one')
    if host not in LOOPBACK:
        print(f'Everybody who reaches {host} can read these runs: configs, logs, pictures.', file=sys.stderr)
    print(f'http://{host}:{server.server_port}   (Ctrl-C ends)', flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()


def main() -> None:
    args = parse_args()
    if args.serve:
        serve(args.folders, args.host, args.port)
        return
    # Imported here, so that --help and usage errors are quick.
    from dino_plugin.report.page import write_page

    print(write_page(args.folders, args.out))


if __name__ == '__main__':
    main()
