"""Draw the accuracy of networks against the time that they take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, LogLocator

from person_reid.basics import printable
from person_reid.show.style import LINES, panel, picture


def draw_tradeoff(rows: Sequence[Mapping[str, Any]], save: str | Path) -> None:
    """Draw mAP against milliseconds, a panel for each test set.

    rows: {"network", "milliseconds", "accuracy": {test set: {"mAP"}}} of each network, mAP in percent.
    """
    sets = list(rows[0]["accuracy"])
    times = [row["milliseconds"] for row in rows]
    middle = (min(times) * max(times)) ** 0.5
    with picture(save, 1 + 5 * len(sets), 4.6) as figure:
        for axes, name in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
            panel(axes, printable(name), "Milliseconds an image, on the CPU", "mAP, %")
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_minor_formatter("")
            axes.margins(0.1, 0.15)
            for row, colour in zip(rows, LINES * len(rows), strict=False):
                place = row["milliseconds"], row["accuracy"][name]["mAP"]
                axes.plot(*place, "o", color=colour, markersize=9)
                side = "left" if row["milliseconds"] <= middle else "right"  # of the text; it ends at its point
                label = axes.annotate(printable(row["network"]), place, (0, 9), textcoords="offset points", ha=side)
                label.set_parse_math(False)
            axes.set_ylim(max(0, axes.get_ylim()[0]), min(112, axes.get_ylim()[1]))
