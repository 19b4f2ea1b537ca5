"""Recipes side by side: chosen on the training images, three seeds each, tested once."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from mmengine.config import Config

from dino_plugin.commands.changed_values import changed_values
from dino_plugin.commands.command_line import fail
from dino_plugin.engine.training.latest_checkpoint import has_begun, latest_checkpoint
from dino_plugin.engine.training.whole_files import write_whole
from dino_plugin.openmmlab.config_files import config_path
from dino_plugin.visualization.scalars import read_scalars

METRIC = 'knn/top1_k20'


class Run(NamedTuple):
    """One training of a recipe.

    Attributes:
        recipe: Its name in the study, `group/variant` or `group`.
        seed: Of the training.
        folder: Its working directory.
    """

    recipe: str
    seed: int
    folder: Path

    @property
    def group(self) -> str:
        """Recipes of one group compete; the best of each group is tested."""
        return self.recipe.split('/')[0]

    @property
    def record(self) -> dict[str, Any]:
        """What is known: `curve`, `seconds`, `finished`; `test` after the test."""
        path = self.folder / 'record.json'
        return json.loads(path.read_text()) if path.is_file() else {}

    def add(self, **facts: Any) -> None:
        """Keep more facts."""
        text = json.dumps(self.record | facts, indent=1)
        write_whole(str(self.folder / 'record.json'), text.encode())


def runs_of(study: Config, folder: Path) -> list[Run]:
    """All trainings of a study, the first seed of all recipes first.

    Args:
        study: `recipes`, a dict of `dict(config=..., options={...})` by name, and `seeds`.
        folder: Of the study.
    """
    return [
        Run(name, seed, folder / name.replace('/', '_') / f'seed{seed}')
        for seed in study.get('seeds', (0, 1, 2))
        for name in study.recipes
    ]


def config_of(study: Config, run: Run) -> Config:
    """The config of a training, whose k-NN looks at the training images alone (leave-one-out).

    Raises:
        SystemExit: If the config measures no k-NN.
    """
    recipe = study.recipes[run.recipe]
    cfg = Config.fromfile(config_path(recipe.config))
    cfg.merge_from_dict(dict(study.get('options', {})) | dict(recipe.get('options', {})))
    hooks = [hook for hook in cfg.custom_hooks if hook.type == 'dino_plugin.KNNHook']
    if len(hooks) != 1:
        fail(f'{recipe.config} has {len(hooks)} hooks of type dino_plugin.KNNHook; a study needs one, to choose by.')
    hooks[0].queries = None
    cfg.merge_from_dict({'randomness.seed': run.seed, 'work_dir': str(run.folder)})
    return cfg


def train(study: Config, run: Run) -> None:
    """Train to the end, from where an earlier call stopped, unless it is finished.

    Raises:
        SystemExit: If another recipe was trained in this folder, or the training fails; what the others have learnt is
            kept.
    """
    config, cfg = run.folder / 'recipe.py', config_of(study, run)
    _refuse_another(run, config, cfg)
    if run.record.get('finished'):
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(config)
    before, started = _seconds_of_children(), time.time()
    command = [sys.executable, '-m', 'dino_plugin', 'train', str(config), '--work-dir', str(run.folder), '--resume']
    try:
        status = subprocess.run(command).returncode
    finally:
        spent = _seconds_of_children() - before
        run.add(
            seconds=run.record.get('seconds', 0.0) + spent,
            wall_clock=run.record.get('wall_clock', 0.0) + time.time() - started,
        )
    if status:
        fail(f'{run.recipe}, seed {run.seed}, ended with status {status}. The same command goes on from there.')
    curve = read_scalars(run.folder)[METRIC]
    run.add(curve={str(step): score for step, score in curve.items()}, finished=True)


def _refuse_another(run: Run, kept: Path, cfg: Config) -> None:
    """A figure, or half a training, must not stand for a recipe that it is not of."""
    if not kept.is_file() or not (run.record or has_begun(run.folder)):
        return
    changed = changed_values(Config.fromfile(kept).to_dict(), cfg.to_dict())
    changed.pop('work_dir', None)  # the study may have moved
    if changed:
        was, now = changed[first := min(changed)]
        fail(
            f'{run.recipe}, seed {run.seed}: another recipe was trained in {run.folder}; {first} was {was}, and is '
            f'{now}{f", and {len(changed) - 1} more" if len(changed) > 1 else ""}. Give the changed recipe another '
            'name, or the study another folder: --work-dir DIR.'
        )


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def last(run: Run) -> float:
    """The last figure of a finished training, in percent."""
    return list(run.record['curve'].values())[-1]


def chosen(runs: Sequence[Run]) -> dict[str, str]:
    """The recipe of each group with the best mean over seeds, among recipes of which all seeds are finished."""
    best: dict[str, tuple[float, str]] = {}
    for name, own in by_recipe(runs):
        if all(run.record.get('finished') for run in own):
            best[own[0].group] = max(best.get(own[0].group, (-1.0, '')), (mean(map(last, own)), name))
    return {group: name for group, (_, name) in best.items()}


def by_recipe(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """The runs of each recipe."""
    for name in dict.fromkeys(run.recipe for run in runs):
        yield name, [run for run in runs if run.recipe == name]


def test(study: Config, run: Run) -> None:
    """k-NN of the test images, once.

    Args:
        study: With `test=dict(config=..., options={...})`.
        run: Finished.
    """
    if 'test' in run.record:
        return
    checkpoint, _ = latest_checkpoint(run.folder, run.folder)  # of this folder, also if it is a copy
    if checkpoint is None:
        fail(f'{run.recipe}, seed {run.seed}: {run.folder} holds no checkpoint to test.')
    cfg = Config.fromfile(config_path(study.test.config))
    cfg.merge_from_dict(dict(study.test.get('options', {})))
    config = run.folder / 'test.py'
    cfg.dump(config)
    folder = run.folder / 'test'
    command = [sys.executable, '-m', 'dino_plugin', 'test', str(config), str(checkpoint), '--work-dir', str(folder)]
    if subprocess.run(command).returncode:
        fail(f'The test of {run.recipe}, seed {run.seed}, failed.')
    newest = max(folder.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    run.add(test=json.loads(newest.read_text())[METRIC])


def table(runs: Sequence[Run]) -> str:
    """A table in Markdown: leave-one-out of every recipe, the test of the chosen ones."""
    best = chosen(runs).values()
    lines = [
        '| recipe | seeds | leave-one-out on training images | test | processor minutes |',
        '|---|---|---|---|---|',
    ]
    for name, own in by_recipe(runs):
        done = [run for run in own if run.record.get('finished')]
        if not done:
            continue
        minutes = mean(run.record['seconds'] for run in done) / 60
        tested = [run.record['test'] for run in done if 'test' in run.record]
        mark = '**' if name in best else ''
        lines.append(
            f'| {mark}{name}{mark} | {len(done)} of {len(own)} | {_spread([last(run) for run in done])} | '
            f'{_spread(tested) if tested else "not looked at"} | {minutes:.0f} |'
        )
    return '\n'.join(lines)


def _spread(values: Sequence[float]) -> str:
    deviation = f' ± {stdev(values):.1f}' if len(values) > 1 else ''
    return f'{mean(values):.1f}{deviation}'


def write_table(study: Mapping[str, Any], runs: Sequence[Run], folder: Path) -> str:
    """Write `table.md`: the table below a line that says what it rests on."""
    recipes = len(study['recipes'])
    text = (
        f'{recipes} recipes, {len(runs) // recipes} seeds. Chosen (bold) by k-NN (k 20) of each training image among '
        'the others; ± is the standard deviation over seeds. Test images are looked at once, for the chosen recipes.'
        f'\n\n{table(runs)}'
    )
    write_whole(folder / 'table.md', f'{text}\n'.encode())
    return text
