"""Sheets of framed photographs: rows of tiles, each row below a title of its own.

draw_sheet([Row([Tile("a.jpg", RIGHT, "1", "✓ 0855\nc3 · 0.713")], "Query 3", "identity 0855")], "show.png")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from person_reid.basics import UserError
from person_reid.data.bank import load_image
from person_reid.show.style import ASKED, FAINT, picture

COLUMNS = 10  # tiles in a line, besides the lead
SHOWN = (256, 128)  # height and width in pixels to which every photograph is brought
# Inches.
WIDTH, HEIGHT, GAP, MARGIN, BETWEEN = 1.12, 2.24, 0.18, 0.15, 0.3
TITLE, SUBTITLE, ABOVE, CAPTION_LINE = 0.34, 0.3, 0.3, 0.235


@dataclass(frozen=True)
class Tile:
    """One framed photograph. image: its file, or pixels uint8 (H, W, 3); colour: of frame and caption; faint: the
    photograph nearly fades away; lines: heights, 0..1 from the top, at which it is cut across by a line."""

    image: Path | str | np.ndarray
    colour: str = ASKED
    above: str = ""
    below: str = ""
    faint: bool = False
    lines: Sequence[float] = ()


@dataclass(frozen=True)
class Row:
    """Tiles in as many lines as they need. lead: stands before them, apart."""

    tiles: Sequence[Tile]
    title: str = ""
    subtitle: str = ""
    lead: Tile | None = None

    @property
    def words(self):
        """Height of what is written above the tiles, and below them, in inches."""
        tiles = [*self.tiles, *([self.lead] if self.lead else [])]
        above = TITLE * bool(self.title) + SUBTITLE * bool(self.subtitle) + ABOVE * any(tile.above for tile in tiles)
        captions = max(tile.below.count("\n") + 1 if tile.below else 0 for tile in tiles)
        return above, CAPTION_LINE * captions

    def height(self, columns):
        """In inches: titles stand once, captions below every line of tiles."""
        above, below = self.words
        lines = max(1, -(-len(self.tiles) // columns))
        numbers = ABOVE * any(tile.above for tile in self.tiles)
        return above + lines * (HEIGHT + below + GAP) + (lines - 1) * numbers


def draw_sheet(rows, save, dark=False):
    """Draw Rows below one another to an image file.

    Raises UserError for an image that cannot be read and for a file type that cannot be written.
    """
    columns = min(COLUMNS, max(1, *(len(row.tiles) for row in rows)))
    indent = (WIDTH + 2 * GAP) if any(row.lead for row in rows) else 0
    width = max(indent + columns * (WIDTH + GAP) + MARGIN, 6)
    height = sum(row.height(columns) + BETWEEN * bool(row.title) for row in rows) + MARGIN
    with picture(save, width, height, dark, layout="none") as figure:
        page = _Page(figure, width, height)
        top = MARGIN - BETWEEN * bool(rows[0].title)
        for row in rows:
            top += BETWEEN * bool(row.title)
            _draw_row(page, row, top, columns, indent)
            top += row.height(columns)


@dataclass(frozen=True)
class _Page:
    """A figure measured in inches from its upper left corner."""

    figure: Figure
    width: float
    height: float

    def text(self, left, top, words, **style):
        self.figure.text(left / self.width, 1 - top / self.height, words, va="top", **style)

    def axes(self, left, top):
        bottom = 1 - (top + HEIGHT) / self.height
        return self.figure.add_axes((left / self.width, bottom, WIDTH / self.width, HEIGHT / self.height))


def _draw_row(page, row, top, columns, indent):
    if row.title:
        page.text(MARGIN, top, row.title, fontsize=17, fontweight="bold")
        top += TITLE
    if row.subtitle:
        page.text(MARGIN, top, row.subtitle, fontsize=13, color=FAINT)
        top += SUBTITLE
    numbers = ABOVE * any(tile.above for tile in [*row.tiles, *([row.lead] if row.lead else [])])
    if row.lead:
        _draw_tile(page.axes(MARGIN, top + numbers), row.lead)
    for position, tile in enumerate(row.tiles):
        line, column = divmod(position, columns)
        down = numbers + line * (numbers + HEIGHT + row.words[1] + GAP)
        _draw_tile(page.axes(MARGIN + indent + column * (WIDTH + GAP), top + down), tile)


def _draw_tile(axes, tile):
    axes.imshow(pixels_of(tile.image), aspect="auto", interpolation="lanczos", alpha=0.3 if tile.faint else 1)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.set_title(tile.above, fontsize=13, fontweight="normal", loc="center", color=FAINT, pad=6)
    axes.set_xlabel(tile.below, fontsize=13, color=tile.colour, labelpad=6, linespacing=1.25)
    for height in tile.lines:
        axes.axhline(height * axes.get_ylim()[0], color="white", linewidth=1.2)
    for spine in axes.spines.values():
        spine.set(visible=True, edgecolor=tile.colour, linewidth=4.5)


def pixels_of(image):
    """uint8 (256, 128, 3) of a file, or an array as it is. Raises UserError for a file that cannot be read."""
    if isinstance(image, np.ndarray):
        return image
    try:
        return load_image(image, *SHOWN)
    except Exception as error:  # decoders fail in many ways, and every failure means the same here
        raise UserError(f"{image}: not a readable image ({error}).") from None
