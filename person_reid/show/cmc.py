"""Draw the cumulative matching characteristics of runs: the share of
queries with a match in the first k.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from person_reid.basics import UserError, printable, with_ending
from person_reid.retrieval.metrics import Metrics
from person_reid.retrieval.results import RESULT
from person_reid.show.style import in_percent, panel, picture, shortened, text_width

NAME = 40  # characters of a run's name
# inches: height of a line of the legend; what stands beside its words, with the axis
LINE, BESIDE = 0.21, 1.9
LETTERS = 11  # size of the legend, in points


def draw_cmc(
    runs: Mapping[str, Metrics], save: str | Path, ranks: int = 50, dark: bool = False
) -> None:
    """Draw the CMC curve of each run up to rank `ranks`, best Rank@1 first, to an image file.

    Names of more than NAME characters lose their middle, unless they differ only there.
    """
    best_first = sorted(runs.items(), key=lambda run: -run[1].rank(1))
    longest = max([NAME, *map(len, runs)])
    most = next(
        n
        for n in range(NAME, longest + 1)
        if len({shortened(name, n) for name in runs}) == len(runs)
    )
    height = 4.6 + LINE * max(0, len(runs) - 6)
    # its share of the height of the axes
    legend = max(0.375, LINE * (len(runs) + 1) / (height - 1))
    labels = [
        f"{shortened(printable(name), most)}: Rank@1 "
        f"{100 * metrics.rank(1):.1f}, mAP {100 * metrics.mAP:.1f}"
        for name, metrics in best_first
    ]
    width = max(7, BESIDE + max(text_width(label, LETTERS) for label in labels))
    with picture(save, width, height, dark) as figure:
        axes = panel(
            figure.subplots(), "Cumulative matching characteristic", "Rank", "Queries answered"
        )
        for label, (_, metrics) in zip(labels, best_first, strict=True):
            shares = metrics.cmc[:ranks]
            # a gallery of one image has a point and no line
            marker = "o" if len(shares) == 1 else ""
            axes.plot(
                np.arange(1, len(shares) + 1),
                shares,
                label=label,
                marker=marker,
                clip_on=not marker,
            )
        last = axes.dataLim.x1
        ticks = MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]).tick_values(1, last)
        axes.set(xlim=(1, None), xticks=[1, *(tick for tick in ticks if 1 < tick <= last)])
        # leaves space for the legend below the curves
        bottom = max(0, min(0.9, 1 - (1 - axes.dataLim.y0) / (1 - legend)))
        axes.set_ylim(bottom, 1.005)
        in_percent(axes.yaxis)
        words = axes.legend(loc="lower right" if bottom else "best", fontsize=LETTERS)
        # it is within the axes; the layout would reserve space as for a label
        words.set_in_layout(False)
        for text in words.get_texts():
            text.set_parse_math(False)  # a name may contain dollars


def run_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the runs of result files, {name: path}: by file name without .mat, or by path if file
    names repeat.

    Folders that all paths begin with are left out where that suffices. Raises UserError if a file
    is given twice.
    """
    if len(set(paths)) < len(paths):
        raise UserError(f"{', '.join(map(str, paths))}: the same file twice. Name each file once.")
    short = [with_ending(path, "", RESULT.suffix) for path in paths]
    folders = [path.parts[:-1] for path in short]
    shared = sum(
        1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    )
    ways = (
        [path.name for path in short],
        ["/".join(path.parts[shared:]) for path in short],
        [path.as_posix() for path in short],
        [path.as_posix() for path in paths],
    )
    names = next(names for names in ways if len(set(names)) == len(paths))
    return dict(zip(names, paths, strict=True))
