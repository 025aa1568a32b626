"""Link the tracks of several cameras into people: average linkage with cannot-link pairs.

found = link_tracks(features, cameras, starts, ends, threshold=0.7)
found.labels                      # (T,): 0, 1, … for the people, in the order of appearance

All pairs of tracks are in memory: 10,000 tracks take 1.4 GB. A Stay is a track as pages and
pictures show it.
"""

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from person_reid.arrays import (
    Labels,
    as_array,
    as_features,
    check_lengths,
    in_a_row,
    names_or_numbers,
    real_number,
)
from person_reid.data.own.csv_tables import read_table
from person_reid.errors import UserError
from person_reid.retrieval.clusters import jaccard_graph
from person_reid.retrieval.normalization import level_cameras
from person_reid.retrieval.similarity import Features, Floats
from person_reid.retrieval.thresholds import accepts
from person_reid.retrieval.track_features import USUAL, TrackCosines
from person_reid.text import composed

log = logging.getLogger(__name__)
TrackPairs = Iterable[tuple[int, int]]
Travel = Mapping[tuple[str, str], float]  # seconds between two cameras, in either direction
Apart = npt.NDArray[np.bool_]  # (T, T), symmetric: whether two tracks are two people
Merge = tuple[float, int, int]  # the mean cosine between two groups, and a track of each
TRAVEL_COLUMNS = ("from", "to", "seconds")
ALL = 0.999  # a Jaccard distance; pairs beyond it share nothing
NEIGHBOURS = 4  # neighbours per track that are compared
MANY_TRACKS = 200  # tracks at which neighbours have half their full weight
SHARED = 0.15  # similarity of neighbours at the threshold
CERTAIN = 1e30  # replaces a cosine; a mean that contains it is above 1
NOBODY, DOUBTED = -1, -2  # in place of a person: a user said that it is not one, or it may not be
DOUBTFUL = 0.05  # a link with a lower margin is doubtful
# For how long a camera may track a person twice, in seconds and as a share of the shorter track
HANDOVER, HANDOVER_SHARE = 1.0, 0.5
# The ranges of counts contained the truth in nine of ten draws, see docs/accuracy.md.
UNSURE = 0.1  # by how much the threshold may be wrong
FEWER, MORE_HERE, MORE_IN_ALL = 0.9, 1.15, 1.3  # factors on the counts at the ends of a range


@dataclass(frozen=True)
class People:
    """The people shown on T tracks.

    labels: (T,), 0, 1, … in order of appearance.
    threshold: the lowest mean cosine at which two groups of tracks were linked.
    cosines: the similarity of tracks. measured: whether `cosines` or the threshold was given.
    margins: (T,), how certain the link of each track is: its mean cosine with the person's other
        tracks, minus the threshold or its mean cosine with the most similar other possible person,
        whichever is larger. For a single track, it is the threshold minus the latter, and infinite
        if no other person is possible. A link with a small or negative margin is doubtful.
    nearest: (T,), the label of that other person, or -1.
    fewest, most: (T,), the labels if the threshold were lower or higher by UNSURE. `labels` never
        divides a group of `most`, and `fewest` never divides a group of `labels`.
    """

    labels: Labels
    threshold: float
    cosines: TrackCosines
    margins: Floats
    nearest: Labels
    fewest: Labels
    most: Labels
    measured: bool

    def count(self, places: Labels, cameras: int) -> tuple[int, int | None, int | None]:
        """Return the number of people on the tracks at `places`, and its range: fewest and most.

        cameras: the number of cameras. A person whose tracks are not linked across cameras counts
        twice, so the number for several cameras tends to be too high. Two people who look alike in
        one camera count once, so the number for one camera tends to be too low. For several
        cameras, the range is None unless the similarity of tracks was measured, as it would be
        wrong too often.
        """
        low, high, more = self.labels, self.most, MORE_HERE
        if cameras > 1 and not self.measured:
            return len({*self.labels[places].tolist()}), None, None
        if cameras > 1:
            low, high, more = self.fewest, self.labels, MORE_IN_ALL
        people, few, many = (len({*each[places].tolist()}) for each in (self.labels, low, high))
        return people, max(1, math.floor(FEWER * few)), math.ceil(more * many)

    def of(self, places: Labels) -> "People":
        """Return the People of the tracks at `places`; only these people can be nearest."""
        labels, nearest = self.labels[places], self.nearest[places]
        return replace(
            self,
            labels=labels,
            margins=self.margins[places],
            nearest=np.where(nearest <= labels.max(), nearest, -1),
            fewest=self.fewest[places],
            most=self.most[places],
        )


