"""Give all pictures one style: legible in print, on dark screens, and for colour-blind readers.

with panels("cmc.pdf", 1, (6, 4)) as (figure, [axes]):
    panel(axes, "CMC", "Rank", "Matching rate")
    axes.plot(ranks, shares, label="resnet50")

Lines differ in colour and pattern; right and wrong differ in colour and mark. The colours of lines
are from Okabe and Ito (Color Universal Design, 2008), some of them slightly darker or lighter.
Identities need more colours: the ten colours of Petroff (Accessible Color Sequences for Data
Visualization, 2021), with a green and a pink in place of the two greys.
"""

import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import (
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
    get_font,
)
from matplotlib.legend import Legend
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from person_reid.config.look import WIDTHS, Look, own_or
from person_reid.errors import UserError
from person_reid.files import atomic_write
from person_reid.text import printable

RIGHT = "#00876c"
WRONG = "#cc3311"
ASKED = "#475569"
INK = "#1e293b"
FAINT = "#64748b"
LINES = ("#0072b2", "#d55e00", "#009e73", "#b35a8e", "#a37200", "#2a9fd6")
ACCEPTED = LINES[0]  # above a threshold, whether right or wrong
LINES_ON_DARK = ("#56b4e9", "#f0824a", "#2fc79a", "#e29ac5", "#e8b23a", "#9fd8ff")
ON_DARK = {  # lighter colours for a dark screen
    RIGHT: LINES_ON_DARK[2], WRONG: "#f87c5c", ACCEPTED: LINES_ON_DARK[0],
    ASKED: "#94a3b8", FAINT: "#94a3b8",
}  # fmt: skip
LINE_PATTERNS = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 2)))
MANY = (
    "#3f90da", "#ffa90e", "#bd1f01", "#2e9e5b", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#e87fc3", "#92dadd",
)  # fmt: skip
FONT = "DejaVu Sans"  # comes with matplotlib
SCREEN = Look()
LETTERS, SMALL_TEXT = 8, 11  # points: all text on paper; ticks and legends on a screen
NARROWEST = 1.6  # inches of a panel on paper
DOTS_PER_INCH = 130
MOST_PIXELS = 2**16  # per side
STYLE_SETTINGS: dict[str, dict[str, Any]] = {  # no date, so that equal pictures are equal files
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
    "jpg": {"pil_kwargs": {"quality": 90}},
    "jpeg": {"pil_kwargs": {"quality": 90}},
}
log = logging.getLogger(__name__)


def theme(look: Look = SCREEN) -> dict[Any, Any]:
    """Return the matplotlib settings that differ from the defaults."""
    light, dark = ("white", INK, FAINT, "#dbe2ea"), ("#0f172a", "#e2e8f0", "#94a3b8", "#334155")
    paper, ink, faint, grid = dark if look.dark else light
    text, title, small = (LETTERS,) * 3 if look.width else (12, 14, SMALL_TEXT)
    thin = 0.55 if look.width else 1.0
    return {
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"],
        "font.size": text, "text.color": ink,
        "figure.facecolor": paper, "savefig.facecolor": paper,
        "figure.dpi": 2 * DOTS_PER_INCH if look.width else DOTS_PER_INCH, "savefig.dpi": "figure",
        "axes.facecolor": paper, "axes.edgecolor": faint, "axes.labelcolor": ink,
        "axes.titlecolor": ink, "axes.titlesize": title, "axes.titleweight": "bold",
        "axes.titlelocation": "left", "axes.labelsize": text, "axes.linewidth": 0.8 * thin,
        "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=line_colours(look)) + cycler(linestyle=LINE_PATTERNS),
        "grid.color": grid, "grid.linewidth": 0.8 * thin,
        "xtick.color": faint, "xtick.labelcolor": ink, "xtick.labelsize": small,
        "ytick.color": faint, "ytick.labelcolor": ink, "ytick.labelsize": small,
        "lines.linewidth": 2.2 * thin, "lines.markersize": 6 * thin, "hatch.linewidth": 0.8 * thin,
        "legend.fontsize": small, "legend.frameon": True, "legend.facecolor": paper,
        "legend.edgecolor": "none", "legend.framealpha": 1, "legend.borderpad": 0.2,
        "legend.handlelength": 1.4 if look.width else 2.0, "legend.handletextpad": 0.6,
        "pdf.fonttype": 42, "svg.fonttype": "none",  # text stays text, as publishers want
        "svg.hashsalt": "reid",
        "figure.constrained_layout.w_pad": 0.12 * thin,
        "figure.constrained_layout.h_pad": 0.1 * thin,
    }  # fmt: skip


def line_colours(look: Look) -> Sequence[str]:
    """Return the colours of lines."""
    return LINES_ON_DARK if look.dark else LINES


