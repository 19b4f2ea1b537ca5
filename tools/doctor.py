"""Is it going to learn? Looks at images, network, schedule and first steps: python tools/doctor.py CONFIG --images DIR

It takes the options of tools/train.py, trains nothing that stays, and touches nothing in the working directory of the
training. Findings are printed, the worst first, each with what to do, and written to the folder of --out with pictures,
as a page (doctor.html) and a table (doctor.md). The exit status is 1 if one of them is a fault.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from dino_plugin.commands.everyday_options import short_train_option
from dino_plugin.commands.training_arguments import training_parser


def parse_args() -> argparse.Namespace:
    parser = training_parser()
    parser.description = 'Look at images, network, schedule and first steps of a training, before it is run.'
    parser.add_argument('--steps', type=int, default=50, help='first steps of the real training (default: %(default)s)')
    parser.add_argument('--quick', action='store_true', help='no experiments on one batch and by rising learning rates')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/doctor'), help='folder (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from dino_plugin.commands.mistakes import explained
    from dino_plugin.commands.training import training_config
    from dino_plugin.doctor.examine import examine
    from dino_plugin.doctor.findings import as_markdown, as_text
    from dino_plugin.doctor.page import page_of

    with tempfile.TemporaryDirectory() as folder:
        args.work_dir = folder
        cfg = training_config(args)
        with explained(cfg, 'train', short=short_train_option):
            found = examine(cfg, args.out, args.steps, not args.quick)
    pictures = ''.join(f'\n![{path.stem}]({path.name})\n' for path in found.pictures)
    (args.out / 'doctor.md').write_text(f'# {args.config}\n\n{as_markdown(found.findings)}\n{pictures}')
    page = args.out / 'doctor.html'
    page.write_text(page_of(args.config, found.findings, found.pictures), encoding='utf8')
    print(f'\n{as_text(found.findings)}\n\npage: {page}')
    sys.exit(any(finding.level == 'fault' for finding in found.findings))


if __name__ == '__main__':
    main()
