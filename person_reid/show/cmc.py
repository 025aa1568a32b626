"""Draw cumulative matching characteristics: the share of queries with a match in the first k."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from person_reid.config.look import own_or
from person_reid.errors import UserError
from person_reid.files import with_ending
from person_reid.retrieval.metric_tables import Seeds, mean_and_deviation, together, with_deviation
from person_reid.retrieval.metrics import Metrics
from person_reid.retrieval.results import RESULT
from person_reid.show.style import (
    SCREEN,
    WIDTHS,
    Look,
    fitted,
    in_percent,
    legend_below,
    legend_height,
    letters,
    panel,
    panels,
    shortened,
    text_width,
)
from person_reid.text import printable

MOST_NAME_LETTERS = 40  # characters of a run's name
BESIDE_LEGEND = 0.6  # inches: what stands beside the words of the legend


def draw_cmc(
    runs: Mapping[str, Metrics | Seeds], save: str | Path, ranks: int = 50, look: Look = SCREEN
) -> None:
    """Draw the CMC curve of each run up to rank `ranks`, best Rank@1 first, to an image file.

    runs: the Metrics of each, or of each of its seeds. Seeds are drawn as their mean, in a band
        that shows their deviation.

    Names of more than MOST_NAME_LETTERS characters lose their middle, unless they differ only
    there.
    """
    names = own_or(list(runs), look.labels)
    named = {name: together(run) for name, run in zip(names, runs.values(), strict=True)}
    best_first = sorted(named.items(), key=lambda run: -np.mean([each.rank(1) for each in run[1]]))
    short = _shortest(names)
    labels = [_label(printable(short[name]), seeds, look) for name, seeds in best_first]
    width = max(7, BESIDE_LEGEND + max(text_width(label, letters(look)) for label in labels))
    below = legend_height(labels, WIDTHS.get(look.width or "", width), look)
    with panels(save, 1, (width, 4.6), look, below=below) as (figure, [axes]):
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
        axes.set_ylim(max(0, min(0.9, 1.05 * axes.dataLim.y0 - 0.05)), 1.005)
        in_percent(axes.yaxis)
        legend_below(figure, axes.lines)


def _shortest(names: Sequence[str]) -> dict[str, str]:
    """Return {name: at most MOST_NAME_LETTERS of it}, or more where names would be the same."""
    longest = max([MOST_NAME_LETTERS, *map(len, names)])
    return next(
        short
        for most in range(MOST_NAME_LETTERS, longest + 1)
        if len(set((short := {name: shortened(name, most) for name in names}).values()))
        == len(names)
    )


def _label(name: str, seeds: Seeds, look: Look) -> str:
    """Return `resnet50: Rank@1 91.2, mAP 75.0`, with the deviation of several seeds, and n."""
    first = with_deviation([100 * metrics.rank(1) for metrics in seeds], 1)
    figures = f"Rank@1 {first}, mAP {with_deviation([100 * metrics.mAP for metrics in seeds], 1)}"
    if len(seeds) > 1:
        figures += f", n = {len(seeds)}"
    if not look.width:
        return f"{name}: {figures}"
    room = WIDTHS[look.width] - BESIDE_LEGEND
    fits = text_width(f"{name}: {figures}", letters(look)) <= room
    return f"{name}: {figures}" if fits else f"{fitted(name, room, letters(look))}:\n{figures}"


def run_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the runs of result files, {name: path}.

    The name is the file's without .mat, or its path if names repeat. Folders that all paths begin
    with are skipped where that suffices. Raises UserError if a file is given twice.
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