@contextmanager
def picture(
    save: str | Path, width: float, height: float, look: Look = SCREEN, layout: Any = "constrained"
) -> Iterator[Figure]:
    """Yield a Figure of this width and height in inches, and write it after the block.

    save: a file name whose suffix is the type (.png, .pdf, .svg, .jpg). layout: see Figure.

    A text from --labels may contain mathematics, such as OSNet$_{0.25}$. Other texts are drawn
    literally, because file names may contain dollar signs. Letters that FONT lacks are drawn in
    other fonts on this computer, or as boxes, and the log reports them.

    Raises UserError, before drawing, for a file type or size that matplotlib cannot write, or
    mathematics that it cannot read.
    """
    save = Path(save)
    mathematics = [label for label in (look.labels or "").split(",") if "$" in label]
    check_mathematics(mathematics)
    if max(width, height) * DOTS_PER_INCH >= MOST_PIXELS:
        raise UserError(
            f"{save}: the picture would be {max(width, height):.0f} inches long. Show fewer images."
        )
    with (
        style.context(theme(look), after_reset=True),  # ignores the user's matplotlibrc
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure(figsize=(width, height), layout=layout)
        known = figure.canvas.get_supported_filetypes().keys() - {"pgf"}  # needs TeX
        file_type = save.suffix.lower().lstrip(".")
        if file_type not in known:
            endings = ", .".join(sorted(known))
            raise UserError(f"{save}: expected a file name that ends in one of .{endings}.")
        yield figure
        texts = figure.findobj(Text)
        _draw_in_other_fonts(texts, save)
        for text in texts:
            if any(label in text.get_text() for label in mathematics):
                text.set_parse_math(True)
        with atomic_write(save) as temporary:
            figure.savefig(temporary, format=file_type, **STYLE_SETTINGS.get(file_type, {}))


def check_mathematics(texts: Sequence[str]) -> None:
    """Raise UserError if matplotlib cannot read the mathematics in a text."""
    for text in filter(is_math_text, texts):
        try:
            MathTextParser("path").parse(text)
        except ValueError as error:
            *_, reason = str(error).strip().splitlines()
            raise UserError(
                f"labels={printable(text)}: not mathematics that matplotlib reads ({reason}). "
                r"Correct it, or write \$ for a dollar."
            ) from None


@contextmanager
def panels(
    save: str | Path,
    count: int,
    size: tuple[float, float],
    look: Look = SCREEN,
    columns: int | None = None,
    narrowest: float = NARROWEST,
    below: float = 0,
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure and the axes of its panels, and write it after the block; see picture.

    size: width and height of a panel on a screen, in inches. columns: by default, all panels are
    side by side.
    narrowest: the minimum width of a panel on paper, in inches; panels that would be narrower are
    placed one below the other.
    below: inches to leave for a legend below the panels.
    """
    columns, (width, height) = columns or count, size
    if look.width:
        paper = WIDTHS[look.width]
        columns = min(columns, max(1, int(paper / narrowest)))
        width, height = paper / columns, paper / columns * min(max(size[1] / size[0], 0.65), 0.9)
    rows = -(-count // columns)
    with picture(save, width * columns, height * rows + below, look) as figure:
        every = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for unused in every[count:]:
            unused.set_axis_off()  # legend_below may use it
        yield figure, every[:count]


def letters(look: Look) -> int:
    """Return the size of a legend's letters in points."""
    return LETTERS if look.width else SMALL_TEXT


def legend_height(names: Sequence[str], width: float, look: Look) -> float:
    """Return the height in inches to leave for legend_below. width: the figure's, in inches."""
    columns = _columns(names, width, letters(look))
    lines = -(-sum(name.count("\n") + 1 for name in names) // columns)
    return (1.55 * lines + 0.8) * letters(look) / 72


def legend_below(figure: Figure, keys: Sequence[Artist]) -> None:
    """Draw one legend below all panels, in as many columns as fit, or in an unused panel."""
    names = [str(key.get_label()) for key in keys]
    columns = _columns(names, figure.get_figwidth(), matplotlib.rcParams["legend.fontsize"])
    free = [axes for axes in figure.axes if not axes.axison]
    legend = (
        free[0].legend(handles=keys, loc="center")
        if free
        else figure.legend(
            handles=keys, loc="outside lower center", ncols=columns, columnspacing=1.4
        )
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may contain dollar signs


def _columns(names: Sequence[str], width: float, size: float) -> int:
    """Return how many columns a legend of this width can have, with rows of similar length."""
    widest = max(text_width(name, size) for name in names) + 4.5 * size / 72
    columns = min(len(names), max(1, int(width / widest)))
    return -(-len(names) // -(-len(names) // columns))


def share_legend(figure: Figure) -> None:
    """Replace the legends of the panels with a single legend below them."""
    keys: dict[str, Artist] = {}
    for axes in figure.axes:
        if legend := axes.get_legend():
            handles, names = axes.get_legend_handles_labels()
            keys.update(zip(names, handles, strict=True))
            legend.remove()
    if keys:
        legend_below(figure, list(keys.values()))


def panel(axes: Axes, title: str, x: str, y: str = "", look: Look = SCREEN) -> Axes:
    """Give axes a title and names for x and y, and return the axes.

    If titles are off, an axis without a name gets the title as its name.
    """
    axes.set(title="" if look.no_title else title, xlabel=x, ylabel=y or title * look.no_title)
    return axes


def towards(ink: Any, colour: str, share: float = 0.35) -> tuple[float, ...]:
    """Return `colour` mixed with `ink`, so that pale colours are legible as text."""
    return tuple(share * np.array(to_rgb(ink)) + (1 - share) * np.array(to_rgb(colour)))


def relabel(figure: Figure, look: Look) -> None:
    """Replace the text in all legends of a figure with the text from --labels; see own_or."""
    texts = [text for legend in figure.findobj(Legend) for text in legend.get_texts()]
    names = list(dict.fromkeys(text.get_text() for text in texts))
    own = dict(zip(names, own_or(names, look.labels), strict=True))
    for text in texts:
        text.set_text(own[text.get_text()])


def in_percent(axis: Axis, ticks: int | None = None) -> None:
    """Label an axis in %, with decimals only where a value is not a whole number.

    ticks: about how many ticks; by default, as many as fit.
    """
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator(ticks or "auto", steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))


def log_scale(axes: Axes, costs: Sequence[float]) -> None:
    """Give the x axis a logarithmic scale that suits `costs`, labelled with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    wide = max(costs) > 5 * min(costs)  # ticks at 1, 2 and 5 suffice
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(4))
    axes.xaxis.set_minor_formatter("")
    axes.margins(0.12, 0.15)


def decimals(value: float) -> str:
    """Format a fraction such as an AP: `0.713`, or `0.0004` below a thousandth."""
    return f"{value:.3f}" if value >= 0.001 or value <= 0 else f"{value:.4f}"


def shortened(text: str, most: int) -> str:
    """Return text shortened to at most `most` characters; `most` is at least three.

    Longer text loses its middle, as in `resnet50…lr_0.05`.
    """
    return (
        text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - (most - 1) // 2 :]}"
    )


def fitted(text: str, width: float, size: float, weight: str = "normal", lines: int = 1) -> str:
    """Return text, such as a file's name, in at most `lines` lines, shortened to fit.

    width: the line width in inches. size: the letter size in points. If possible, a line ends after
    a space, _ or -.
    """
    for most in range(max(len(text), 3), 2, -1):
        broken = _broken(shortened(text, most), width, size, weight)
        if len(broken) <= lines:
            return "\n".join(broken)
    return "…"


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width in inches of the longest line of text. size: letter size in points."""
    widths = [sum(_width(letter, weight) for letter in line) for line in text.split("\n")]
    return max(widths) * size / 72


def _broken(text: str, width: float, size: float, weight: str) -> list[str]:
    """Break text into lines, as `fitted` does."""
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
    """Return the width of a letter relative to the size of its font."""
    family = _family(letter)
    if not family:
        return 1.0  # the box for a letter that no font has is as wide as a Chinese character
    weight = weight if family == FONT else "normal"
    font = get_font(findfont(FontProperties(family=family, weight=weight)))
    font.set_size(100, 72)
    return font.load_char(ord(letter)).linearHoriAdvance / 65536 / 100


def _draw_in_other_fonts(texts: Iterable[Text], picture: Path) -> None:
    """Choose fonts that have each text's letters. A warning lists letters that no font has."""
    lacking = ""
    for text in texts:
        families = {letter: _family(letter) or "" for letter in text.get_text() if letter != "\n"}
        lacking += "".join(letter for letter, family in families.items() if not family)
        if others := set(families.values()) - {FONT, ""}:
            # Few of these fonts have a bold version, and matplotlib warns of each that lacks one.
            text.set(fontfamily=[FONT, *sorted(others)], fontweight="normal")
    if lacking:
        log.warning(
            "%s: no font here has %s: boxes stand for these letters. Install one that has them, "
            "such as those of Noto (Debian: fonts-noto-core, fonts-noto-cjk).",
            picture,
            shortened("".join(sorted(set(lacking))), 20),
        )


@cache
def _family(letter: str) -> str | None:
    """Return a font that has a letter: FONT, or another font on this computer, or None.

    A font that was installed after matplotlib listed the fonts is added to its list.
    """
    if get_font(findfont(FONT)).get_char_index(ord(letter)):
        return FONT
    for file in _other_fonts():
        with suppress(OSError, RuntimeError):  # matplotlib cannot read this font
            font = get_font(file)
            if font.scalable and font.get_char_index(ord(letter)):
                if font.family_name not in fontManager.get_font_names():
                    fontManager.addfont(file)
                return str(font.family_name)
    return None


@cache
def _other_fonts() -> list[str]:
    """Return the files of the computer's fonts, the plainest first."""
    files = [file for file in findSystemFonts() if "LastResort" not in file]
    styles = re.compile("Bold|Italic|Oblique|Light|Thin|Black|Medium")
    return sorted(files, key=lambda file: ("Sans" not in file, bool(styles.search(file)), file))