def link_tracks(
    features: npt.ArrayLike,
    cameras: npt.ArrayLike,
    starts: npt.ArrayLike,
    ends: npt.ArrayLike,
    threshold: float | None = None,
    travel: Travel | None = None,
    cosines: TrackCosines | None = None,
    same: TrackPairs = (),
    different: TrackPairs = (),
    twice: TrackPairs = (),
) -> People:
    """Return the People on T tracks; the order of the tracks does not matter.

    Groups of tracks are linked by average linkage, the most similar first, as long as the mean
    similarity between the tracks of two groups reaches the threshold and no two of these tracks are
    known to show different people: see two_people. level_cameras adjusts the features, and
    compare_tracks defines the similarity.

    features: (T, D). cameras: (T,), numbers or names, "" if unknown. starts, ends: (T,), seconds of
    the first and of the last box; NaN if the time is unknown.
    threshold: a cosine; by default, it follows from `cosines` for the remaining number of groups.
    travel: {(camera, camera): the minimum seconds between leaving one camera and appearing in the
        other}.
    cosines: the similarity of tracks with this network, by default USUAL; it is corrected for these
        tracks.
    same, different: pairs of tracks that a user has linked or separated. A pair in `same` is not
        linked if times or other pairs show that it cannot be one person.
    twice: pairs that may be one person although they overlap in time.

    Sokal and Michener, A Statistical Method for Evaluating Systematic Relationships, 1958;
    Davidson and Ravi, Agglomerative Hierarchical Clustering with Constraints, PKDD 2005.
    """
    features, cameras = as_features(features, "features"), names_or_numbers(cameras, "cameras")
    starts, ends = _times(starts, "starts"), _times(ends, "ends")
    check_lengths(features=features, cameras=cameras, starts=starts, ends=ends)
    threshold = None if threshold is None else real_number(threshold, "threshold")
    order = np.lexsort([*features.T[::-1], ends, cameras, starts])  # breaks ties consistently
    place = np.argsort(order)
    cameras = cameras[order]
    features = level_cameras(features[order], cameras)
    similar, share = compare_tracks(features)
    measured = threshold is not None or cosines is not None
    cosines = (cosines or USUAL).corrected(features)
    apart = two_people(cameras, starts[order], ends[order], travel)
    wanted = similar.copy()
    for i, j in same:
        wanted[place[i], place[j]] = wanted[place[j], place[i]] = CERTAIN
    for i, j in twice:
        apart[place[i], place[j]] = apart[place[j], place[i]] = False
    for i, j in different:
        apart[place[i], place[j]] = apart[place[j], place[i]] = True
    merges = list(_merges(wanted, apart))

    def until(more: float) -> tuple[Labels, float]:
        """Return the groups, and the cosine at which merging ends: the threshold plus `more`."""
        for done in range(len(merges) + 1):
            groups = len(features) - done
            cosine = more + (cosines.threshold(groups) if threshold is None else threshold)
            limit = (1 - share) * cosine + share * SHARED
            if done == len(merges) or not accepts(limit, merges[done][0]):
                return _linked(len(features), merges[:done]), cosine
        raise AssertionError("the last limit ends the loop")

    (labels, cosine), (fewest, _), (most, _) = map(until, (0, -UNSURE, UNSURE))
    limit = (1 - share) * cosine + share * SHARED
    margins, nearest = _margins(similar, labels, apart, limit)
    everybody = People(
        labels=labels,
        threshold=cosine,
        cosines=cosines,
        margins=margins,
        nearest=nearest,
        fewest=fewest,
        most=most,
        measured=measured,
    )
    return everybody.of(place)


