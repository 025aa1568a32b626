"""Draw the accuracy of networks against what they cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from person_reid.basics import printable
from person_reid.show.style import LINES, lift_apart, panel, picture

MOST_NAMED = 6  # networks whose names stand beside their points


class Point(NamedTuple):
    """A network in a panel: what it costs, its mAP in percent, and whether the dot is full."""

    name: str
    cost: float
    mean_ap: float
    full: bool = True


def draw_tradeoff(rows: Sequence[Mapping[str, Any]], save: str | Path) -> None:
    """Draw mAP against milliseconds, a panel for each test set.

    rows: {"network", "milliseconds", "accuracy": {test set: {"mAP"}}} of each network, mAP in [0,
    1].
    """
    panels = {
        (printable(name), "Milliseconds an image, on the CPU"): [
            Point(row["network"], row["milliseconds"], 100 * row["accuracy"][name]["mAP"])
            for row in rows
        ]
        for name in rows[0]["accuracy"]
    }
    draw_panels(panels, save)


def draw_panels(panels: Mapping[tuple[str, str], Sequence[Point]], save: str | Path) -> None:
    """Draw mAP against cost, a panel for each (title, name of the cost); many
    networks have numbers, and a legend.
    """
    names = list(dict.fromkeys(point.name for points in panels.values() for point in points))
    numbered = len(names) > MOST_NAMED
    with picture(save, 1 + 5 * len(panels) + 3.5 * numbered, 4.6) as figure:
        labels: list[Annotation] = []
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, ((title, cost), points) in zip(all_axes, panels.items(), strict=True):
            least, most = min(point.cost for point in points), max(point.cost for point in points)
            _scale(panel(axes, title, cost, "mAP, %"), wide=most > 5 * least)
            middle = (least * most) ** 0.5
            for point in points:
                number = names.index(point.name)
                colour, empty = LINES[number % len(LINES)], axes.get_facecolor()
                size, inside = 15 if numbered else 9, colour if point.full else empty
                axes.plot(
                    point.cost,
                    point.mean_ap,
                    "o",
                    color=colour,
                    markersize=size,
                    markerfacecolor=inside,
                )
                if numbered:
                    _number(axes, point, number + 1, empty if point.full else colour)
                else:
                    labels.append(_name(axes, point, "left" if point.cost <= middle else "right"))
            axes.set_ylim(max(0, axes.get_ylim()[0]), min(112, axes.get_ylim()[1]))
        if numbered:
            _legend(figure, names)
        lift_apart(figure, labels)


def _number(axes: Axes, point: Point, number: int, ink: Any) -> None:
    """Write a number inside the dot of a point."""
    text = axes.text(point.cost, point.mean_ap, str(number), fontsize=8, color=ink)
    text.set(ha="center", va="center_baseline")


def _name(axes: Axes, point: Point, side: str) -> Annotation:
    """Write the name of a point above its dot, where it begins or ends. side:
    "left" or "right" of the text.
    """
    place, words = (point.cost, point.mean_ap), printable(point.name)
    return axes.annotate(
        words, place, (0, 9), textcoords="offset points", ha=side, parse_math=False
    )


def _legend(figure: Figure, names: Sequence[str]) -> None:
    """List the names by their numbers, beside the panels."""
    lines = [f"{number}  {printable(name)}" for number, name in enumerate(names, 1)]
    handles = [Line2D([], [], linestyle="") for _ in lines]
    legend = figure.legend(
        handles, lines, loc="outside right upper", handlelength=0, handletextpad=0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _scale(axes: Axes, wide: bool) -> None:
    """Scale the costs by their logarithm, with plain numbers. wide: ticks at 1, 2 and 5 suffice."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(4))
    axes.xaxis.set_minor_formatter("")
    axes.margins(0.1, 0.15)
