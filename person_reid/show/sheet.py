"""Draw sheets of framed photographs: rows of tiles, each row below its own title.

draw_sheet([Row([Tile("a.jpg", RIGHT, "1", "✓ 0855\nc3 · 0.713")], "Query 3", "identity 0855")],
"show.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from person_reid.basics import UserError, printable
from person_reid.data.images import Pixels, load_image
from person_reid.show.style import ASKED, FAINT, fitted, picture

COLUMNS = 10  # tiles per line, besides the lead
GREY = 128  # the tile of an image that cannot be read
SHOWN = (256, 128)  # height and width in pixels to which every photograph is resized
# Inches.
WIDTH, HEIGHT, GAP, MARGIN, BETWEEN = 1.12, 2.24, 0.18, 0.15, 0.3
TITLE, SUBTITLE, ABOVE, CAPTION_LINE = 0.34, 0.3, 0.3, 0.235
LETTERS = 13  # size of captions, in points


@dataclass(frozen=True)
class Tile:
    """One framed photograph. image: a file, or pixels (H, W, 3); colour: of frame and caption;
    faint: fade the photograph; lines: heights, 0..1 from the top, at which to draw a line across
    it; optional: grey if the file cannot be read.
    """

    image: Path | str | Pixels
    colour: str = ASKED
    above: str = ""
    below: str = ""
    faint: bool = False
    lines: Sequence[float] = ()
    optional: bool = False


@dataclass(frozen=True)
class Row:
    """Tiles in as many lines as they need. lead: a tile set apart before them."""

    tiles: Sequence[Tile]
    title: str = ""
    subtitle: str = ""
    lead: Tile | None = None

    @property
    def text_heights(self) -> tuple[float, float]:
        """Return the heights of the text above and below each line of tiles, in inches."""
        tiles = [*self.tiles, *([self.lead] if self.lead else [])]
        lines_below = max(tile.below.count("\n") + 1 if tile.below else 0 for tile in tiles)
        return ABOVE if any(tile.above for tile in tiles) else 0.0, CAPTION_LINE * lines_below

    def height(self, columns: int) -> float:
        """Return the height of titles and tiles in inches."""
        titles = (TITLE if self.title else 0) + (SUBTITLE if self.subtitle else 0)
        lines = max(1, -(-len(self.tiles) // columns))
        return titles + lines * (sum(self.text_heights) + HEIGHT + GAP)


def draw_sheet(rows: Sequence[Row], save: str | Path) -> None:
    """Draw rows below one another to an image file.

    Raises UserError for an image that cannot be read, unless its tile is optional, and for a file
    type that cannot be written.
    """
    columns = min(COLUMNS, max(1, *(len(row.tiles) for row in rows)))
    indent = (WIDTH + 2 * GAP) if any(row.lead for row in rows) else 0
    width = max(indent + columns * (WIDTH + GAP) + MARGIN, 6)
    gaps = [BETWEEN if row.title else 0.0 for row in rows]
    height = sum(row.height(columns) for row in rows) + sum(gaps) + MARGIN
    with picture(save, width, height, layout="none") as figure:
        page = _Page(figure, width, height)
        top = MARGIN - gaps[0]
        for row, gap in zip(rows, gaps, strict=True):
            _draw_row(page, row, top + gap, columns, indent)
            top += gap + row.height(columns)


@dataclass(frozen=True)
class _Page:
    """A figure whose coordinates are inches from its upper left corner."""

    figure: Figure
    width: float
    height: float

    def text(
        self, left: float, top: float, words: str, size: float, weight: str = "normal", **style: Any
    ) -> None:
        words = fitted(printable(words), self.width - left - MARGIN, size, weight)
        style |= {"va": "top", "parse_math": False, "size": size, "weight": weight}
        self.figure.text(left / self.width, 1 - top / self.height, words, **style)

    def axes(self, left: float, top: float) -> Axes:
        bottom = 1 - (top + HEIGHT) / self.height
        return self.figure.add_axes(
            (left / self.width, bottom, WIDTH / self.width, HEIGHT / self.height)
        )


def _draw_row(page: _Page, row: Row, top: float, columns: int, indent: float) -> None:
    if row.title:
        page.text(MARGIN, top, row.title, 17, "bold")
        top += TITLE
    if row.subtitle:
        page.text(MARGIN, top, row.subtitle, LETTERS, color=FAINT)
        top += SUBTITLE
    above, below = row.text_heights
    if row.lead:
        _draw_tile(page.axes(MARGIN, top + above), row.lead)
    for position, tile in enumerate(row.tiles):
        line, column = divmod(position, columns)
        down = above + line * (above + HEIGHT + below + GAP)
        _draw_tile(page.axes(MARGIN + indent + column * (WIDTH + GAP), top + down), tile)


def _draw_tile(axes: Axes, tile: Tile) -> None:
    try:
        pixels = pixels_of(tile.image)
    except UserError:
        if not tile.optional:
            raise
        pixels = np.full((*SHOWN, 3), GREY, np.uint8)
        axes.text(SHOWN[1] / 2, SHOWN[0] / 2, "no image", ha="center", fontsize=13, color="black")
    axes.imshow(pixels, aspect="auto", interpolation="lanczos", alpha=0.3 if tile.faint else 1)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    style: dict[str, Any] = {"fontsize": LETTERS, "parse_math": False}
    axes.set_title(
        printable(tile.above), fontweight="normal", loc="center", color=FAINT, pad=6, **style
    )
    axes.set_xlabel(printable(tile.below), color=tile.colour, labelpad=6, linespacing=1.25, **style)
    for height in tile.lines:
        axes.axhline(height * axes.get_ylim()[0], color="white", linewidth=1.2)
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor=tile.colour, linewidth=4.5)


def file_caption(path: Path) -> str:
    """Return the name of a file without its ending, in up to three lines as wide as a tile."""
    return fitted(printable(path.stem), WIDTH + GAP / 2, LETTERS, lines=3)


def pixels_of(image: Path | str | Pixels) -> Pixels:
    """Read a file as pixels (256, 128, 3), or return an array as it is.

    Raises UserError for an unreadable file.
    """
    if isinstance(image, np.ndarray):
        return image
    try:
        return load_image(image, *SHOWN)
    except Exception as error:  # decoders fail in many ways, and every failure means the same here
        raise UserError(f"{image}: not a readable image ({error}).") from None
