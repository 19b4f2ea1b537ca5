"""Recipes side by side, chosen on training images, several seeds: python tools/compare_recipes.py STUDY

STUDY is a config with ``recipes``, such as configs/studies/small-data_imagenette128.py. Each recipe is trained with
each seed, one after another; a call after an interruption goes on where the last one stopped. ``--test`` looks at the
test images, once, for the best recipe of each group. A table is printed, and written to the study's folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dino_plugin.commands.command_line import CONFIG_HELP, config_name


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Compare recipes: chosen on training images, several seeds, tested once.'
    )
    parser.add_argument('config', metavar='STUDY', type=config_name, help=f'recipes and seeds: {CONFIG_HELP}')
    parser.add_argument('--work-dir', type=Path, help='folder of all trainings (default: ./work_dirs/<name of STUDY>)')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='train only these recipes')
    parser.add_argument('--seeds', nargs='+', type=int, metavar='N', help='train only with these seeds')
    parser.add_argument('--test', action='store_true', help='then test the chosen recipe of each group, once')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from mmengine.config import Config

    from dino_plugin.commands.command_line import fail
    from dino_plugin.commands.recipe_study import chosen, runs_of, test, train, write_table
    from dino_plugin.openmmlab.config_files import find_config

    study = Config.fromfile(find_config(args.config))
    if 'recipes' not in study:
        fail(f'{args.config} is no study: it has no recipes = dict(name=dict(config=..., options={{...}})).')
    if unknown := sorted(set(args.only or ()) - set(study.recipes)):
        fail(f'--only: {unknown} are not in the study; it has {list(study.recipes)}.')
    folder = args.work_dir or Path('work_dirs') / Path(args.config).stem
    runs = runs_of(study, folder)
    for run in runs:
        if (not args.only or run.recipe in args.only) and (not args.seeds or run.seed in args.seeds):
            train(study, run)
            write_table(study, runs, folder)
    if args.test:
        best = chosen(runs)
        for run in runs:
            if best.get(run.group) == run.recipe:
                test(study, run)
    print(write_table(study, runs, folder))


if __name__ == '__main__':
    main()
