"""All that the page shows, as values that JSON can hold."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dino_plugin import __version__
from dino_plugin.report.curves import not_finite, panels
from dino_plugin.report.files import found, read_json
from dino_plugin.report.pictures import Frames, films, pictures, spread
from dino_plugin.report.runs import Run
from dino_plugin.report.settings import differences
from dino_plugin.report.words import FILMS, about_picture

MOST_FRAMES = 40  # pictures of one series of one run
_BESIDE = ('features_*.png',)
_LEFT_OUT = ('writes to', 'continue')  # of the first log: paths and commands


class Sources(ABC):
    """Where the page finds pictures: in itself, or at an address."""

    @abstractmethod
    def picture(self, run: Run, path: Path) -> str:
        """Address of a picture, empty if it is damaged."""

    @abstractmethod
    def film(self, run: Run, path: Path) -> tuple[str, str]:
        """Addresses of an animated and of a still picture, empty if it is damaged."""


def content(runs: Sequence[Run], sources: Sources) -> dict[str, Any]:
    """What the page of some runs shows; all of them were read by `Run.update`."""
    return dict(
        title=' and '.join(run.name for run in runs) if 0 < len(runs) < 3 else f'{len(runs)} runs',
        written=time.strftime('%Y-%m-%d %H:%M:%S'),
        version=__version__,
        runs=[summary(run) | _details(run) for run in runs],
        differences=differences([run.settings for run in runs]),
        panels=panels(runs),
        pictures=_pictures(runs, sources),
        films=_films(runs, sources),
        scorecards=[card for run in runs for card in _scorecards(run, sources)],
    )


def summary(run: Run) -> dict[str, Any]:
    """What a table of many runs shows of one."""
    return dict(
        name=run.name,
        state=run.state,
        sentence=run.sentence,
        started=run.times[0],
        step=run.step,
        loss=_last(run, 'loss'),
        quality=next((_course(run, name) for name in run.scalars if name.startswith('knn/top1')), ''),
    )


def shown_files(run: Run) -> list[Path]:
    """The pictures and films of a run: all files that its page shows as they are."""
    series = [path for frames in pictures(run.folder).values() for path in frames.values()]
    beside = [picture for path in _cards(run) for picture in found(run.folder, path.parent, _BESIDE)]
    return [*series, *films(run.folder).values(), *beside]


def _details(run: Run) -> dict[str, Any]:
    facts = {name: text for name, text in run.description.items() if name not in _LEFT_OUT}
    facts |= {'log': ' to '.join(dict.fromkeys(filter(None, run.times))), 'checkpoint': run.checkpoint}
    return dict(
        facts=facts,
        warnings=[warned._asdict() for warned in run.warnings],
        notes=not_finite(run),
        environment=run.environment,
        config=run.config,
    )


def _last(run: Run, name: str) -> str:
    values = run.scalars.get(name, {})
    return f'{values[next(reversed(values))]:.4g}' if values else ''


def _course(run: Run, name: str) -> str:
    """The first and the last value: 34.0 → 49.4 %."""
    values = list(run.scalars[name].values())
    return ' → '.join(f'{value:.1f}' for value in (values[0], values[-1])[: len(values)]) + ' %'


def _pictures(runs: Sequence[Run], sources: Sources) -> list[dict]:
    """Series by name, with the pictures of each run by iteration."""
    series: dict[str, list[dict]] = {}
    for number, run in enumerate(runs):
        for name, frames in pictures(run.folder).items():
            shown = _shown(run, frames, sources)
            if shown:
                series.setdefault(name, []).append(dict(run=number, frames=shown))
    return [dict(name=name, about=about_picture(name), parts=parts) for name, parts in series.items()]


def _shown(run: Run, frames: Frames, sources: Sources) -> list[dict]:
    found = ((step, sources.picture(run, path)) for step, path in spread(frames, MOST_FRAMES).items())
    return [dict(step=step, source=source) for step, source in found if source]


def _films(runs: Sequence[Run], sources: Sources) -> list[dict]:
    shown: dict[str, list[dict]] = {}
    for number, run in enumerate(runs):
        for name, path in films(run.folder).items():
            moving, still = sources.film(run, path)
            if moving:
                shown.setdefault(name, []).append(dict(run=number, moving=moving, still=still))
    return [dict(name=name, about=FILMS, parts=parts) for name, parts in shown.items()]


def _scorecards(run: Run, sources: Sources) -> list[dict]:
    """Tables of measures by networks, with the pictures beside them."""
    cards = []
    for path in _cards(run):
        read = read_json(path)
        measures = read.get('measures') if isinstance(read, dict) else None
        if not isinstance(measures, dict) or not all(isinstance(column, dict) for column in measures.values()):
            continue
        names = dict.fromkeys(name for column in measures.values() for name in column)
        rows = [[name, *(_value(column.get(name, '')) for column in measures.values())] for name in names]
        beside = {picture.stem: sources.picture(run, picture) for picture in found(run.folder, path.parent, _BESIDE)}
        shown = [dict(name=name, source=source) for name, source in beside.items() if source]
        cards.append(dict(run=run.name, networks=list(measures), rows=rows, pictures=shown))
    return cards


def _cards(run: Run) -> list[Path]:
    return found(run.folder, run.folder, ('scorecard.json', '*/scorecard.json'))


def _value(value: Any) -> str:
    return f'{value:.1f}' if isinstance(value, float) else str(value)
