"""Cumulative matching characteristics of several runs: the share of queries with a right answer in their first k."""

import numpy as np
from matplotlib.ticker import PercentFormatter

from person_reid.basics import UserError
from person_reid.show.style import panel, picture

TICKS = (1, 5, 10, 20, 30, 40, 50, 75, 100)


def draw_cmc(runs, save, ranks=50, dark=False):
    """Draw the CMC curves of {name: Metrics}, best Rank@1 first, from rank 1 to `ranks`, to an image file."""
    best_first = sorted(runs.items(), key=lambda run: -run[1].rank(1))
    with picture(save, 7, 4.6, dark) as figure:
        axes = panel(figure.subplots(), "Cumulative matching characteristic", "Rank", "Queries answered")
        for name, metrics in best_first:
            shares = metrics.cmc[:ranks]
            label = f"{name}: Rank@1 {100 * metrics.rank(1):.1f}, mAP {100 * metrics.mAP:.1f}"
            axes.plot(np.arange(1, len(shares) + 1), shares, label=label)
        axes.set(xlim=(1, None), ylim=(None, 1.005))
        axes.set_ylim(bottom=max(0, 1 - 1.6 * (1 - axes.dataLim.y0)))  # room for the legend below the curves
        axes.set_xticks([rank for rank in TICKS if rank <= axes.dataLim.x1])
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(loc="lower right")


def run_names(paths):
    """What to call the runs of result files, {name: path}: the files' names, with the folders where names repeat.

    Raises UserError for a file that is named twice.
    """
    named = {path.stem: path for path in paths}
    if len(named) < len(paths):
        named = {path.with_suffix("").as_posix(): path for path in paths}
    if len(named) < len(paths):
        raise UserError(f"{', '.join(map(str, paths))}: the same file twice; name each once.")
    return named
