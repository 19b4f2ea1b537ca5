"""The doctor's pictures: what changes over a training, and how the loss of copies moved."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dino_plugin.doctor.schedule import POINTS, Curve


def draw_schedule(curves: Mapping[str, Curve], steps: int, path: Path) -> Path:
    """A panel for each value that changes; constant ones stand in one line below."""
    changing = {name: values for name, values in curves.items() if max(values) > min(values)}
    constant = {name: values[0] for name, values in curves.items() if name not in changing}
    rows = max(1, -(-len(changing) // 2))
    figure = Figure(figsize=(9, 2.2 * rows + 0.5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    points = [steps * point / (POINTS - 1) for point in range(POINTS)]
    for axis, (name, values) in zip(axes, changing.items()):
        axis.plot(points, values)
        _plain(axis, name)
    for axis in axes[len(changing) :]:
        axis.set_axis_off()
    words = 'constant: ' + ', '.join(f'{name} {value:.3g}' for name, value in constant.items())
    figure.supxlabel('step' + (f'        {words}' if constant else ''), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def draw_learning(
    one_batch: Sequence[float], rates: Sequence[float], rising: Sequence[float], rate: float, path: Path
) -> Path:
    """The loss on one batch, and the loss while the learning rate rises, with the config's rate as a line."""
    figure = Figure(figsize=(9, 2.8), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(range(len(one_batch)), one_batch)
    left.set_xlabel('step')
    right.plot(rates, rising)
    right.set_xscale('log')
    right.set_xlabel('learning rate')
    right.axvline(rate, color='grey', linestyle='--')
    low, first = min(rising), rising[0]
    right.set_ylim(low - 0.2 * abs(first - low), first + max(abs(first - low), 0.05 * abs(first)))
    for axis, title in ((left, 'One batch, again and again'), (right, "Rising learning rate (dashed: the config's)")):
        _plain(axis, title)
    figure.savefig(path, dpi=110)
    return path


def _plain(axis: Axes, title: str) -> None:
    axis.set_title(title, loc='left', fontsize=11)
    axis.grid(alpha=0.3)
    axis.spines[['top', 'right']].set_visible(False)
