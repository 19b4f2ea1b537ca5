"""The curves of runs, by panels, as a browser reads them quickly: 32-bit floats in base64."""

import base64
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dino_plugin.report.runs import Run
from dino_plugin.report.words import HEALTH, LOSSES, MEANINGS, NOT_SHOWN, OTHER, QUALITY, SPEED, meaning

SECTIONS = (QUALITY, LOSSES, HEALTH, SPEED, OTHER)
MOST_POINTS = 20_000  # of a curve; more than a screen shows, and enough to zoom in


def panels(runs: Sequence[Run]) -> list[dict]:
    """One panel for each scalar that any run logged, in the order of the page's sections."""
    names = {name for run in runs for name in run.scalars if name not in NOT_SHOWN}
    return [_panel(name, runs) for name in sorted(names, key=_place)]


def _place(name: str) -> tuple[int, int, str]:
    found = meaning(name)
    known = MEANINGS.index(found) if found in MEANINGS else len(MEANINGS)
    return SECTIONS.index(found.section), known, name


def _panel(name: str, runs: Sequence[Run]) -> dict:
    known = meaning(name)
    curves = []
    for number, run in enumerate(runs):
        if values := run.scalars.get(name):
            x, y = np.array(list(values), float), np.array(list(values.values()), float)
            x, y = thinned(x, y, MOST_POINTS)
            curves.append(dict(run=number, x=_text(x), y=_text(y)))
    return dict(name=name, section=known.section, unit=known.unit, about=known.text, curves=curves)


def thinned(
    x: Float[np.ndarray, ' points'], y: Float[np.ndarray, ' points'], most: int
) -> tuple[Float[np.ndarray, ' kept'], Float[np.ndarray, ' kept']]:
    """At most so many points of a curve: the lowest and the highest of each stretch, so that no peak is lost.

    The first and the last point stay. A value that is not finite stays where its stretch has no other.

    Args:
        x: Places, rising.
        y: Values.
        most: Number of points, at least 4.
    """
    if len(x) <= most:
        return x, y
    width = -(-len(x) // (most // 2 - 1))
    rows = np.pad(y, (0, -len(y) % width), constant_values=np.nan).reshape(-1, width)
    finite = np.isfinite(rows)
    starts = np.arange(len(rows)) * width
    lowest = starts + np.where(finite, rows, np.inf).argmin(axis=1)
    highest = starts + np.where(finite, rows, -np.inf).argmax(axis=1)
    kept = np.unique(np.concatenate([[0], lowest, highest, [len(x) - 1]]))
    return x[kept], y[kept]


def not_finite(run: Run) -> list[str]:
    """A sentence for each scalar of a run that was not always a finite number."""
    sentences = []
    for name, values in run.scalars.items():
        wrong = [step for step, value in values.items() if not np.isfinite(value)]
        if wrong:
            sentences.append(
                f'{name} was not a finite number at {len(wrong):,} of {len(values):,} points, first at iteration '
                f'{wrong[0]:,}.'
            )
    return sentences


def _text(values: Float[np.ndarray, ' points']) -> str:
    with np.errstate(over='ignore'):  # what is too large is drawn as a gap
        return base64.b64encode(values.astype('<f4').tobytes()).decode()
