"""Draw who was where and when: a picture of each person, and a timeline for each camera."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from PIL import ImageFont

from person_reid.config.look import WIDTHS, own_or
from person_reid.data.images.image_files import load_image
from person_reid.retrieval.association import Stay
from person_reid.show.style import (
    FAINT,
    INK,
    MANY,
    ON_DARK,
    SCREEN,
    Look,
    fitted,
    picture,
    text_width,
)
from person_reid.text import counted, printable

ROW, BAR = 0.2, 0.8  # the height of a row in inches, and the share of it that a bar fills
DAY_TITLE = 0.5  # inches
LANES_WIDTH = 11  # inches
FACE_SIZE = (0.42, 0.84)  # width and height in inches
FACE_PIXELS = (128, 64)  # height and width
FACE_CELL = (0.62, 1.22)  # inches for a face with its frame and name
MOST_FACES = 80
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
TICKS = 9  # the most ticks
ZERO = timedelta()
LUMINANCE, PALE = (0.299, 0.587, 0.114), 0.62  # numbers are dark on paler bars


def draw_lanes(
    stays: Sequence[Stay],
    save: str | Path,
    begin: datetime | None = None,
    look: Look = SCREEN,
    faces: Mapping[int, tuple[Path, str]] | None = None,
) -> None:
    """Draw stays in an image file. begin: the time from which their seconds count, if known.

    Several dates are drawn one below the other, aligned by time of day. Cameras are in the order of
    the stays. People with a single stay are grey, so that colours mean links. Numbers of people
    count from 1. faces: {person: (an image, a name or "")}, drawn above the lanes.
    """
    cameras = [*dict.fromkeys(stay.camera for stay in stays)]
    names = own_or([f"camera {printable(camera)}" for camera in cameras], look.labels)
    titles = dict(zip(cameras, names, strict=True))
    colours = colours_of_people(stays, ON_DARK[FAINT] if look.dark else FAINT)
    width = WIDTHS[look.width] if look.width else LANES_WIDTH
    begin, days = _by_day(stays, begin)
    lanes = {
        day: {
            camera: packed_rows(rows)
            for camera in cameras
            if (rows := [stay for stay in some if stay.camera == camera])
        }
        for day, some in days.items()
    }
    shown = dict(sorted((faces or {}).items())[:MOST_FACES])
    top = FACE_CELL[1] * -(-len(shown) // _columns(width))
    heights = [ROW * (sum(map(len, day.values())) + len(day)) for day in lanes.values()]
    height = sum(heights) + 1.2 + DAY_TITLE * (len(days) - 1) + top
    with picture(save, width, height, look) as figure:
        grid = figure.add_gridspec(
            len(days) + bool(shown), 1, height_ratios=[top, *heights][-len(days) - bool(shown) :]
        )
        panels = grid.subplots(sharex=False, squeeze=False)[:, 0]
        timed = panels[len(panels) - len(days) :]
        stays = [stay for some in days.values() for stay in some]
        first = min(stay.first for stay in stays) if len(days) > 1 else 0
        for axes, (day, of_day) in zip(timed, lanes.items(), strict=True):
            axes.set_xlim(first, max(stay.last for stay in stays) or 1)
            _draw_lanes(axes, of_day, colours, width)
            axes.set_yticks(axes.get_yticks(), [titles[each] for each in of_day], parse_math=False)
            _name_times(axes, begin)
            axes.tick_params(labelbottom=axes is timed[-1])
            axes.set_title(day if len(days) > 1 else "", loc="left")
        date = f"{begin:%Y-%m-%d}" if begin else "since the start"
        timed[-1].set_xlabel("" if len(days) > 1 else date)
        if shown:
            _draw_faces(panels[0], shown, colours, width, top)
        if not look.no_title:
            of_all = figure.suptitle if len(days) > 1 and not shown else panels[0].set_title
            of_all(_in_words(stays, colours))


def _by_day(
    stays: Sequence[Stay], begin: datetime | None
) -> tuple[datetime | None, dict[str, Sequence[Stay]]]:
    """Return the start of the axis, and the stays of each date.

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
    """Draw the lanes of cameras, one below the other. width: the picture's width in inches."""
    start, end = axes.get_xlim()
    down, middles = 0, []
    for lane in lanes.values():
        middles.append(down + (len(lane) - 1) / 2)
        for row, each in enumerate(lane, down):
            for stay, after in zip(each, [*(later.first for later in each[1:]), end], strict=True):
                inch = (end - start) / (0.85 * width)
                _draw_stay(axes, stay, row, colours[stay.person], inch, after)
        down += len(lane) + 1
        axes.axhline(down - 1, color=matplotlib.rcParams["grid.color"], linewidth=1)
    axes.set_ylim(down - 1, -1)
    axes.set_yticks(middles)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def colours_of_people(stays: Sequence[Stay], grey: str = FAINT) -> dict[int, str]:
    """Return {person: colour}; a person with a single stay gets `grey`."""
    times = Counter(stay.person for stay in stays)
    several = sorted(person for person, count in times.items() if count > 1)
    colours = {person: MANY[place % len(MANY)] for place, person in enumerate(several)}
    return dict.fromkeys(times, grey) | colours


