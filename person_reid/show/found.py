"""Draw the answers of a search: each query, then the images of the index nearest to it.

draw_found(queries, answers, "found.png", threshold=0.7)
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from person_reid.config.times import written
from person_reid.data.images.image_files import exif_time, file_time
from person_reid.retrieval.thresholds import DIGITS, accepts
from person_reid.show.sheet import OF_CAPTIONS, SheetRow, Tile, draw_sheet, file_caption
from person_reid.show.style import ACCEPTED, ASKED, FAINT, SCREEN, Look, fitted
from person_reid.text import printable

MOST_ON_SHEET = 20  # queries on a sheet


def draw_found(
    queries: Iterable[str | Path],
    answers: Iterable[Sequence[Any]],
    save: str | Path,
    threshold: float = -1.0,
    look: Look = SCREEN,
) -> None:
    """Draw the first MOST_ON_SHEET queries and their answers to an image file, a row a query.

    The answers are lists of Found.

    With a threshold, images at least that similar have a blue frame and the others are faded; a row
    without a blue one is an unknown person. An answer whose image cannot be read is a grey tile: an
    index outlives the images in it.
    Raises UserError for a query that cannot be read and for a file type that cannot be written.
    """
    pairs = list(zip(queries, answers, strict=True))[:MOST_ON_SHEET]
    draw_sheet([_row(query, found, threshold) for query, found in pairs], save, look)


def _row(query: str | Path, found: Sequence[Any], threshold: float) -> SheetRow:
    accepted = [accepts(threshold, match.similarity) for match in found]
    frame = {True: ASKED if threshold <= -1 else ACCEPTED, False: FAINT}
    tiles = [
        Tile(match.path, frame[fits], str(rank), _caption(match), not fits, optional=True)
        for rank, (match, fits) in enumerate(zip(found, accepted, strict=True), 1)
    ]
    words = f"known: {sum(accepted)} of {len(tiles)}" if any(accepted) else "nobody I know: none"
    subtitle = "" if threshold <= -1 else f"{words} at {threshold:.{DIGITS}f} or above"
    return SheetRow(tiles, Path(query).name, subtitle, lead=Tile(query, ASKED, "query"))


def _caption(match: Any) -> str:
    """Return similarity, file and, if they are known, camera and time, below one another.

    The time of the file stands in an index for an unknown time, and is not shown.
    """
    camera, time, path = match.about.camera, match.about.time, Path(match.path)
    time = None if time == file_time(path) and not exif_time(path) else time
    lines = [f"{match.similarity:.{DIGITS}f}", file_caption(path, lines=2)]
    lines += [fitted(printable(f"camera {camera}"), *OF_CAPTIONS)] if camera else []
    return "\n".join([*lines, *(written(time)[:19].split(" ") if time else [])])
