"""Genuine and impostor scores of people and tracks, for measuring thresholds.

    found = person_similarities(query, gallery)      # as identify compares
    found = track_similarities(query, gallery)       # as tools/across.py compares

pair_similarities (retrieval/thresholds.py) does the same for pairs of images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from person_reid.data.file_names import names_in, tracklets_of
from person_reid.errors import UserError
from person_reid.gallery.identification import Named, person_scores
from person_reid.retrieval.normalization import level_cameras
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, chunks, unit_rows
from person_reid.retrieval.thresholds import PairSimilarities, histogram, roc
from person_reid.retrieval.track_features import merge_tracklets

FEWEST_KNOWN = 10  # the fewest people with several images that give a threshold
MOST_ASKED = 1000  # the most images of known people used for a threshold
IMAGES_AT_ONCE = 2000  # images of known people that are compared at once
Booleans = npt.NDArray[np.bool_]


def person_similarities(
    query: FeatureSet, gallery: FeatureSet, ignore_cameras: bool = False
) -> PairSimilarities:
    """Return the scores of each query against each person; see person_scores.

    A person is represented by the gallery images from other cameras than the query's. Distractors
    and junk, whose identity is unknown, are skipped.

    ignore_cameras: use all gallery images. Raises UserError if there is no genuine score or no
    impostor score.
    """
    query, gallery = map(_people, (query, gallery))
    parts = []
    for camera in [None] if ignore_cameras else np.unique(query.cameras).tolist():
        asked = query.labels >= 0 if camera is None else query.cameras == camera
        known = gallery.labels >= 0 if camera is None else gallery.cameras != camera
        if known.any():
            tracks = list(query.features[asked][:, None])
            names, scores = person_scores(tracks, _in_order(gallery.select(np.flatnonzero(known))))
            right = query.labels[asked][:, None] == np.array(names, np.int64)
            parts.append(_histograms(scores, right, np.ones_like(right)))
    return _summed(parts, "score of a query and a person known from other cameras")


def threshold_among(features: Features, names: Sequence[str]) -> float | None:
    """Return the equal-error threshold for identifying images of known people.

    An image's own person is represented by that person's other images. Returns None if fewer than
    FEWEST_KNOWN people have several images.

    features: (N, D), of unit length. names: one for each feature.
    """
    people, which, counts = np.unique(np.asarray(names), return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[which] > 1)
    if len(np.unique(which[several])) < FEWEST_KNOWN:
        return None
    asked = several[np.linspace(0, len(several) - 1, min(len(several), MOST_ASKED)).astype(int)]
    parts = range(0, len(names), IMAGES_AT_ONCE)
    images = ((names[i : i + IMAGES_AT_ONCE], features[i : i + IMAGES_AT_ONCE]) for i in parts)
    _, scores = person_scores(list(features[asked][:, None]), images)
    right = which[asked][:, None] == np.arange(len(people))
    for row, image in enumerate(asked.tolist()):
        rest = np.flatnonzero(which == which[image])
        own = features[rest[rest != image]]
        _, alone = person_scores([features[[image]]], [([""] * len(own), own)])
        scores[row, which[image]] = alone[0, 0]
    found = _histograms(scores, right, np.ones_like(right))
    return roc(found.genuine, found.impostor).equal_error()[1]


def _people(images: FeatureSet) -> FeatureSet:
    """Return the images that are neither junk nor distractors, with features of unit length."""
    people = images.select(np.flatnonzero(images.labels > 0))
    return replace(people, features=unit_rows(people.features))


def _in_order(images: FeatureSet) -> Iterator[Named]:
    """Yield the names and features of images in chunks, person by person."""
    order = np.argsort(images.labels, kind="stable")
    for start in range(0, len(order), IMAGES_AT_ONCE):
        part = images.select(order[start : start + IMAGES_AT_ONCE])
        yield part.labels.astype(str).tolist(), part.features


def track_similarities(
    query: FeatureSet,
    gallery: FeatureSet,
    ignore_cameras: bool = False,
) -> PairSimilarities:
    """Return the cosines of all pairs of tracks from different cameras, after level_cameras.

    The tracks come from the names of the images; see tracklets_of. Distractors and junk are
    skipped.

    ignore_cameras: also use pairs from one camera. Raises UserError if no image name contains a
    track, or if there is no genuine pair or no impostor pair.
    """
    tracks = _tracks(query, gallery)
    features = level_cameras(tracks.features, tracks.cameras)
    parts = []
    for start, stop in chunks((len(tracks), len(tracks))):
        counted = np.arange(start, stop)[:, None] != np.arange(len(tracks))
        if not ignore_cameras:
            counted &= tracks.cameras[start:stop, None] != tracks.cameras
        right = tracks.labels[start:stop, None] == tracks.labels
        parts.append(_histograms(features[start:stop] @ features.T, right, counted))
    found = _summed(parts, "pair of tracks from different cameras")
    found.genuine //= 2  # each pair was counted twice
    found.impostor //= 2
    return found


def _tracks(query: FeatureSet, gallery: FeatureSet) -> FeatureSet:
    """Return one feature for each track of the people in two FeatureSets."""
    paths = [*names_in(query.paths), *names_in(gallery.paths)]
    both = FeatureSet(
        np.concatenate([query.features, gallery.features]),
        np.concatenate([query.labels, gallery.labels]),
        np.concatenate([query.cameras, gallery.cameras]),
        paths,
    )
    people = _people(both)
    return merge_tracklets(people, tracklets_of(names_in(people.paths)))


def _histograms(scores: Features, right: Booleans, counted: Booleans) -> PairSimilarities:
    """Return histograms of the `counted` scores (Q, P), split by whether they are `right`."""
    genuine = np.where(right & counted, scores, -np.inf)
    impostor = np.where(~right & counted, scores, -np.inf)
    lowest = np.where(right & counted, scores, np.inf).min(axis=1, initial=np.inf)
    return PairSimilarities(
        histogram(genuine),
        histogram(impostor),
        histogram(lowest[lowest < np.inf]),
        histogram(impostor.max(axis=1, initial=-np.inf)),
    )


def _summed(parts: list[PairSimilarities], what: str) -> PairSimilarities:
    """Return the sums of histograms. Raises UserError if genuine or impostor scores are missing."""
    kinds = ("genuine", "impostor", "hardest_genuine", "hardest_impostor")
    counts = {kind: sum((getattr(part, kind) for part in parts), 0) for kind in kinds}
    for kind in kinds[:2]:
        if not np.any(counts[kind]):
            raise UserError(f"no {kind} {what}; a threshold needs both kinds.")
    return PairSimilarities(**counts)