def ink_on(colour: str) -> str:
    """Return a text colour that is legible on another colour."""
    return INK if np.dot(to_rgb(colour), LUMINANCE) > PALE else "white"


def label_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font for labels in a video. size: in pixels."""
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")), size
    )


def _in_words(stays: Sequence[Stay], colours: Mapping[int, str]) -> str:
    """Return the title: the number of people, and what grey means."""
    seen = {(stay.person, stay.camera) for stay in stays}
    several = sum(count > 1 for count in Counter(person for person, _ in seen).values())
    said = f"{counted(len(colours), 'person', 'people')}, {several} seen by several cameras"
    alone = sum(count == 1 for count in Counter(stay.person for stay in stays).values())
    return said + f"; grey: {alone} seen once" * (alone > 0)


def _columns(width: float) -> int:
    """Return how many faces fit side by side in a picture of this width in inches."""
    return int(0.85 * width / FACE_CELL[0])  # camera names take the rest


def _draw_faces(
    axes: Axes,
    faces: Mapping[int, tuple[Path, str]],
    colours: Mapping[int, str],
    width: float,
    height: float,
) -> None:
    """Draw a picture of each person, framed in the person's colour, with number and name."""
    columns, (cell, line) = _columns(width), FACE_CELL
    axes.set(xlim=(0, columns * cell), ylim=(height, 0))
    axes.axis("off")
    size = matplotlib.rcParams["legend.fontsize"] * 0.8
    for place, (person, (path, name)) in enumerate(faces.items()):
        x, y = place % columns * cell, place // columns * line
        box = (x, x + FACE_SIZE[0], y + FACE_SIZE[1], y)
        axes.imshow(load_image(path, *FACE_PIXELS), extent=box, aspect="auto")
        axes.add_patch(
            Rectangle(
                (x, y),
                *FACE_SIZE,
                fill=False,
                edgecolor=colours[person],
                linewidth=3,
                clip_on=False,
            )
        )
        words = f"{person + 1}\n{fitted(printable(name), 0.95 * cell, size)}"
        axes.text(x, y + FACE_SIZE[1] + 0.06, words, va="top", size=size, parse_math=False)
    axes.set(xlim=(0, columns * cell), ylim=(height, 0))


def packed_rows(stays: Sequence[Stay]) -> list[list[Stay]]:
    """Return stays in rows without overlaps, each in the first free row."""
    rows: list[list[Stay]] = []
    for stay in sorted(stays, key=lambda each: (each.first, each.last, each.person)):
        free = next((row for row in rows if row[-1].last < stay.first), None)
        if free is None:
            rows.append(free := [])
        free.append(stay)
    return rows


def _draw_stay(axes: Axes, stay: Stay, row: int, colour: str, inch: float, after: float) -> None:
    """Draw a bar, with the number of its person inside or beside it, wherever there is room.

    inch: how many seconds an inch shows. after: when the next bar begins.
    """
    number, length = str(stay.person + 1), max(stay.last - stay.first, inch / 50)
    axes.barh(row, length, BAR, stay.first, color=colour, linewidth=0)
    size = matplotlib.rcParams["legend.fontsize"] * 0.8
    wide = text_width(number, size) * inch / 0.9
    if wide < length:
        place, ink = stay.first + length / 2, ink_on(colour)
    elif wide < after - stay.first - length:
        place, ink = stay.first + length + wide / 2, matplotlib.rcParams["text.color"]
    else:
        return
    axes.text(place, row, number, ha="center", va="center_baseline", size=size, color=ink)


def _name_times(axes: Axes, begin: datetime | None) -> None:
    """Write the time of day, or the time since the start, along the axis."""

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
