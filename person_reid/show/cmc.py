"""Draw the cumulative matching characteristics of runs: the share of
queries with a match in the first k.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from person_reid.config.look import own_or
from person_reid.errors import UserError
from person_reid.files import with_ending
from person_reid.retrieval.metrics import Metrics
from person_reid.retrieval.results import RESULT
from person_reid.retrieval.tables import Seeds, mean_and_deviation, together, with_deviation
from person_reid.show.style import (
    LETTERS,
    SCREEN,
    WIDTHS,
    Look,
    fitted,
    in_percent,
    panel,
    panels,
    shortened,
    text_width,
)  # fmt: skip
from person_reid.text import printable

NAME = 40  # characters of a run's name
# Inches: height of a line of the legend; what stands beside its words, on a screen and on paper.
LINE, BESIDE, BESIDE_ON_PAPER = 0.21, 1.9, 0.95


def draw_cmc(
    runs: Mapping[str, Metrics | Seeds], save: str | Path, ranks: int = 50, look: Look = SCREEN
) -> None:
    """Draw the CMC curve of each run up to rank `ranks`, best Rank@1 first, to an image file.

    runs: the Metrics of each, or of each of its seeds. Seeds are drawn as their mean, in a band
        that shows their deviation.

    Names of more than NAME characters lose their middle, unless they differ only there.
    """
    names = own_or(list(runs), look.labels)
    named = {name: together(run) for name, run in zip(names, runs.values(), strict=True)}
    best_first = sorted(named.items(), key=lambda run: -np.mean([each.rank(1) for each in run[1]]))
    longest = max([NAME, *map(len, names)])
    most = next(
        n
        for n in range(NAME, longest + 1)
        if len({shortened(name, n) for name in names}) == len(names)
    )
    labels = [_label(shortened(printable(name), most), seeds, look) for name, seeds in best_first]
    height = 4.6 + LINE * max(0, len(runs) - 6)
    width = max(7, BESIDE + max(text_width(label, 11) for label in labels))
    with panels(save, 1, (width, height), look) as (figure, [axes]):
        panel(axes, "Cumulative matching characteristic", "Rank", "Matching rate", look)
        for label, (_, seeds) in zip(labels, best_first, strict=True):
            mean, deviation = mean_and_deviation([metrics.cmc[:ranks] for metrics in seeds])
            at = np.arange(1, len(mean) + 1)
            marker = "o" if len(at) == 1 else ""  # a gallery of one image has a point and no line
            (line,) = axes.plot(at, mean, label=label, marker=marker, clip_on=not marker)
            if len(seeds) > 1:
                band = mean - deviation, np.minimum(mean + deviation, 1)
                axes.fill_between(at, *band, color=line.get_color(), alpha=0.2, linewidth=0)
        last = axes.dataLim.x1
        ticks = MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]).tick_values(1, last)
        axes.set(xlim=(1, None), xticks=[1, *(tick for tick in ticks if 1 < tick <= last)])
        # leaves space for the legend below the curves
        lines = 1 + sum(label.count("\n") + 1 for label in labels)
        legend = 1.4 * matplotlib.rcParams["legend.fontsize"] / 72 * lines  # its height in inches
        share = max(0.375, legend / (figure.get_figheight() - 0.7))
        bottom = max(0, min(0.9, 1 - (1 - axes.dataLim.y0) / (1 - share)))
        axes.set_ylim(bottom, 1.005)
        in_percent(axes.yaxis)
        words = axes.legend(loc="lower right" if bottom else "best")
        words.set_in_layout(False)  # it is within the axes
        for text in words.get_texts():
            text.set_parse_math(False)  # a name may contain dollars


def _label(name: str, seeds: Seeds, look: Look) -> str:
    """Return `resnet50: Rank@1 91.2, mAP 75.0`, with the deviation of several seeds."""
    first = with_deviation([100 * metrics.rank(1) for metrics in seeds], 1)
    figures = f"Rank@1 {first}, mAP {with_deviation([100 * metrics.mAP for metrics in seeds], 1)}"
    if not look.width:
        return f"{name}: {figures}"
    room = WIDTHS[look.width] - BESIDE_ON_PAPER
    short = text_width(f"{name}: {figures}", LETTERS) <= room
    return f"{name}: {figures}" if short else f"{fitted(name, room, LETTERS)}:\n{figures}"


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
