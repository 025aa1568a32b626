"""Plot networks' accuracy against their cost."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from person_reid.config.look import own_or
from person_reid.show.label_placement import Label, label_points
from person_reid.show.style import (
    SCREEN,
    Look,
    legend_below,
    line_colours,
    log_scale,
    panel,
    panels,
)
from person_reid.text import printable

PANEL_WIDTH, PANEL_HEIGHT = 5.4, 4.8  # inches of a panel
LEAST_PANEL = 3  # inches of a panel on paper, so that the names fit
FRONT = "#94a3b8"  # colour of the line that connects the best networks


class Point(NamedTuple):
    """A network in a panel: its cost, mAP in %, whether its dot is filled, and its family."""

    name: str
    cost: float
    mean_ap: float
    full: bool = True
    family: str = ""


def draw_panels(
    found: Mapping[tuple[str, str], Sequence[Point]],
    save: str | Path,
    look: Look = SCREEN,
    kinds: tuple[str, str] = ("measured", "published"),
) -> None:
    """Draw mAP against cost, with a panel for each (title, name of the cost).

    A line connects the networks that are best for their cost.

    kinds: the names of a filled dot and a ring in the legend.
    """
    points = [point for each in found.values() for point in each]
    names = list(dict.fromkeys(point.name for point in points))
    shown = dict(zip(names, own_or(names, look.labels), strict=True))
    families = list(dict.fromkeys(point.family for point in points))
    colours = {
        family: line_colours(look)[i % len(line_colours(look))] for i, family in enumerate(families)
    }
    with panels(
        save, len(found), (PANEL_WIDTH, PANEL_HEIGHT), look, narrowest=LEAST_PANEL, below=0.5
    ) as (
        figure,
        every,
    ):
        for axes, ((title, cost), each) in zip(every, found.items(), strict=True):
            log_scale(
                panel(axes, title, cost, "" if look.no_title else "mAP, %", look),
                [point.cost for point in each],
            )
            for point in each:
                colour = colours[point.family]
                inside = colour if point.full else axes.get_facecolor()
                axes.plot(
                    point.cost,
                    point.mean_ap,
                    "o",
                    color=colour,
                    markerfacecolor=inside,
                    markeredgewidth=1.5,
                )
            front = _front(each)
            axes.step(*front.T, where="post", color=FRONT, linewidth=1, linestyle="--", zorder=1)
        ink = every[0].xaxis.label.get_color()
        measured_only = all(point.full for point in points)
        legend_below(figure, _keys(colours, () if measured_only else kinds, ink))
        for axes, each in zip(every, found.values(), strict=True):
            dots = np.array([(point.cost, point.mean_ap) for point in each])
            labels = [
                Label(
                    printable(shown[point.name]), (point.cost, point.mean_ap), colours[point.family]
                )
                for point in each
            ]
            label_points(figure, axes, labels, dots, _along(_front(each)))


def _front(points: Sequence[Point]) -> Any:
    """Return (cost, mAP) for the networks that are best for their cost, (K, 2)."""
    best: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.mean_ap)):
        if not best or point.mean_ap > best[-1][1]:
            best.append((point.cost, point.mean_ap))
    return np.array(best)


def _along(front: Any) -> Any:
    """Return points along the steps between the points of a front."""
    steps = np.repeat(front, 2, axis=0)
    steps = np.stack([steps[1:, 0], steps[:-1, 1]], axis=1)  # right, then up
    shares = np.linspace(0, 1, 30)[:, None, None]
    return np.exp((1 - shares) * np.log(steps[:-1]) + shares * np.log(steps[1:])).reshape(-1, 2)


def _keys(colours: Mapping[str, str], kinds: Sequence[str], ink: ColorType) -> list[Line2D]:
    """Return the legend's entries: families, kinds of dots, and the line of the best networks.

    colours: {family: colour}. kinds: the meanings of a dot and a ring, or () if there are only
    dots.
    ink: the colour of the axes' names.
    """
    dot = partial(Line2D, [], [], marker="o", linestyle="")
    families = [
        dot(color=colour, label=printable(family)) for family, colour in colours.items() if family
    ]
    insides = zip((ink, "none")[: len(kinds)], kinds, strict=True)
    shapes = [dot(color=ink, markerfacecolor=inside, label=kind) for inside, kind in insides]
    best = Line2D([], [], linestyle="--", color=FRONT, linewidth=1, label="the best for its cost")
    return [*families, *shapes, best]
