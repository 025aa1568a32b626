"""Sheets of images: the answers to a search, doubtful labels, and clusters of unlabelled images.

draw_found(queries, answers, "found.png", threshold=0.7)
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.config.times import written
from person_reid.data.images.image_files import exif_time, file_time
from person_reid.data.layout import DISTRACTOR
from person_reid.data.own.labels import NUMBERS, words_beside
from person_reid.retrieval.clusters import Labels, margins
from person_reid.retrieval.label_errors import LabelErrors
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.retrieval.thresholds import DIGITS, accepts
from person_reid.show.sheet import (
    OF_CAPTIONS,
    TILES_OF_LINE,
    SheetRow,
    Tile,
    draw_sheet,
    file_caption,
)
from person_reid.show.style import ACCEPTED, ASKED, FAINT, RIGHT, SCREEN, WRONG, Look, fitted
from person_reid.text import counted, printable

MOST_ON_SHEET = 20  # queries per sheet
IMAGES_OF_IDENTITY = TILES_OF_LINE // 2  # images per identity
CLUSTERS_OF_KIND = 4  # clusters per kind


def draw_found(
    queries: Iterable[str | Path],
    answers: Iterable[Sequence[Any]],
    save: str | Path,
    threshold: float = -1.0,
    look: Look = SCREEN,
) -> None:
    """Draw the first MOST_ON_SHEET queries and their answers in an image file, one query per row.

    The answers are lists of Found.

    With a threshold, images that are at least that similar have a blue frame, and the others are
    faded. A row without a blue frame shows an unknown person. An answer whose image cannot be read
    is a grey tile, because an index may outlive its images.
    Raises UserError for a query that cannot be read, or a file type that cannot be written.
    """
    pairs = list(zip(queries, answers, strict=True))[:MOST_ON_SHEET]
    draw_sheet([_answer_row(query, found, threshold) for query, found in pairs], save, look)


def _answer_row(query: str | Path, found: Sequence[Any], threshold: float) -> SheetRow:
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
    """Return the similarity, the file and, if known, camera and time, one per line.

    If the time of an image is unknown, the index stores the time of its file, which is not shown.
    """
    camera, time, path = match.about.camera, match.about.time, Path(match.path)
    time = None if time == file_time(path) and not exif_time(path) else time
    lines = [f"{match.similarity:.{DIGITS}f}", file_caption(path, lines=2)]
    lines += [fitted(printable(f"camera {camera}"), *OF_CAPTIONS)] if camera else []
    return "\n".join([*lines, *(written(time)[:19].split(" ") if time else [])])


def draw_doubtful(
    paths: Sequence[Path],
    features: Features,
    labels: Labels,
    cameras: Labels,
    found: LabelErrors,
    shown: Sequence[int],
    save: str | Path,
    look: Look = SCREEN,
) -> None:
    """Write an image file with a row for each of the images at the positions `shown`.

    paths, features, labels, cameras: of N images. found: their LabelErrors. Red frames mark the
    nearest images with the label, and green frames the nearest images with the proposed identity.
    If that identity has no images, grey frames mark the nearest images of other identities.
    """
    units, words = unit_rows(features), words_beside(paths[0]) if len(paths) else NUMBERS
    rows = []
    for image in shown:
        similarities = units @ units[image]
        own, new = labels[image], found.identity[image]
        of_new, frame = (labels == new, RIGHT) if new in labels else (labels != own, ASKED)
        tiles = []
        for others, colour in (((labels == own) & (own != DISTRACTOR), WRONG), (of_new, frame)):
            chosen = np.setdiff1d(np.flatnonzero(others), image)
            nearest = chosen[np.argsort(-similarities[chosen], kind="stable")[:IMAGES_OF_IDENTITY]]
            tiles += [
                Tile(
                    paths[i],
                    colour,
                    words.identity(int(labels[i])),
                    f"{words.camera_mark(int(cameras[i]))} · {similarities[i]:.3f}",
                )
                for i in nearest
            ]
        people = " → ".join(words.table.get("identity", {}).get(int(n), str(n)) for n in (own, new))
        title = f"{found.proposal[image]} {people}, probability {found.probability[image]:.2f}"
        lead = Tile(paths[image], ASKED, "image", words.camera_mark(int(cameras[image])))
        rows.append(SheetRow(tiles, title, paths[image].name, lead))
    draw_sheet(rows, save, look)


def draw_clusters(
    paths: Sequence[Path],
    features: Features,
    cameras: Sequence[str],
    clusters: Labels,
    save: str | Path,
    names: Sequence[str] | None = None,
    look: Look = SCREEN,
) -> None:
    """Draw clusters in an image file, with the images of each cluster sorted by camera.

    paths: N images. features: (N, D). cameras: N names, "" if unknown. clusters: (N,), -1 for
    outliers. names: the names of the clusters, by default "cluster 0" and so on. An image that
    cannot be read is a grey tile.
    """
    sizes = np.bincount(clusters[clusters >= 0])
    if not len(sizes):
        return
    doubt, seen_by = margins(features, clusters), np.array(cameras)
    means = np.bincount(clusters[clusters >= 0], doubt[clusters >= 0]) / sizes
    largest = np.argsort(-sizes, kind="stable")[:CLUSTERS_OF_KIND]
    doubtful = np.setdiff1d(np.argsort(means, kind="stable"), largest, assume_unique=True)[
        :CLUSTERS_OF_KIND
    ]
    rows = [
        _cluster_row(
            f"{kind}: {names[cluster] if names else f'cluster {cluster}'}",
            np.flatnonzero(clusters == cluster),
            paths,
            seen_by,
            f"margin {means[cluster]:.2f}: how much nearer its own mean is than the next one",
        )
        for kind, shown in (("Largest", largest), ("Most doubtful", doubtful))
        for cluster in shown.tolist()
    ]
    if (clusters < 0).any():
        rows.append(_cluster_row("Outliers", np.flatnonzero(clusters < 0), paths, seen_by))
    draw_sheet(rows, save, look)


def _cluster_row(
    title: str,
    members: Labels,
    paths: Sequence[Path],
    cameras: npt.NDArray[np.str_],
    remark: str = "",
) -> SheetRow:
    """Return a row of at most TILES_OF_LINE of the members, evenly spaced, sorted by camera."""
    ordered = members[np.argsort(cameras[members], kind="stable")]
    shown = ordered[np.linspace(0, len(ordered) - 1, min(TILES_OF_LINE, len(ordered))).astype(int)]
    known = {camera for camera in cameras[members].tolist() if camera}
    tiles = [
        Tile(
            paths[i],
            above=f"camera {cameras[i]}" if cameras[i] else "",
            below=file_caption(paths[i]),
            optional=True,
        )
        for i in shown
    ]
    seen = counted(len(known), "camera") if known else ""
    return SheetRow(
        tiles, title, ", ".join(filter(None, [counted(len(members), "image"), seen, remark]))
    )
