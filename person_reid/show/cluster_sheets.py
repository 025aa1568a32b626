"""Draw sheets of clusters of unlabelled images: the largest, the most doubtful, and outliers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from person_reid.retrieval.clusters import Labels, margins
from person_reid.retrieval.similarity import Features
from person_reid.show.sheet import TILES_OF_LINE, SheetRow, Tile, draw_sheet, file_caption
from person_reid.show.style import SCREEN, Look
from person_reid.text import counted

CLUSTERS_OF_KIND = 4  # clusters of a kind


def draw_clusters(
    paths: Sequence[Path],
    features: Features,
    cameras: Sequence[str],
    clusters: Labels,
    save: str | Path,
    names: Sequence[str] | None = None,
    look: Look = SCREEN,
) -> None:
    """Draw clusters to an image file, the images of each in the order of their cameras.

    paths: N images. features: (N, D). cameras: N names, "" if unknown. clusters: (N,), -1 for
    outliers. names: what to call the clusters, by default "cluster 0" and so on. An image that
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
        _row(
            f"{kind}: {names[cluster] if names else f'cluster {cluster}'}",
            np.flatnonzero(clusters == cluster),
            paths,
            seen_by,
            f"margin {means[cluster]:.2f}: nearer by so much to its own mean than to the next",
        )
        for kind, shown in (("Largest", largest), ("Most doubtful", doubtful))
        for cluster in shown.tolist()
    ]
    if (clusters < 0).any():
        rows.append(_row("Outliers", np.flatnonzero(clusters < 0), paths, seen_by))
    draw_sheet(rows, save, look)


def _row(
    title: str,
    members: Labels,
    paths: Sequence[Path],
    cameras: npt.NDArray[np.str_],
    remark: str = "",
) -> SheetRow:
    """Return a row of at most TILES_OF_LINE members, spread evenly over their cameras' order."""
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
