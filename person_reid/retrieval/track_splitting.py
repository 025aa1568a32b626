"""Cut tracks where they begin to show another person, because the tracker confused two people.

    pieces = split_tracks(features, times, cameras)       # T arrays: 0, 0, 0, 1, 1
    limit = change_threshold(features, times, cameras)    # None for too few tracks

A track is divided into its two most different consecutive groups of images. It shows two people if
the images of the two groups are less similar than those within a group:

    agreement = mean cosine between the groups / mean cosine within the groups

If both groups show one person, the agreement is near 1, however noisy the features are. Both
pieces of a track that was cut are divided again. The cut minimises the sum of squares: Scott and
Knott, A Cluster Analysis Method for Grouping Means in the Analysis of Variance, 1974.

The limit needs no label. Two tracks in one camera at the same time are two people, so the beginning
of one and the end of the other form a changing track. At the limit, the share of tracks below it
equals the share of changing tracks above it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from person_reid.arrays import (
    Array,
    Labels,
    as_array,
    as_features,
    check_lengths,
    in_a_row,
    names_or_numbers,
)
from person_reid.retrieval.association import two_people
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.retrieval.thresholds import histogram, roc

FEWEST_IMAGES = 3  # with only two, there is no cosine within a group
FEWEST_CHANGING = 100  # the fewest changing tracks for a limit
MOST_CHANGING = 2000  # more would not move the limit


class Division(NamedTuple):
    """The index of the second group's first image, and the agreement between the groups."""

    place: int
    agreement: float


def split_tracks(
    features: Sequence[npt.ArrayLike],
    times: Sequence[npt.ArrayLike],
    cameras: npt.ArrayLike,
    threshold: float | None = None,
) -> list[Labels]:
    """Return the piece of its track that each image belongs to: 0, 1, … in order of time.

    A piece shows one person. All images of a track that does not change belong to piece 0.

    features: for each of T tracks, (n, D) of its images. times: for each track, (n,) in seconds.
    cameras: (T,), numbers or names.
    threshold: tracks with a lower agreement are cut. By default, change_threshold determines it; if
    that returns None, no track is cut.
    """
    if threshold is None:
        threshold = change_threshold(features, times, cameras)
    found = []
    for rows, order, _ in _in_order(features, times):
        changes = [] if threshold is None else _changes(rows, threshold)
        pieces = np.empty(len(order), np.int64)
        pieces[order] = np.searchsorted(changes, np.arange(len(order)), side="right")
        found.append(pieces)
    return found


def change_threshold(
    features: Sequence[npt.ArrayLike], times: Sequence[npt.ArrayLike], cameras: npt.ArrayLike
) -> float | None:
    """Return the agreement below which a track changes, estimated from the tracks themselves.

    Returns None for fewer than FEWEST_CHANGING pairs of simultaneous tracks in one camera. For the
    parameters, see split_tracks.
    """
    every, names = _in_order(features, times), names_or_numbers(cameras, "cameras")
    check_lengths(features=every, cameras=names)
    several = [place for place, (rows, *_) in enumerate(every) if len(rows) > 1]
    tracks = [every[place][0] for place in several]
    ends = np.array([every[place][2][[0, -1]] for place in several]).reshape(-1, 2)
    pairs = np.argwhere(two_people(names[several], *ends.T))
    if len(pairs) < FEWEST_CHANGING:
        return None
    some = np.unique(np.linspace(0, len(pairs) - 1, MOST_CHANGING).astype(int))
    changing = [_spliced(tracks[i], tracks[j]) for i, j in pairs[some].tolist()]
    same, changed = (
        np.array([change.agreement for rows in each if (change := _division(rows))])
        for each in (tracks, changing)
    )
    if not len(same) or not len(changed):
        return None
    return roc(histogram(same), histogram(changed)).equal_error()[1]


def _in_order(
    features: Sequence[npt.ArrayLike], times: Sequence[npt.ArrayLike]
) -> list[tuple[Features, Labels, Array]]:
    """Return each track's unit-length features in order of time, that order, and the times."""
    check_lengths(features=features, times=times)
    found = []
    for images, moments in zip(features, times, strict=True):
        rows = as_features(images, "features")
        seconds = in_a_row(as_array(moments, "times"), "times")
        check_lengths(features=rows, times=seconds)
        order = np.argsort(seconds, kind="stable")
        found.append((unit_rows(rows[order]), order, seconds[order]))
    return found


def _spliced(first: Features, second: Features) -> Features:
    """Return the first half of one track's images, followed by the second half of another's."""
    return np.concatenate([first[: len(first) // 2], second[len(second) // 2 :]])


def _division(rows: Features) -> Division | None:
    """Return the most likely division of a track, or None for fewer than FEWEST_IMAGES."""
    count = len(rows)
    if count < FEWEST_IMAGES:
        return None
    sums = rows.cumsum(axis=0, dtype=np.float64)
    sizes = np.arange(1, count)
    before, after = sums[:-1], sums[-1] - sums[:-1]
    apart = before / sizes[:, None] - after / (count - sizes)[:, None]
    place = int((sizes * (count - sizes) * np.square(apart).sum(axis=1)).argmax())
    sides = (before[place], place + 1), (after[place], count - place - 1)
    between = sides[0][0] @ sides[1][0] / (sides[0][1] * sides[1][1])
    within = sum(side @ side - size for side, size in sides)
    within /= sum(size * (size - 1) for _, size in sides)
    return Division(place + 1, float(between / within) if within > 0 else 1.0)


def _changes(rows: Features, threshold: float) -> list[int]:
    """Return the indices at which a track changes, ascending."""
    found: list[int] = []
    pieces = [(0, len(rows))]
    while pieces:
        first, last = pieces.pop()
        change = _division(rows[first:last])
        if change and change.agreement < threshold:
            place = first + change.place
            found.append(place)
            pieces += [(first, place), (place, last)]
    return sorted(found)
