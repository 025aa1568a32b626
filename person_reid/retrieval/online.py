"""Link each track to the most similar person when it appears, and revise the links later.

    links = OnlineLinks(threshold=0.6)
    links.add("door 12", "door", 3.0, 4.5, feature)
    links.person("door 12")                              # a number, from 1
    links.relink()                                       # {"door 12": (7, 3)}: now 3 instead of 7

On request, a track is linked to the person whose tracks have the highest mean cosine with it. This
is an irreversible step of average linkage, so from time to time link_tracks links all tracks anew.
A person keeps the number that most of the person's tracks had.

Memory is bounded: when it is full, the oldest track of the person with the most tracks is
forgotten.
"""

from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from person_reid.errors import UserError
from person_reid.retrieval.association import TrackPairs, Travel, link_tracks, two_people
from person_reid.retrieval.identities import assigned
from person_reid.retrieval.normalization import level_cameras
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.retrieval.thresholds import accepts
from person_reid.retrieval.track_features import USUAL, TrackCosines

# votes of known tracks, with and without a name; no person has as many tracks
NAMED_VOTES, KNOWN_VOTES = 10**9, 10**6
Changes = dict[Any, tuple[int, int]]  # {track: (the previous person, the new person)}


@dataclass
class OnlineTrack:
    """A track: its camera, times (NaN if unknown), the features of its images, and its person.

    images: n features (D,) of unit length. known: the person given to `know`, or 0. named: whether
    a user has named that person, whom the track then always shows.
    """

    camera: str
    start: float
    end: float
    images: list[Features]
    person: int = 0
    known: int = 0
    named: bool = False

    @property
    def total(self) -> Features:
        """The sum of the track's features, (D,)."""
        return np.asarray(np.sum(self.images, axis=0))


@dataclass
class OnlinePerson:
    """A person's first and last times in view, last camera, and number of remembered tracks."""

    person: int
    camera: str
    first: float
    last: float
    tracks: int = 1


