"""Training curves from the scalars that mmengine's visualizer writes into the working directory."""

from fnmatch import fnmatchcase
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dino_plugin.visualization.scalars import read_scalars

# Title, unit of the axis, and patterns of the names of the scalars in a panel.
PANELS = (
    ('Loss', 'nats', ('loss',)),
    ('Entropy of the target', 'nats', ('target_entropy', '*_target_entropy')),
    ('k-NN top-1', '%', ('knn/top1_*',)),
)


def plot_curves(work_dir: str | Path, out: str | Path) -> Path:
    """Write a picture with panels for the loss, the entropy of the target, and k-NN; empty panels are left out.

    Args:
        work_dir: Working directory of the training.
        out: File of the picture.

    Raises:
        FileNotFoundError: As in `read_scalars`.
        ValueError: If no panel has data.
    """
    scalars = read_scalars(work_dir)
    panels = [(title, unit, _chosen(scalars, patterns)) for title, unit, patterns in PANELS]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        raise ValueError(f'{work_dir} has neither loss nor entropy nor k-NN, only: {", ".join(scalars) or "nothing"}.')
    figure = Figure(figsize=(9, 2.6 * len(panels)), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axis, (title, unit, curves) in zip(axes, panels):
        for name, values in curves.items():
            marker = 'o' if len(values) <= 40 else None
            axis.plot(list(values), list(values.values()), label=_label(name), marker=marker, markersize=4)
        axis.set_title(title, loc='left', fontsize=12)
        axis.set_ylabel(unit)
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
        if len(curves) > 1:
            axis.legend(frameon=False)
    axes[-1].set_xlabel('iteration')
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    return out


def _chosen(scalars: dict[str, dict[int, float]], patterns: tuple[str, ...]) -> dict[str, dict[int, float]]:
    return {name: values for name, values in scalars.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _label(name: str) -> str:
    return name.replace('knn/top1_k', 'k = ').removesuffix('_target_entropy')