def _times(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    """Return seconds (T,), with NaN for unknown times. Raises UserError for infinite values."""
    times = in_a_row(as_array(values, name).astype(np.float64, copy=False), name)
    if np.isinf(times).any():
        raise UserError(f"{name}: expected seconds, or NaN for an unknown time, found infinity.")
    return times


def compare_tracks(features: Features) -> tuple[Floats, float]:
    """Return similarities (T, T) of unit-length features, and the weight w of neighbours.

        s(i, j) = (1 − w) cos(i, j) + w (1 − d(i, j)),   w = T² / 2 (T² + 200²)

    d: see jaccard_graph. If there are few tracks, all have the same neighbours, so w grows with T.

    Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017, eq. 12.
    """
    count, similar = len(features), features @ features.T
    share = 0.5 * count**2 / (count**2 + MANY_TRACKS**2)
    shared = jaccard_graph(features, radius=ALL, k1=NEIGHBOURS, k2=NEIGHBOURS // 2)
    similar *= 1 - share
    rows = np.repeat(np.arange(count), np.diff(shared.indptr))
    similar[rows, shared.indices] += share * (1 - shared.data)
    return similar, share


def two_people(
    cameras: npt.ArrayLike,
    starts: npt.ArrayLike,
    ends: npt.ArrayLike,
    travel: Travel | None = None,
    rows: slice = slice(None),
) -> Apart:
    """Return which pairs of tracks must show different people, as booleans (T, T) or their `rows`.

    Two tracks of one camera are two people if they overlap in time for longer than HANDOVER or
    HANDOVER_SHARE of the shorter one. Where people meet, a tracker may begin a new track of a
    person just before the old one ends. Tracks of two cameras are two people if less time passes
    between them than a person needs from one camera to the other, and therefore also if they
    overlap. Pairs with an unknown time are never included. For the parameters, see link_tracks.
    """
    names, which = np.unique(np.asarray(cameras).astype(str), return_inverse=True)
    least = np.full((len(names), len(names)), -np.inf)
    for pair, seconds in (travel or {}).items():
        i, j = (np.flatnonzero(names == name) for name in pair)
        least[i, j] = least[j, i] = seconds
    # Two tracks of a single moment share it. Some processors round smaller numbers than this to 0.
    np.fill_diagonal(least, np.finfo(np.float64).tiny)
    starts, ends = (np.asarray(times, np.float64) for times in (starts, ends))
    wanted, lengths = np.arange(len(starts))[rows], ends - starts
    apart = np.empty((len(wanted), len(starts)), np.bool_)
    for row, i in zip(apart, wanted, strict=True):
        pauses = np.maximum(starts[i] - ends, starts - ends[i])
        handover = np.minimum(HANDOVER, HANDOVER_SHARE * np.minimum(lengths[i], lengths))
        row[:] = pauses < least[which[i], which] - handover * (which == which[i])
        row[i] = False
    return apart


def read_travel(file: Path, cameras: Collection[str]) -> dict[tuple[str, str], float]:
    """Read the minimum seconds between cameras from a table with columns `from`, `to`, `seconds`.

    A line applies in both directions. Lines about other cameras are skipped and logged. Raises
    UserError if no line is left, or for an invalid line, which it names.
    """
    found: dict[tuple[str, str], float] = {}
    spellings = {composed(camera): camera for camera in cameras}
    for line, row in read_table(file, TRAVEL_COLUMNS):
        names = (row["from"], row["to"])
        first, second = sorted(spellings.get(composed(name), name) for name in names)
        if not first or first == second:
            raise UserError(f"{file}, line {line}: expected two cameras in from and to.")
        try:
            seconds = float(row["seconds"])
        except ValueError:
            seconds = np.nan
        if not 0 <= seconds < np.inf:
            raise UserError(
                f"{file}, line {line}: seconds {row['seconds']!r}: expected a number, such as 12.5."
            )
        if (known := found.setdefault((first, second), seconds)) != seconds:
            raise UserError(f"{file}, line {line}: another line gives {known:g} for this pair.")
    if unknown := sorted(set().union(*found) - set(cameras)):
        log.warning("%s: no track is from the cameras %s.", file, ", ".join(unknown))
    if not (here := {pair: found[pair] for pair in found if set(cameras).issuperset(pair)}):
        raise UserError(
            f"{file}: none of its pairs is of two cameras with tracks: "
            f"{', '.join(sorted(cameras))}. Write their names into from and to."
        )
    return here


def _merges(cosines: Floats, apart: Apart) -> Iterator[Merge]:
    """Yield the groups of tracks to merge, the most similar first, until no two can be merged.

    cosines: (T, T), overwritten: row i becomes the mean cosines of the group that track i
    represents. A mean with -∞ is -∞, so a group inherits the exclusions of its tracks. A mean is
    never above both of its values, so merging two groups gives no other group a nearer neighbour.
    Müllner, Modern Hierarchical, Agglomerative Clustering Algorithms, 2011, section 3.1.
    """
    cosines[apart] = -np.inf
    np.fill_diagonal(cosines, -np.inf)
    sizes = np.ones(len(cosines), np.float32)
    nearest, best = cosines.argmax(axis=1), cosines.max(axis=1)
    while best[i := int(best.argmax())] > -np.inf:
        j = int(nearest[i])
        yield float(best[i]), i, j
        cosines[i] = (sizes[i] * cosines[i] + sizes[j] * cosines[j]) / (sizes[i] + sizes[j])
        cosines[i, i], cosines[j] = -np.inf, -np.inf
        cosines[:, i], cosines[:, j] = cosines[i], -np.inf
        sizes[i] += sizes[j]
        stale = np.flatnonzero((nearest == i) | (nearest == j))  # including i and j
        nearest[stale], best[stale] = cosines[stale].argmax(axis=1), cosines[stale].max(axis=1)


def _linked(count: int, merges: Sequence[Merge]) -> Labels:
    """Return the groups (T,) of `count` tracks, numbered in the order of their first tracks."""
    pairs = np.array([pair for _, *pair in merges], np.int64).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(pairs)), pairs.T), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _means(similar: Floats, labels: Labels) -> tuple[Floats, Floats]:
    """Return each image's mean similarity to the rest of its group and to each of the other groups.

    The first is (N,), NaN in a group of one image. The second is (N, C), -∞ for the image's own
    group.
    """
    rows, sizes = np.arange(len(labels)), np.bincount(labels)
    member = sparse.csr_array((np.ones(len(rows), np.float32), (labels, rows)))
    sums = (member @ similar).T
    own = (sums[rows, labels] - 1) / np.maximum(sizes[labels] - 1, 1)
    own[sizes[labels] == 1] = np.nan
    others = sums / sizes
    others[rows, labels] = -np.inf
    return own, others