@dataclass
class OnlineLinks:
    """The people on the latest tracks of all cameras.

    threshold: the lowest mean cosine of a track and its person. By default, it follows from
    `cosines`, or else from USUAL, which are corrected whenever all tracks are linked.
    travel, cosines: see link_tracks. most: how many tracks are remembered. last: the highest number
    of a person so far.
    """

    threshold: float | None = None
    travel: Travel | None = None
    cosines: TrackCosines | None = None
    most: int = 1000
    last: int = 0
    tracks: dict[Hashable, OnlineTrack] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.most < 1:
            raise UserError(f"most: expected 1 track or more, found {self.most}.")
        self._corrected = self.cosines or USUAL

    def know(
        self, track: Hashable, person: int, camera: str, feature: Features, named: bool = True
    ) -> None:
        """Remember a person who already has a number.

        feature: (D,) of unit length, the mean of the person's images in a camera. named: whether a
        user has named the person. Anybody else may turn out to be a person with a name.
        """
        self.tracks[track] = OnlineTrack(
            camera, np.nan, np.nan, [feature], person, known=person, named=named
        )
        self.last = max(self.last, person)

    @property
    def known(self) -> int:
        """The number of tracks that `know` added."""
        return sum(row.known > 0 for row in self.tracks.values())

    def drop(self, people: Collection[int]) -> None:
        """Forget the tracks that `know` added for these people."""
        self.tracks = {key: row for key, row in self.tracks.items() if row.known not in people}

    def add(
        self, track: Hashable, camera: str, start: float, end: float, feature: Features
    ) -> OnlineTrack:
        """Add an image's feature, (D,) of unit length, to a track, without linking the track."""
        if (found := self.tracks.get(track)) is None:
            found = self.tracks[track] = OnlineTrack(camera, start, end, [])
            self._forget()
        found.images.append(feature)
        found.end = end
        return found

    def seen(self, track: Hashable, end: float) -> None:
        """Record that a track continues until `end`, if the track is remembered."""
        if track in self.tracks:
            self.tracks[track].end = end

    def person(self, track: Hashable) -> int:
        """Return a track's person; an unlinked track gets the most similar person or a new one."""
        found = self.tracks[track]
        if not found.person:
            found.person = self._nearest(track) or self.last + 1
            self.last = max(self.last, found.person)
        return found.person

    def relink(self, asked: Collection[Hashable] = ()) -> Changes:
        """Link all tracks anew, and return the tracks whose person has changed.

        Tracks whose person was never requested do not get a person, except tracks in `asked`; their
        previous person is 0.
        """
        rows = [*self.tracks.values()]
        if not rows:
            return {}
        features, where = self._arrays(rows)
        same, different = _known_pairs(rows)
        found = link_tracks(
            features,
            *where,
            threshold=self.threshold,
            travel=self.travel,
            cosines=self.cosines,
            same=same,
            different=different,
        )
        self._corrected = found.cosines
        labels = found.labels.tolist()
        votes: Counter[tuple[int, int]] = Counter()
        for row, label in zip(rows, labels, strict=True):
            if row.person:
                weight = NAMED_VOTES if row.named else KNOWN_VOTES if row.known else 1
                votes[label, row.known or row.person] += weight
        numbers = assigned(votes)
        changes: Changes = {}
        for (key, row), label in zip(self.tracks.items(), labels, strict=True):
            if row.named or not (row.person or key in asked):
                continue
            if label not in numbers:
                self.last += 1
                numbers[label] = self.last
            if numbers[label] != row.person:
                if not row.known:
                    changes[key] = row.person, numbers[label]
                row.person = numbers[label]
        return changes

    def people(self) -> list[OnlinePerson]:
        """Return the people on the remembered tracks, the most recently seen first.

        Tracks that `know` added do not count.
        """
        found: dict[int, OnlinePerson] = {}
        for row in self.tracks.values():
            if not row.person or row.known:
                continue
            each = found.setdefault(
                row.person, OnlinePerson(row.person, row.camera, row.start, row.end, 0)
            )
            each.tracks += 1
            each.first = min(each.first, row.start)
            if row.end >= each.last:
                each.last, each.camera = row.end, row.camera
        return sorted(found.values(), key=lambda each: -each.last)

    @property
    def used_threshold(self) -> float:
        """The given threshold, or the threshold for the number of remembered people."""
        if self.threshold is not None:
            return self.threshold
        people = len({row.person for row in self.tracks.values()} - {0})
        return self._corrected.threshold(people)

    def _nearest(self, track: Hashable) -> int:
        """Return the person whose tracks are most similar to a track without a person, or 0."""
        rows = [row for row in self.tracks.values() if row.person] + [self.tracks[track]]
        features, where = self._arrays(rows)
        features = level_cameras(features, where[0])
        cosines = features @ features[-1]
        cosines[two_people(*where, self.travel, slice(-1, None))[0]] = -np.inf
        people, which = np.unique([row.person for row in rows[:-1]], return_inverse=True)
        if not len(people):
            return 0
        means = np.bincount(which, cosines[:-1]) / np.bincount(which)
        best = int(means.argmax())
        return int(people[best]) if accepts(self.used_threshold, float(means[best])) else 0

    def _arrays(
        self, rows: list[OnlineTrack]
    ) -> tuple[Features, tuple[list[str], list[float], list[float]]]:
        """Return the unit-length features (T, D), cameras, starts and ends of tracks."""
        features = unit_rows(np.stack([row.total for row in rows]))
        places = [row.camera for row in rows]
        return features, (places, [row.start for row in rows], [row.end for row in rows])

    def _forget(self) -> None:
        """Forget a track if there are too many, but not a track of a known person."""
        if len(self.tracks) <= self.most:
            return
        counts = Counter(row.person for row in self.tracks.values())

        def superfluous(key: Hashable) -> tuple[int, float]:
            row = self.tracks[key]
            return counts[row.person] if row.person else 1, -row.end

        del self.tracks[
            max((k for k, row in self.tracks.items() if not row.known), key=superfluous)
        ]


def _known_pairs(rows: list[OnlineTrack]) -> tuple[TrackPairs, TrackPairs]:
    """Return the pairs of tracks, by index, that show one known person, and those that show two.

    Two people with names are different, and so are two without, as they were linked before.
    """
    known = [(place, row) for place, row in enumerate(rows) if row.known]
    first: dict[int, int] = {}
    same = [(first.setdefault(row.known, place), place) for place, row in known]
    kinds = ([i for i in first.values() if rows[i].named == named] for named in (True, False))
    return same, [pair for kind in kinds for pair in combinations(kind, 2)]
