"""Draw who was where and when: a lane for each camera along time, a colour for each person."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter

from person_reid.config.look import WIDTHS, own_or
from person_reid.retrieval.stays import Stay
from person_reid.show.style import FAINT, INK, MANY, ON_DARK, SCREEN, Look, picture, text_width
from person_reid.text import counted, printable

ROW, BAR = 0.2, 0.8  # inches of a row, and the share of it that a bar takes
DAY_TITLE = 0.5  # inches
LANES_WIDTH = 11  # inches
TICK_STEPS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    43200,
    86400,
)
TICKS = 9  # at most
ZERO = timedelta()
LUMINANCE, PALE = (0.299, 0.587, 0.114), 0.62  # a number is dark on a bar that is paler


def draw_lanes(
    stays: Sequence[Stay], save: str | Path, begin: datetime | None = None, look: Look = SCREEN
) -> None:
    """Draw stays to an image file. begin: the time of the start, if it is known.

    Stays that begin on several dates are drawn one date below the other, at the same time of day.

    A person whom a single camera saw is grey, so that colours stand for links. Numbers of people
    count from 1.
    """
    cameras = [*_by_camera(stays)]
    names = own_or([f"camera {printable(camera)}" for camera in cameras], look.labels)
    titles = dict(zip(cameras, names, strict=True))
    people, colours = _colours(stays, ON_DARK[FAINT] if look.dark else FAINT)
    width = WIDTHS[look.width] if look.width else LANES_WIDTH
    begin, days = _by_day(stays, begin)
    lanes = {
        day: {camera: packed_rows(each) for camera, each in _by_camera(some).items()}
        for day, some in days.items()
    }
    heights = [sum(map(len, day.values())) + len(day) for day in lanes.values()]
    height = ROW * sum(heights) + 1.2 + DAY_TITLE * (len(days) - 1)
    with picture(save, width, height, look) as figure:
        panels = figure.subplots(len(days), 1, sharex=True, squeeze=False, height_ratios=heights)
        shown = [stay for some in days.values() for stay in some]
        first = min(stay.first for stay in shown) if len(days) > 1 else 0
        for axes, (day, of_day) in zip(panels[:, 0], lanes.items(), strict=True):
            axes.set_xlim(first, max(stay.last for stay in shown) or 1)
            _draw_lanes(axes, of_day, colours, width)
            axes.set_yticks(axes.get_yticks(), [titles[each] for each in of_day], parse_math=False)
            _name_times(axes, begin)
            axes.set_title(day if len(days) > 1 else "", loc="left")
        date = f"{begin:%Y-%m-%d}" if begin else "since the start"
        axes.set_xlabel("" if len(days) > 1 else date)
        if not look.no_title:
            (figure.suptitle if len(days) > 1 else axes.set_title)(people)


def _by_day(
    stays: Sequence[Stay], begin: datetime | None
) -> tuple[datetime | None, dict[str, Sequence[Stay]]]:
    """Return the start of the axis, and the stays of each date on which some begin.

    With several dates, the start is midnight, and the stays of each date count from there.
    """
    if begin is None:
        return begin, {"": stays}
    found: dict[str, list[Stay]] = defaultdict(list)
    for stay in sorted(stays, key=lambda each: each.first):
        time = (begin + timedelta(seconds=stay.first)).astimezone()  # clocks may have changed
        passed = (time - time.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
        last = passed + stay.last - stay.first
        found[f"{time:%Y-%m-%d}"].append(replace(stay, first=passed, last=last))
    if len(found) < 2:
        return begin, {"": stays}
    return begin.replace(hour=0, minute=0, second=0, microsecond=0), {**found}


def _draw_lanes(
    axes: Axes, lanes: Mapping[str, list[list[Stay]]], colours: Mapping[int, str], width: float
) -> None:
    """Draw the lanes of cameras one below the other, in a picture of a width in inches."""
    start, end = axes.get_xlim()
    down, middles = 0, []
    for lane in lanes.values():
        middles.append(down + (len(lane) - 1) / 2)
        for row, stay in ((down + k, stay) for k, each in enumerate(lane) for stay in each):
            _draw_stay(axes, stay, row, colours[stay.person], (end - start) / (0.85 * width))
        down += len(lane) + 1
        axes.axhline(down - 1, color=matplotlib.rcParams["grid.color"], linewidth=1)
    axes.set_ylim(down - 1, -1)
    axes.set_yticks(middles)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _colours(stays: Sequence[Stay], grey: str) -> tuple[str, dict[int, str]]:
    """Return what to say of the people, and the colour of each."""
    cameras = defaultdict(set)
    for stay in stays:
        cameras[stay.person].add(stay.camera)
    several = [person for person, seen in sorted(cameras.items()) if len(seen) > 1]
    colours = {person: MANY[place % len(MANY)] for place, person in enumerate(several)}
    said = f"{counted(len(cameras), 'person', 'people')}, {len(several)} seen by several cameras"
    if others := len(cameras) - len(several):
        said += f"; grey: {counted(others, 'other person', 'other people')}"
    return said, dict.fromkeys(cameras, grey) | colours


def packed_rows(stays: Sequence[Stay]) -> list[list[Stay]]:
    """Return stays in as few rows as hold them side by side, the first free row each."""
    rows: list[list[Stay]] = []
    for stay in sorted(stays, key=lambda each: (each.first, each.last, each.person)):
        free = next((row for row in rows if row[-1].last < stay.first), None)
        if free is None:
            rows.append(free := [])
        free.append(stay)
    return rows


def _by_camera(stays: Sequence[Stay]) -> dict[str, list[Stay]]:
    found = defaultdict(list)
    for stay in stays:
        found[stay.camera].append(stay)
    return dict(sorted(found.items(), key=lambda each: (len(each[0]), each[0])))


def _draw_stay(axes: Axes, stay: Stay, row: int, colour: str, inch: float) -> None:
    """Draw a bar with the number of its person, if it is wide enough. inch: in seconds."""
    number, length = str(stay.person + 1), max(stay.last - stay.first, inch / 50)
    axes.barh(row, length, BAR, stay.first, color=colour, linewidth=0)
    size = matplotlib.rcParams["legend.fontsize"] * 0.8
    if text_width(number, size) < 0.9 * length / inch:
        pale = np.dot(to_rgb(colour), LUMINANCE) > PALE
        axes.text(
            stay.first + length / 2,
            row,
            number,
            ha="center",
            va="center_baseline",
            size=size,
            color=INK if pale else "white",
        )


def _name_times(axes: Axes, begin: datetime | None) -> None:
    """Write the time of day, or since the start, along the axis."""

    def words(seconds: float, _: int) -> str:
        passed = timedelta(seconds=round(seconds, 3))
        return f"{begin + passed:%H:%M:%S}" if begin else str(passed)

    start, end = axes.get_xlim()
    whole = end - start
    step = next((step for step in TICK_STEPS if whole / step <= TICKS), whole / TICKS)
    of_day = (begin - begin.replace(hour=0, minute=0, second=0, microsecond=0)) if begin else ZERO
    passed = of_day.total_seconds()
    axes.set_xticks(np.arange(-(-(passed + start) // step) * step - passed, end, step))
    axes.xaxis.set_major_formatter(FuncFormatter(words))