def _margins(
    similar: Floats, labels: Labels, apart: Apart, threshold: float
) -> tuple[Floats, Labels]:
    """Return the margins (T,) and the nearest people (T,); see People."""
    own, others = _means(similar, labels)
    order = np.argsort(labels, kind="stable")
    begins = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    others[np.logical_or.reduceat(apart[:, order], begins, axis=1)] = -np.inf
    most = others.max(axis=1)
    linked = np.minimum(own - threshold, own - most)
    margins = np.where(np.isnan(own), threshold - most, linked).astype(np.float32)
    return margins, np.where(np.isfinite(most), others.argmax(axis=1), -1)


@dataclass(frozen=True)
class Stay:
    """A track: a person in front of a camera.

    person: from 0, NOBODY, or DOUBTED. first, last: seconds since the start.
    name, times: descriptions of the track, and of its beginning and end. boxes: the number of
    boxes. margin: see People; None if the track has no image, or if no other person is possible.
    nearest: another possible person, or -1 if there is none. images: the indices of its images
    among the images of a page. rows: the cells of its images in a list. known: the name that a user
    gave the person, or "". given: whether a user has identified the track. twice: other tracks that
    overlap with it in time and may show the same person. apart: other tracks that overlap with it
    and cannot show the same person.
    """

    person: int
    camera: str
    first: float
    last: float
    name: str = ""
    times: tuple[str, str] = ("", "")
    boxes: int = 0
    margin: float | None = None
    nearest: int = -1
    images: tuple[int, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    known: str = ""
    given: bool = False
    twice: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()
