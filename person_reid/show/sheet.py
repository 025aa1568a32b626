"""Draw sheets of framed photographs: rows of tiles, each row below its own title.

draw_sheet([Row([Tile("a.jpg", RIGHT, "1", "✓ 0855\nc3 · 0.713")], "Query 3", "identity 0855")],
"show.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from person_reid.config.look import own_or
from person_reid.data.images.image_files import Pixels, load_image
from person_reid.errors import UserError
from person_reid.show.style import ASKED, ON_DARK, SCREEN, WIDTHS, Look, fitted, picture, text_width
from person_reid.text import printable

TILES_OF_LINE = 10  # the most tiles per line, besides the lead
UNREADABLE_GREY = 128  # the tile of an image that cannot be read
SHOWN_SIZE = (256, 128)  # height and width in pixels to which every photograph is resized
FADED = 0.5  # opacity of a faint photograph
TALLEST_PAPER, LARGEST = 9, 1.6  # inches on paper: a sheet's height, and a tile's width

# Lengths in inches; letters and frames in points. `title`, `subtitle`, `above` and `caption` are
# heights of a line of text, and `pad` is between a tile and its caption.
ON_SCREEN = SimpleNamespace(
    width=1.12, height=2.24, gap=0.18, margin=0.15, between=0.42,
    title=0.34, subtitle=0.3, above=0.3, caption=0.23, pad=0.08,
    letters=13, heading=17, frame=4.5,
)  # fmt: skip
ON_PAPER = SimpleNamespace(
    width=0.46, height=0.92, gap=0.06, margin=0.04, between=0.12,
    title=0.17, subtitle=0.17, above=0.16, caption=0.14, pad=0.03,
    letters=8, heading=8, frame=1.5,
)  # fmt: skip
# The width of a line in inches, and the size of its letters in points.
OF_CAPTIONS = (ON_SCREEN.width + ON_SCREEN.gap / 2, ON_SCREEN.letters)


@dataclass(frozen=True)
class Tile:
    """One framed photograph.

    image: a file, or pixels (H, W, 3).
    colour: the colour of frame and caption.
    faint: whether the photograph is faded.
    lines: heights, 0..1 from the top, at which to draw lines across it.
    optional: show a grey tile if the file cannot be read.
    """

    image: Path | str | Pixels
    colour: str = ASKED
    above: str = ""
    below: str = ""
    faint: bool = False
    lines: Sequence[float] = ()
    optional: bool = False


@dataclass(frozen=True)
class SheetRow:
    """Tiles in as many lines as needed. lead: a tile set apart in front of them."""

    tiles: Sequence[Tile]
    title: str = ""
    subtitle: str = ""
    lead: Tile | None = None

    def text_heights(self, sizes: SimpleNamespace) -> tuple[float, float]:
        """Return the heights of the text above and below each line of tiles, in inches."""
        tiles = [*self.tiles, *([self.lead] if self.lead else [])]
        lines = max(tile.below.count("\n") + 1 if tile.below else 0 for tile in tiles)
        above = sizes.above if any(tile.above for tile in tiles) else 0.0
        return above, sizes.caption * lines + sizes.pad * (lines > 0)

    def height(self, columns: int, sizes: SimpleNamespace) -> float:
        """Return the height of the titles and tiles, in inches."""
        titles = sizes.title * bool(self.title) + sizes.subtitle * len(self.subtitle.splitlines())
        lines = max(1, -(-len(self.tiles) // columns))
        return (
            titles + lines * (sum(self.text_heights(sizes)) + sizes.height + sizes.gap) - sizes.gap
        )


def draw_sheet(rows: Sequence[SheetRow], save: str | Path, look: Look = SCREEN) -> None:
    """Draw rows in an image file, one below the other.

    Raises UserError for an image that cannot be read, unless its tile is optional, and for a file
    type that cannot be written.
    """
    titles = iter(own_or([row.title for row in rows if row.title], look.labels))
    rows = [replace(row, title=next(titles)) if row.title else row for row in rows]
    columns = min(TILES_OF_LINE, max(1, *(len(row.tiles) for row in rows)))
    sizes, columns = _paper(rows, columns, look) if look.width else (ON_SCREEN, columns)
    indent = _indent(rows, sizes)
    width = max(indent + columns * (sizes.width + sizes.gap) + sizes.margin, 6)
    width = WIDTHS[look.width] if look.width else width
    rows = [_in_style(row, look, sizes, width - 2 * sizes.margin) for row in rows]
    if look.no_title:
        rows = [replace(row, title="", subtitle="") for row in rows]
    gaps = _gaps(rows, sizes)
    height = _height(rows, columns, sizes)
    with picture(save, width, height, look, layout="none") as figure:
        page = _Page(figure, width, height, sizes)
        top = sizes.margin
        for row, gap in zip(rows, gaps, strict=True):
            _draw_row(page, row, top + gap, columns, indent)
            top += gap + row.height(columns, sizes)


def _indent(rows: Sequence[SheetRow], sizes: SimpleNamespace) -> float:
    """Return the width of the lead tiles, in inches."""
    return float(sizes.width + 2 * sizes.gap) if any(row.lead for row in rows) else 0.0


def _gaps(rows: Sequence[SheetRow], sizes: SimpleNamespace) -> list[float]:
    """Return the space above each row, in inches."""
    gaps = [sizes.between if row.title or row.lead else sizes.gap for row in rows]
    return [0.0, *gaps[1:]]


def _height(rows: Sequence[SheetRow], columns: int, sizes: SimpleNamespace) -> float:
    """Return the height of a sheet, in inches."""
    inside = sum(row.height(columns, sizes) for row in rows) + sum(_gaps(rows, sizes))
    return float(inside + 2 * sizes.margin)


def _paper(rows: Sequence[SheetRow], columns: int, look: Look) -> tuple[SimpleNamespace, int]:
    """Return the sizes on paper, and the number of tiles per line, at most `columns`.

    The tiles fill the width of the paper, unless they would be too large, or the sheet would be
    higher than a page.
    """
    assert look.width
    width, least = WIDTHS[look.width], ON_PAPER
    room = width - _indent(rows, least) - least.margin
    columns = min(columns, int(room / (least.width + least.gap)))

    def enlarged(factor: float) -> SimpleNamespace:
        tile = {"width": factor * least.width, "height": factor * least.height}
        return SimpleNamespace(**vars(least) | tile)

    lead = any(row.lead for row in rows)
    gaps = (columns - 1 + 2 * lead) * least.gap + 2 * least.margin
    fills = (width - gaps) / (least.width * (columns + lead))
    styled = [_in_style(row, look, least, width) for row in rows]
    height, twice = (_height(styled, columns, enlarged(factor)) for factor in (1, 2))
    fits = 1 + (TALLEST_PAPER - height) / (twice - height)
    return enlarged(max(1, min(fills, fits, LARGEST / least.width))), columns


def _in_style(row: SheetRow, look: Look, sizes: SimpleNamespace, across: float) -> SheetRow:
    """Return a row with captions that fit their tiles, styled for a dark screen or for paper.

    across: the width of the subtitle's lines, in inches.
    """

    def styled(tile: Tile) -> Tile:
        below = _narrow(printable(tile.below), sizes.width + sizes.gap, sizes.letters)
        colour = ON_DARK.get(tile.colour, tile.colour) if look.dark else tile.colour
        return replace(tile, below=below, colour=colour)

    subtitle = row.subtitle
    if look.width:
        subtitle = fitted(printable(subtitle), across, sizes.letters, lines=3)
    lead = row.lead and styled(row.lead)
    return replace(row, tiles=[*map(styled, row.tiles)], subtitle=subtitle, lead=lead)


def _narrow(caption: str, room: float, letters: float) -> str:
    """Return a caption with lines no wider than a tile; wider lines break at each ` · `."""
    lines = [
        part
        for line in caption.split("\n")
        for part in (line.split(" · ") if text_width(line, letters) > room else [line])
    ]
    return "\n".join(fitted(line, room, letters, lines=2) for line in lines)


class _Page(NamedTuple):
    """A figure whose coordinates are in inches from its upper left corner."""

    figure: Figure
    width: float
    height: float
    sizes: SimpleNamespace

    def text(
        self, left: float, top: float, words: str, size: float, weight: str = "normal", **style: Any
    ) -> None:
        words = fitted(printable(words), self.width - left - self.sizes.margin, size, weight)
        style |= {"va": "top", "parse_math": False, "size": size, "weight": weight}
        self.figure.text(left / self.width, 1 - top / self.height, words, **style)

    def axes(self, left: float, top: float) -> Axes:
        width, height = self.sizes.width, self.sizes.height
        bottom = 1 - (top + height) / self.height
        return self.figure.add_axes(
            (left / self.width, bottom, width / self.width, height / self.height)
        )


def _draw_row(page: _Page, row: SheetRow, top: float, columns: int, indent: float) -> None:
    sizes = page.sizes
    if row.title:
        page.text(sizes.margin, top, row.title, sizes.heading, "bold")
        top += sizes.title
    for line in row.subtitle.splitlines():
        page.text(sizes.margin, top, line, sizes.letters, color=rcParams["axes.edgecolor"])
        top += sizes.subtitle
    above, below = row.text_heights(sizes)
    if row.lead:
        _draw_tile(page.axes(sizes.margin, top + above), row.lead, sizes)
    for position, tile in enumerate(row.tiles):
        below_first, column = divmod(position, columns)
        down = above + below_first * (above + sizes.height + below + sizes.gap)
        left = sizes.margin + indent + column * (sizes.width + sizes.gap)
        _draw_tile(page.axes(left, top + down), tile, sizes)


def _draw_tile(axes: Axes, tile: Tile, sizes: SimpleNamespace) -> None:
    style: dict[str, Any] = {"fontsize": sizes.letters, "parse_math": False}
    try:
        pixels = pixels_of(tile.image)
    except UserError:
        if not tile.optional:
            raise
        pixels = np.full((*SHOWN_SIZE, 3), UNREADABLE_GREY, np.uint8)
        axes.text(
            SHOWN_SIZE[1] / 2, SHOWN_SIZE[0] / 2, "no image", ha="center", color="black", **style
        )
    axes.imshow(pixels, aspect="auto", interpolation="lanczos", alpha=FADED if tile.faint else 1)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    pad = 72 * sizes.pad
    title: dict[str, Any] = {"fontweight": "normal", "loc": "center", "pad": pad, **style}
    axes.set_title(printable(tile.above), color=rcParams["axes.edgecolor"], **title)
    axes.set_xlabel(
        printable(tile.below), color=tile.colour, labelpad=pad, linespacing=1.25, **style
    )
    for height in tile.lines:
        axes.axhline(height * axes.get_ylim()[0], color="white", linewidth=sizes.frame / 4)
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor=tile.colour, linewidth=sizes.frame)


def file_caption(path: Path, lines: int = 3) -> str:
    """Return a file's name without its extension, in at most `lines` lines that fit a tile."""
    return fitted(printable(path.stem), *OF_CAPTIONS, lines=lines)


def pixels_of(image: Path | str | Pixels) -> Pixels:
    """Read a file as pixels (256, 128, 3), or return an array unchanged.

    Raises UserError for an unreadable file.
    """
    if isinstance(image, np.ndarray):
        return image
    try:
        return load_image(image, *SHOWN_SIZE)
    except Exception as error:  # decoders fail in many ways, all with the same meaning here
        raise UserError(f"{image}: not a readable image ({error}).") from None
