"""Give every picture one style: legible in print, on a dark screen, and to colour-blind readers.

with picture("cmc.pdf", 6, 4) as figure:
    axes = panel(figure.subplots(), "CMC", "Rank", "Identified")
    axes.plot(ranks, shares, label="resnet50")

Lines differ in colour and pattern, right and wrong in colour and mark. The colours of lines are
from Okabe and Ito (Color Universal Design, 2008), some slightly darker or lighter. Identities need
more colours: the ten of Petroff (Accessible Color Sequences for Data Visualization, 2021).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cycler import cycler
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from person_reid.basics import UserError, atomic_write

RIGHT, WRONG, ASKED, INK, FAINT = "#00876c", "#cc3311", "#475569", "#1e293b", "#64748b"
LINES = ("#0072b2", "#d55e00", "#009e73", "#b35a8e", "#a37200", "#2a9fd6")
ACCEPTED = LINES[0]  # above a threshold, right or wrong
LINES_ON_DARK = ("#56b4e9", "#f0824a", "#2fc79a", "#e29ac5", "#e8b23a", "#9fd8ff")
PATTERNS = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 2)))
MANY = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
DOTS_PER_INCH = 130
MOST_PIXELS = 2**16  # of a side
SETTINGS: dict[str, dict[str, Any]] = {  # no date, so that the same picture is the same file
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
    "jpg": {"pil_kwargs": {"quality": 90}},
    "jpeg": {"pil_kwargs": {"quality": 90}},
}


def theme(dark: bool = False) -> dict[Any, Any]:
    """Return the settings of matplotlib that differ from its defaults."""
    paper, ink, faint, grid = (
        ("#0f172a", "#e2e8f0", "#94a3b8", "#334155") if dark else ("white", INK, FAINT, "#dbe2ea")
    )
    return {
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "text.color": ink,
        "figure.facecolor": paper,
        "savefig.facecolor": paper,
        "figure.dpi": DOTS_PER_INCH,
        "savefig.dpi": "figure",
        "axes.facecolor": paper,
        "axes.edgecolor": faint,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.titlesize": 14,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=LINES_ON_DARK if dark else LINES)
        + cycler(linestyle=PATTERNS),
        "grid.color": grid,
        "grid.linewidth": 0.8,
        "xtick.color": faint,
        "ytick.color": faint,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "lines.linewidth": 2.2,
        "lines.markersize": 6,
        "legend.frameon": False,
        "legend.fontsize": 11,
        "pdf.fonttype": 42,  # publishers want the letters of a PDF as text, not as drawings
        "svg.fonttype": "path",
        "svg.hashsalt": "reid",
        "hatch.linewidth": 0.8,
        "figure.constrained_layout.w_pad": 0.12,
        "figure.constrained_layout.h_pad": 0.1,
    }


@contextmanager
def picture(
    save: str | Path, width: float, height: float, dark: bool = False, layout: Any = "constrained"
) -> Iterator[Figure]:
    """Yield a Figure of that size in inches and write it to `save` after the block, whole or not at
    all.

    save: a file name whose suffix is the type (.png, .pdf, .svg, .jpg); dark: for a dark screen;
    layout: as for Figure.
    Raises UserError, before anything is drawn, for a file type or a size that matplotlib cannot
    write.
    """
    save = Path(save)
    if max(width, height) * DOTS_PER_INCH >= MOST_PIXELS:
        raise UserError(
            f"--save {save}: the picture would be {max(width, height):.0f} "
            "inches long. Show fewer images."
        )
    with style.context(theme(dark), after_reset=True):  # whatever a user's matplotlibrc says
        figure = Figure(figsize=(width, height), layout=layout)
        known = figure.canvas.get_supported_filetypes().keys() - {"pgf"}  # needs TeX
        file_type = save.suffix.lower().lstrip(".")
        if file_type not in known:
            raise UserError(
                f"--save {save}: expected a file name that ends in one "
                f"of .{', .'.join(sorted(known))}."
            )
        yield figure
        with atomic_write(save) as temporary:
            figure.savefig(temporary, format=file_type, **SETTINGS.get(file_type, {}))


def panel(axes: Axes, title: str, x: str, y: str = "") -> Axes:
    """Label the axes with a title and the names of x and y, and return them."""
    axes.set(title=title, xlabel=x, ylabel=y)
    return axes


def in_percent(axis: Axis) -> None:
    """Write the shares along an axis in percent, with decimals only between whole percents."""
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))


def shortened(text: str, most: int) -> str:
    """Return text of at most `most` characters, three or more: a longer one loses its
    middle, as `resnet50…lr_0.05`.
    """
    return (
        text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - 1) // 2 :]}"
    )


def fitted(text: str, width: float, size: float, weight: str = "normal", lines: int = 1) -> str:
    """Return text, such as a file's name, in as many of `lines` lines as it needs, shortened to
    what they hold.

    width: line width in inches. size: letter size in points. A line ends after a space, _ or - if
    it can.
    """
    for most in range(max(len(text), 3), 2, -1):
        broken = _broken(shortened(text, most), width, size, weight)
        if len(broken) <= lines:
            return "\n".join(broken)
    return "…"


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of a line of text in inches. size: letter size in points."""
    return sum(_width(letter, weight) for letter in text) * size / 72


def _broken(text: str, width: float, size: float, weight: str) -> list[str]:
    """Break text into lines, as for `fitted`."""
    lines, line = [], ""
    for letter in text:
        if line and text_width(line + letter, size, weight) > width:
            end = max(line.rfind(mark) for mark in " _-") + 1
            end = end if end > len(line) / 2 else len(line)
            lines.append(line[:end])
            line = line[end:]
        line += letter
    return [*lines, line]


@cache
def _width(letter: str, weight: str) -> float:
    """Return the width of a letter as a share of its font's size."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    font.set_size(100, 72)
    return font.load_char(ord(letter)).linearHoriAdvance / 65536 / 100


def lift_apart(figure: Figure, texts: Sequence[Annotation]) -> None:
    """Lift every label, from the lowest on, until it covers none of those below it."""
    figure.draw_without_rendering()
    boxes = [(text.get_window_extent(), text) for text in texts]
    placed: list[Bbox] = []
    for before, text in sorted(boxes, key=lambda each: each[0].y0):
        box = before
        for other in sorted(placed, key=lambda each: each.y0):
            if box.overlaps(other):
                box = box.translated(0, other.y1 - box.y0 + 1)
        placed.append(box)
        text.xyann = (text.xyann[0], text.xyann[1] + (box.y0 - before.y0) * 72 / figure.dpi)
