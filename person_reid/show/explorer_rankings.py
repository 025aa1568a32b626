"""Rank the gallery for the explorer.

It shows the metrics of evaluate.py, the first images of every query, and all matches.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.data.layout import JUNK
from person_reid.retrieval.metrics import (
    CAMERAS_IGNORED,
    Metrics,
    find_pairs,
    rank_matches,
    summarize,
    unusual,
)
from person_reid.retrieval.neighbours import top_k
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import CHUNK_BYTES, CosineScores, Features, on_cpu, unit_rows

LISTED = 60  # gallery images of each query, junk included
PAIRS_AT_ONCE = 4096  # multiplied at a time


class RankedGallery(NamedTuple):
    """A ranking of the gallery for every query.

    Similarities are cosines of the features, whatever ranked the images.

    name: how the gallery was ranked.
    metrics: its quality.
    listed, similarities: (Q, L) positions in the gallery of the first images, junk included, and
        their similarities.
    matches, ranks, match_similarities: (M,) all matches, sorted by query and rank: positions in the
        gallery, 0-based ranks among the valid gallery, and similarities. Query q has
        metrics.num_matches[q] of them.
    """

    name: str
    metrics: Metrics
    listed: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]
    matches: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    match_similarities: npt.NDArray[np.float32]


def rank(
    name: str,
    query: FeatureSet,
    gallery: FeatureSet,
    scores: Callable[[int, int], Any] | None = None,
    ignore_cameras: bool = False,
) -> RankedGallery:
    """Return the Ranking by these scores, by default by the cosines of the features.

    scores, ignore_cameras: as for metrics.evaluate. Raises UserError as metrics.evaluate does.
    """
    scores = scores or CosineScores(query.features, gallery.features)
    shape, width = (len(query), len(gallery)), min(LISTED, len(gallery))
    listed = np.empty((len(query), width), np.int64)

    def watched(start: int, stop: int) -> Any:
        chunk = scores(start, stop)
        listed[start:stop] = top_k(on_cpu(chunk), width)
        return chunk

    watched.budget = getattr(scores, "budget", CHUNK_BYTES)  # type: ignore[attr-defined]
    (queries, images), junk = find_pairs(query, gallery, ignore_cameras)
    ranks = rank_matches(watched, shape, (queries, images), junk, gallery.labels == JUNK)
    words = unusual({CAMERAS_IGNORED: ignore_cameras})
    metrics = summarize(ranks, queries, query.labels, len(gallery), protocol=words)
    order = np.lexsort((ranks, queries))
    rows = np.repeat(np.arange(len(query)), width)
    return RankedGallery(
        name,
        metrics,
        listed,
        cosines(query.features, gallery.features, rows, listed.ravel()).reshape(shape[0], width),
        images[order],
        ranks[order],
        cosines(query.features, gallery.features, queries, images[order]),
    )


def cosines(
    query: Features, gallery: Features, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the cosines (P,) of pairs of query (Q, D) and gallery (G, D)."""
    query, gallery = unit_rows(query), unit_rows(gallery)
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        found[part] = np.einsum("pd,pd->p", query[rows[part]], gallery[columns[part]])
    return found
