"""Identify people by comparing them with the known people in a gallery.

    found = identify(index, embed(["someone.jpg"]), threshold=0.8)
    found[0].identity                   # "Anna", or None for a stranger

An image has an identity if it was enrolled, or if a table or a corrected list gives it one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.arrays import as_float32, real_number
from person_reid.errors import UserError
from person_reid.gallery.checks import checked_features
from person_reid.gallery.gallery import ReadGallery, nobody_has
from person_reid.gallery.metadata import EVERYTHING, Filter
from person_reid.retrieval.similarity import (
    CosineScores,
    Features,
    Floats,
    unit_rows_or_zeros,
)
from person_reid.retrieval.thresholds import accepts
from person_reid.text import as_command

Named = tuple[Sequence[str], Features]  # the person in each of n images, and their features (n, D)


@dataclass(frozen=True)
class Identification:
    """The possible identity of a person.

    nearest, score: the known person with the highest score, and this score, from -1 to 1.
    second, margin: the next person, and how much lower that person's score is; None if only one
        person is known.
    known: whether the score reaches the threshold, or None if no threshold was given.
    """

    nearest: str
    score: float
    second: str | None = None
    margin: float | None = None
    known: bool | None = None

    @property
    def identity(self) -> str | None:
        """The name, or None for a stranger.

        Without a threshold, no name is given, because even a stranger has a nearest person.
        """
        return self.nearest if self.known else None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; a stranger has no identity."""
        answer: dict[str, Any] = {"known": self.known}
        if self.known:
            answer["identity"] = self.nearest
        answer |= {"nearest": self.nearest, "score": self.score}
        if self.second:
            answer |= {"second": self.second, "margin": self.margin}
        return answer


def identify(
    gallery: ReadGallery,
    people: Iterable[npt.ArrayLike],
    threshold: float | None = None,
    among: Filter = EVERYTHING,
) -> list[Identification]:
    """Return the Identification of each person.

    people: features (Q, D) of one image per person, or a list with the features (n, D) of all
        images of each person, such as a track.
    threshold: the lowest score of a known person. None gives no name, only the nearest person.
    among: compare only with these images. For the score, see person_scores.

    Raises UserError if no person is known, if no image of a known person passes the filter, or if
    the gallery cannot compare the features with its own.

    >>> identify(index, embed(["someone.jpg"]), threshold=0.8)[0].identity
    'Anna'
    """
    threshold = None if threshold is None else real_number(threshold, "threshold")
    tracks = _tracks(people, f"{gallery.path}: people")
    if not tracks:
        return []
    features = checked_features(np.concatenate(tracks), gallery.width(), gallery.path)
    ends = np.cumsum([len(track) for track in tracks])[:-1]
    names, scores = person_scores(np.split(features, ends), known_people(gallery, among))
    return [_identification(names, row, threshold) for row in scores.tolist()]


def _tracks(people: Iterable[npt.ArrayLike], name: str) -> list[Features]:
    """Return the features (n, D) of each person. Raises UserError for other shapes."""
    try:
        tracks = [np.atleast_2d(as_float32(each, name)) for each in people]
    except TypeError:  # not iterable
        tracks = [as_float32(people, name)]
    if wrong := [track.shape for track in tracks if track.ndim != 2 or not track.size]:
        raise UserError(f"{name}: features of shape {wrong[0]}; expected (images, dimension).")
    if len({track.shape[1] for track in tracks}) > 1:
        raise UserError(f"{name}: features of different widths; expected those of one network.")
    return tracks


def _identification(
    names: Sequence[str], scores: Sequence[float], threshold: float | None
) -> Identification:
    """Return the Identification of a person from that person's scores against all known people."""
    best, *others = sorted(zip(scores, names, strict=True), key=lambda each: -each[0])[:2]
    score, nearest = best
    known = None if threshold is None else accepts(threshold, score)
    if not others:
        return Identification(nearest, score, known=known)
    return Identification(nearest, score, others[0][1], score - others[0][0], known)


def known_people(gallery: ReadGallery, among: Filter = EVERYTHING) -> Iterator[Named]:
    """Return, in chunks, the images in a gallery that have an identity and pass a filter.

    Raises UserError, at the call itself, if a filter admits no such image.
    """
    entries = gallery.entries(replace(among, has_identity=True))
    first = next(entries, None)
    if first is None and among != EVERYTHING:
        explained = ["no image of a known person passes the filters.", *nobody_has(gallery, among)]
        raise UserError(f"{gallery.path}: {' '.join(explained)}")
    every = chain([first] if first else [], entries)
    return (([about.identity or "" for _, about in images], found) for images, found in every)


def person_scores(tracks: Sequence[Features], images: Iterable[Named]) -> tuple[list[str], Floats]:
    """Return the names of P people and the scores (T, P) of T tracks.

    A score is the mean of two cosines, so it lies between -1 and 1 but is not a cosine itself.
    benchmarks/accuracy/people.py measures it.

        s(Q, G) = (max q·g + q̄·ḡ) / 2    with q̄ = Σq / ‖Σq‖ and ḡ = Σg / ‖Σg‖

    Q: the features q of a track's images. G: the features g of a person's images.
    """
    names, best, mean = best_and_mean(tracks, images)
    return names, (best + mean) * np.float32(0.5)


def best_and_mean(
    tracks: Sequence[Features], images: Iterable[Named]
) -> tuple[list[str], Floats, Floats]:
    """Return the sorted names of P people, and two arrays of cosines (T, P), by track and person.

    The first compares their most similar images, max q·g; the second, their means, q̄·ḡ.

    tracks: for each of T unknown people, the features (n, D) of the images. images: images of known
    people, in chunks.
    Raises UserError if no person is known.
    """
    queries = np.concatenate(tracks)
    starts = np.cumsum([0, *map(len, tracks[:-1])])
    best: dict[str, Floats] = {}
    sums: dict[str, Features] = {}
    for identities, features in images:
        order = np.argsort(identities, kind="stable")
        features = features[order]
        names, begins = np.unique(np.asarray(identities)[order], return_index=True)
        cosines = CosineScores(queries, features)(0, len(queries))
        highest = np.maximum.reduceat(np.maximum.reduceat(cosines, starts, axis=0), begins, axis=1)
        totals = np.add.reduceat(features, begins, axis=0)
        for name, column, total in zip(names.tolist(), highest.T, totals, strict=True):
            best[name] = np.maximum(best.get(name, column), column)
            sums[name] = sums.get(name, 0) + total
    if not (people := sorted(best)):
        raise UserError(
            "nobody is known yet. "
            f"Enroll people: {as_command('tools/search.py')} enroll NAME IMAGES --index FILE"
        )
    of_people = unit_rows_or_zeros(np.stack([sums[name] for name in people]))
    of_tracks = unit_rows_or_zeros(np.add.reduceat(queries, starts, axis=0))
    return people, np.stack([best[name] for name in people], axis=1), of_tracks @ of_people.T
