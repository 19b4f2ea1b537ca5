"""A picture of how the heads of a network change over several checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_heads_over_time(
    statistics: Mapping[str, Sequence[Float[np.ndarray, ' heads']]], names: Sequence[str], out: Path
) -> None:
    """Write a panel for each statistic: a thin line for each head, a thick one for their mean.

    Args:
        statistics: For each statistic its values at each checkpoint.
        names: Of the checkpoints, in the order of training.
        out: File of the picture.
    """
    figure = Figure(figsize=(11, 2.3 * -(-len(statistics) // 2)), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(statistics) // 2), 2, squeeze=False, sharex=True).ravel()
    for axis, (name, values) in zip(panels, statistics.items()):
        axis.plot(names, np.stack(values), color='#0072B2', alpha=0.25, linewidth=1)
        axis.plot(names, np.stack(values).mean(axis=1), color='#D55E00', linewidth=3, marker='o')
        axis.set_title(name.replace('_', ' '), loc='left', fontsize=12)
        axis.spines[['top', 'right']].set_visible(False)
        axis.grid(alpha=0.3)
        axis.tick_params(axis='x', labelrotation=20)
    for axis in panels[len(statistics) :]:
        axis.set_visible(False)
    figure.savefig(out, dpi=110)
