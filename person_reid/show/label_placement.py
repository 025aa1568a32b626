"""Write names beside dots so that they cover neither each other nor a dot."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from person_reid.show.style import text_width

Points = npt.NDArray[np.floating]
DIRECTIONS = np.deg2rad([90, 270, 0, 180, 45, 135, 315, 225, *range(15, 360, 10)])
LABEL_DISTANCES = np.arange(7, 60, 2)  # points between a dot and its label
FAR_LABEL = 3  # a label beyond this many of these distances is connected by a line
CLEAR = 6  # the fewest points between a label and the middle of a dot
NEAR = 14  # the points that should be between them
ROUNDS = 5
NOWHERE = np.empty((0, 2))

# How bad a place is outside the axes, on a label, on a dot, near a dot, and on a line.
OUTSIDE = 100
LABEL = 10
DOT = 5
BESIDE_WEIGHT = 0.4
LINE_WEIGHT = 0.1


class Label(NamedTuple):
    """A name, its point in the axes' own coordinates, and its colour."""

    text: str
    place: tuple[float, float]
    colour: Any


def label_points(
    figure: Figure,
    axes: Axes,
    labels: Sequence[Label],
    dots: Points,
    lines: Points = NOWHERE,
    weight: str = "normal",
) -> None:
    """Place labels near their points, where they cover least. Call this after all other drawing.

    dots: (N, 2), in the axes' own coordinates. lines: (L, 2), points on lines, which matter less
    than dots.
    """
    size = matplotlib.rcParams["legend.fontsize"]
    figure.draw_without_rendering()  # determines the positions of the axes
    figure.set_layout_engine("none")
    point = figure.dpi / 72
    places = [axes.transData.transform(label.place) for label in labels]
    halves = [
        np.array([text_width(label.text, size, weight) * figure.dpi, 1.25 * size * point]) / 2
        for label in labels
    ]
    away = LABEL_DISTANCES[:, None, None] * point
    rays = np.stack([np.cos(DIRECTIONS), np.sin(DIRECTIONS)], axis=1)
    middles = [
        place + (rays * (away + half)).reshape(-1, 2)
        for place, half in zip(places, halves, strict=True)
    ]
    boxes = [
        np.hstack([middle - half, middle + half])
        for middle, half in zip(middles, halves, strict=True)
    ]
    faults = [_faults(axes, each, dots, lines, point) for each in boxes]
    chosen = [int(each.argmin()) for each in faults]
    for _ in range(ROUNDS):
        for i, own in enumerate(boxes):
            others = (boxes[j][chosen[j]] for j in range(len(boxes)) if j != i)
            covered = sum((_overlap(other, own) for other in others), np.zeros(len(own)))
            chosen[i] = int((faults[i] + LABEL * covered).argmin())
    for label, place, middle, choice in zip(labels, places, middles, chosen, strict=True):
        line = {
            "arrowstyle": "-",
            "color": label.colour,
            "linewidth": 0.6,
            "shrinkA": 0,
            "shrinkB": 3,
        }
        text = axes.annotate(
            label.text,
            label.place,
            (middle[choice] - place) / point,
            textcoords="offset points",
            ha="center",
            va="center",
            arrowprops=line if choice >= FAR_LABEL * len(DIRECTIONS) else None,
        )
        text.set(color=label.colour, size=size, weight=weight, parse_math=False, in_layout=False)


def _faults(axes: Axes, boxes: Points, dots: Points, lines: Points, point: float) -> Points:
    """Return penalties (K,) for a label in each of the boxes (K, 4), ignoring other labels."""
    borders = axes.get_window_extent()
    outside = ((boxes[:, :2] < borders.p0) | (boxes[:, 2:] > borders.p1)).any(axis=1)
    faults = OUTSIDE * outside + np.arange(len(boxes)) // len(DIRECTIONS) * 0.3
    for badness, points, clear, most in (
        (DOT, dots, CLEAR, np.inf),
        (BESIDE_WEIGHT, dots, NEAR, 2),
        (LINE_WEIGHT, lines, CLEAR, np.inf),
    ):
        at = axes.transData.transform(points)[:, None]
        low, high = boxes[:, :2] - clear * point, boxes[:, 2:] + clear * point
        covered = ((at > low) & (at < high)).all(axis=2).sum(axis=0)
        faults += badness * np.minimum(covered, most)
    return faults


def _overlap(box: Points, boxes: Points) -> npt.NDArray[np.bool_]:
    """Return which of the boxes (K, 4) share a pixel with `box` (4,)."""
    apart = (boxes[:, :2] >= box[2:]) | (boxes[:, 2:] <= box[:2])
    return ~np.logical_or.reduce(apart, axis=1)
