"""Which gallery images match a query, which are junk, and which pairs show strangers.

A match has the query's identity and another camera. Junk is neither right nor wrong: label -1, or
the query's identity in the query's own camera.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from person_reid.arrays import Integers
from person_reid.errors import UserError
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import positions

IndexPairs = tuple[Integers, Integers]  # query indices (P,) and gallery indices (P,)
Clothes = tuple[Integers, Integers]  # of the queries (Q,) and of the gallery (G,)


def find_pairs(
    query: FeatureSet,
    gallery: FeatureSet,
    ignore_cameras: bool = False,
    clothes: Clothes | None = None,
    same_clothes: bool = False,
) -> tuple[IndexPairs, IndexPairs]:
    """Return the (query, gallery) indices of all matches and of all junk pairs, sorted by query.

    ignore_cameras, clothes, same_clothes: see evaluate.
    Raises UserError as check_cameras does, unless the cameras are ignored.
    """
    if not ignore_cameras:
        check_cameras(query, gallery)
    order = np.argsort(gallery.labels, kind="stable")
    first, last = (
        np.searchsorted(gallery.labels[order], query.labels, side) for side in ("left", "right")
    )
    counts = np.where(query.labels == -1, 0, last - first)
    queries = np.repeat(np.arange(len(query)), counts)
    images = order[np.repeat(first, counts) + positions(counts)]
    match = np.full(len(queries), ignore_cameras)
    if not ignore_cameras:
        match = query.cameras[queries] != gallery.cameras[images]
    if clothes:
        match &= (clothes[0][queries] == clothes[1][images]) == same_clothes
    return (queries[match], images[match]), (queries[~match], images[~match])


def are_strangers(
    query: FeatureSet, gallery: FeatureSet, start: int, stop: int, ignore_cameras: bool = False
) -> npt.NDArray[np.bool_]:
    """Return which pairs show different people in different cameras, as booleans (stop - start, G).

    Junk has no identity; a distractor is another person. start, stop: the range of queries.
    ignore_cameras: also include pairs from one camera.
    """
    labels = query.labels[start:stop, None]
    strangers = (gallery.labels != labels) & (gallery.labels != -1) & (labels != -1)
    if not ignore_cameras:
        strangers &= gallery.cameras != query.cameras[start:stop, None]
    return strangers


def check_cameras(query: FeatureSet, gallery: FeatureSet) -> None:
    """Raise UserError if there are matches, but all images come from one camera.

    Every match is then junk.
    """
    cameras = np.concatenate([query.cameras, gallery.cameras])
    has_match = np.isin(query.labels[query.labels != -1], gallery.labels).any()
    if has_match and (cameras == cameras[0]).all():
        raise UserError(
            f"all images are of camera {cameras[0]}: a match in the query's own camera is junk, "
            "so every figure would be 0. If the cameras are unknown, count these matches: "
            "ignore_cameras of evaluate, evaluate.py, threshold.py, figures.py and explore.py."
        )
