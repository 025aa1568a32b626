"""Draw the cumulative matching characteristics of runs: the share of queries with a match in the first k."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter

from person_reid.basics import UserError, printable, with_ending
from person_reid.retrieval.metrics import Metrics
from person_reid.retrieval.results import RESULT
from person_reid.show.style import panel, picture

TICKS = (1, 5, 10, 20, 30, 40, 50, 75, 100)


def draw_cmc(runs: Mapping[str, Metrics], save: str | Path, ranks: int = 50, dark: bool = False) -> None:
    """Draw the CMC curve of each run up to rank `ranks`, best Rank@1 first, to an image file."""
    best_first = sorted(runs.items(), key=lambda run: -run[1].rank(1))
    with picture(save, 7, 4.6, dark) as figure:
        axes = panel(figure.subplots(), "Cumulative matching characteristic", "Rank", "Queries answered")
        for name, metrics in best_first:
            shares = metrics.cmc[:ranks]
            label = f"{printable(name)}: Rank@1 {100 * metrics.rank(1):.1f}, mAP {100 * metrics.mAP:.1f}"
            axes.plot(np.arange(1, len(shares) + 1), shares, label=label)
        axes.set(xlim=(1, None), ylim=(None, 1.005))
        axes.set_ylim(bottom=max(0, 1 - 1.6 * (1 - axes.dataLim.y0)))  # room for the legend below the curves
        axes.set_xticks([rank for rank in TICKS if rank <= axes.dataLim.x1])
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        for text in axes.legend(loc="lower right").get_texts():
            text.set_parse_math(False)  # a name may contain dollars


def run_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the runs of result files, {name: path}: by file name without .mat, or by path if file names repeat.

    Raises UserError if a file is given twice.
    """
    if len(set(paths)) < len(paths):
        raise UserError(f"{', '.join(map(str, paths))}: the same file twice. Name each file once.")
    short = [with_ending(path, "", RESULT.suffix) for path in paths]
    ways = ([path.name for path in short], [path.as_posix() for path in short], [path.as_posix() for path in paths])
    names = next(names for names in ways if len(set(names)) == len(paths))
    return dict(zip(names, paths, strict=True))
