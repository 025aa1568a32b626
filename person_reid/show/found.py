"""The answers of a search as a sheet: each query before what the index holds nearest to it.

draw_found(queries, answers, "found.png", threshold=0.7)
"""

from pathlib import Path

from person_reid.show.sheet import Row, Tile, draw_sheet
from person_reid.show.style import ASKED, RIGHT, WRONG

MOST_ROWS = 20  # queries on a sheet


def draw_found(queries, answers, save, threshold=-1.0):
    """Draw queries (paths) and their answers, a list of Found for each, one row a query, to an image file.

    What is less similar than the threshold is red and fades; where all is, the row says so. The first MOST_ROWS
    queries are drawn. Raises UserError for an image that cannot be read and for a file type that cannot be written.
    """
    pairs = list(zip(queries, answers, strict=True))[:MOST_ROWS]
    draw_sheet([_row(query, found, threshold) for query, found in pairs], save)


def _row(query, found, threshold):
    tiles = [
        Tile(match.path, RIGHT if match.similarity >= threshold else WRONG, str(rank), f"{match.similarity:.3f}",
             faint=match.similarity < threshold)
        for rank, match in enumerate(found, 1)
    ]  # fmt: skip
    if threshold <= -1:
        subtitle = ""
    elif found[0].similarity >= threshold:
        subtitle = f"known: {sum(not tile.faint for tile in tiles)} of {len(tiles)} from {threshold:.3f} on"
    else:
        subtitle = f"nobody I know: none from {threshold:.3f} on"
    return Row(tiles, Path(query).name, subtitle, lead=Tile(query, ASKED, "query"))
