"""Link a detector's boxes into tracks, frame by frame: ByteTrack.

    tracker = Tracker()
    for frame in frames:
        identities = tracker.update(*detect(frame), seconds=1 / 25)     # (N,), or -1 for no track

Boxes with a high score are linked first, to the tracks predicted there. The remaining tracks can
continue with a box of low score. A half-hidden person gets such a box; so does the background, but
seldom where a track is expected. An unlinked box with a high score begins a track.

If the boxes have features, a track and a box that overlap are linked first by the sum of their
overlap and their similarity. The similarity is the cosine c of their features on the camera's own
scale: (c − s) / (p − s), where s is the mean cosine of two boxes in one frame, which show
strangers, and p is the mean cosine of a track and its next box. Before there are enough pairs, the
overlap alone decides.

Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV 2022.
Maggiolino et al., Deep OC-SORT: Multi-Pedestrian Tracking by Adaptive Re-Identification, ICIP 2023.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from person_reid.arrays import Array, Integers, as_array, check_lengths, in_a_row
from person_reid.config.detector import TrackerOptions
from person_reid.data.video.tracked_boxes import shared_area
from person_reid.errors import UserError
from person_reid.retrieval.similarity import unit_rows_or_zeros
from person_reid.video.kalman import Motion

USUAL_RATE = 30  # frames per second for which the constants of the filter hold
FIRST_OVERLAP = 0.2  # minimum of IoU × score for a track and a box with a high score
WEAK_OVERLAP = 0.5  # minimum IoU of a track and a box with a low score
NEW_OVERLAP = 0.1  # like FIRST_OVERLAP, for a track with one box, whose velocity is unknown
LEAST_LIKENESS = 0.5  # added to FIRST_OVERLAP; similarity can make up for overlap, and vice versa
INTERRUPTION = 10  # seconds without frames, after which a box in the same place begins a new track
LEAST_PAIRS = 50  # the fewest pairs of strangers, and pairs of one person
LEAST_APART = 0.05  # the least difference between the mean cosines of these pairs
ROUNDING = 1e-6  # seconds
KEPT = 0.9  # weight of a track's old feature when a new box changes it


@dataclass(frozen=True)
class Tracks:
    """The T tracks that a tracker knows.

    motion: the positions. numbers: (T,), from 1, in the order in which the tracks began.
    identities: (T,), from 1, or -1 before a track is confirmed. counts: (T,), numbers of boxes.
    missed: (T,), seconds since the last box. features: (T, D), of the appearance.
    """

    motion: Motion
    numbers: Integers
    identities: Integers
    counts: Integers
    missed: Array
    features: Array

    @classmethod
    def begun(cls, boxes: Array, features: Array, before: int = 0) -> "Tracks":
        """Return new tracks, one for each of the boxes (T, 4), with their features (T, D).

        before: how many tracks began earlier.
        """
        count = len(boxes)
        return cls(
            Motion.of(boxes),
            before + 1 + np.arange(count),
            np.full(count, -1, np.int64),
            np.ones(count, np.int64),
            np.zeros(count),
            features,
        )

    def after(self, seconds: float) -> "Tracks":
        """Return the tracks `seconds` later, before any new box is added."""
        motion = self.motion.after(seconds * USUAL_RATE)
        return replace(self, motion=motion, missed=self.missed + seconds)

    def seen(self, rows: Integers, boxes: Array, features: Array) -> "Tracks":
        """Return the tracks after adding boxes (R, 4) to the tracks in `rows` (R,).

        features: (R, D), of the boxes. Zeros change nothing.
        """
        counts, missed = self.counts.copy(), self.missed.copy()
        counts[rows] += 1
        missed[rows] = 0
        looks = self.features.copy()
        changed: Array = KEPT * looks[rows] + (1 - KEPT) * features
        looks[rows] = unit_rows_or_zeros(changed)
        motion = self.motion.seen(rows, boxes)
        return replace(self, motion=motion, counts=counts, missed=missed, features=looks)

    def select(self, rows: Array) -> "Tracks":
        """Return the tracks that `rows` selects, by indices or (T,) booleans."""
        arrays = self.numbers, self.identities, self.counts, self.missed, self.features
        return Tracks(self.motion.select(rows), *(each[rows] for each in arrays))

    def joined(self, other: "Tracks") -> "Tracks":
        """Return these tracks, followed by the tracks of `other`."""
        return Tracks(
            self.motion.joined(other.motion),
            np.concatenate([self.numbers, other.numbers]),
            np.concatenate([self.identities, other.identities]),
            np.concatenate([self.counts, other.counts]),
            np.concatenate([self.missed, other.missed]),
            np.concatenate([self.features, other.features]),
        )


class Tracker:
    """A tracker that links the boxes of one camera frame by frame, as the module describes.

    options: see TrackerOptions. Identities are 1, 2, … in the order in which tracks are confirmed.
    numbers: (N,), the number of the track of each box in the last frame, or 0. A track gets its
    number before it is confirmed, and keeps it, so that its first boxes can be assigned later.
    """

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self.options = options or TrackerOptions()
        self._tracks = Tracks.begun(np.zeros((0, 4)), np.zeros((0, 0)))
        self.numbers: Integers = np.zeros(0, np.int64)
        self._begun = 0  # number of tracks
        self._last = 0  # the last identity
        self._cosines = np.zeros((2, 2))  # strangers, one person: the sum and the number

    def update(
        self,
        boxes: npt.ArrayLike,
        scores: npt.ArrayLike,
        seconds: float = 1 / USUAL_RATE,
        features: npt.ArrayLike | None = None,
    ) -> Integers:
        """Return the identities (N,) of the boxes in the next frame, or -1 for untracked boxes.

        boxes: (N, 4), left, top, right and bottom in pixels. scores: (N,), from 0 to 1.
        seconds: the time since the frame of the last call. features: (N, D), of the appearance,
        zeros for boxes with low scores; None if unknown.
        Raises UserError for other numbers of scores or features, NaN, infinity, boxes with swapped
        sides, or if no time has passed.
        """
        boxes, scores = _checked(boxes, scores)
        looks = _features_of(boxes, features, self._tracks.features)
        if not len(self._tracks.counts):
            self._tracks = Tracks.begun(np.zeros((0, 4)), looks[:0])
        if not 0 < seconds < np.inf:
            raise UserError(f"seconds: expected a number above 0, found {seconds}.")
        if seconds > max(self.options.patience, INTERRUPTION):
            self._tracks = self._tracks.select(np.zeros(0, np.int64))
        self._tracks = tracks = self._tracks.after(seconds)
        known, lasting = tracks.identities > 0, tracks.missed <= seconds
        high = scores >= self.options.track_score
        low = ~high & (scores >= self.options.low_score)
        alike = overlaps(tracks.motion.boxes(), boxes)
        fused = alike * scores
        cosines = tracks.features @ looks.T
        first, least = fused, FIRST_OVERLAP
        if features is not None and self._has_scale():
            strangers, same = self._cosines[:, 0] / self._cosines[:, 1]
            likeness = (cosines - strangers) / (same - strangers)
            first, least = np.where(alike > 0, fused + likeness, 0), least + LEAST_LIKENESS

        rows = np.full(len(boxes), -1, np.int64)  # the track of each box
        for similar, at_least, some, candidates in (
            (first, least, known, high),
            (alike, WEAK_OVERLAP, known & lasting, low),
            (fused, NEW_OVERLAP, ~known, high),
        ):
            free = some & ~np.isin(np.arange(len(known)), rows)
            _link(rows, similar, at_least, free, candidates & (rows < 0))
        self._note(cosines, rows, looks, known)
        seen = rows >= 0
        self._tracks = self._tracks.seen(rows[seen], boxes[seen], looks[seen])
        begin = (rows < 0) & (scores >= self.options.new_score)
        rows[begin] = len(known) + np.arange(begin.sum())
        self._tracks = self._tracks.joined(Tracks.begun(boxes[begin], looks[begin], self._begun))
        self._begun += int(begin.sum())
        self.numbers = np.append(self._tracks.numbers, 0)[rows]
        return self._confirmed(rows, seconds)

    def _note(self, cosines: Array, rows: Integers, looks: Array, known: Array) -> None:
        """Add the cosines of strangers, and of tracks and their next boxes, to the scale's sums."""
        shown = looks.any(axis=1)
        strangers = (looks[shown] @ looks[shown].T)[np.triu_indices(shown.sum(), 1)]
        ones = np.flatnonzero(shown & (rows >= 0) & np.append(known, False)[rows])
        for kind, found in enumerate((strangers, cosines[rows[ones], ones])):
            self._cosines[kind] += found.sum(), len(found)

    def _has_scale(self) -> bool:
        """Return whether there are enough pairs, and strangers have a clearly lower mean cosine."""
        enough = bool((self._cosines[:, 1] >= LEAST_PAIRS).all())
        return enough and np.diff(self._cosines[:, 0] / self._cosines[:, 1]).item() > LEAST_APART

    def undecided(self) -> set[int]:
        """Return the numbers of the tracks that may be confirmed later."""
        return {*self._tracks.numbers[self._tracks.identities < 0].tolist()}

    def _confirmed(self, rows: Integers, seconds: float) -> Integers:
        """Assign identities to tracks with enough boxes, and forget tracks that have ended.

        rows: (N,), the track of each box, or -1. seconds: the time between two frames. Returns the
        identities (N,) of the boxes.
        """
        tracks = self._tracks
        identities = tracks.identities.copy()
        lasted = (tracks.counts - 1) * seconds + ROUNDING >= self.options.least_seconds
        due = (identities < 0) & (tracks.counts >= self.options.confirmations) & lasted
        identities[due] = self._last + 1 + np.arange(due.sum())
        self._last += int(due.sum())
        waiting = np.where(identities > 0, self.options.patience, 0)
        self._tracks = replace(tracks, identities=identities).select(tracks.missed <= waiting)
        return np.append(identities, -1)[rows]


def overlaps(boxes: Array, others: Array) -> Array:
    """Return the IoU (N, M) of boxes (N, 4) and others (M, 4); 0 where both are empty."""
    shared = shared_area(boxes[:, None], others)
    areas = (np.prod(sides[:, 2:] - sides[:, :2], axis=1) for sides in (boxes, others))
    union = np.add.outer(*areas) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _link(rows: Integers, similar: Array, least: float, tracks: Array, boxes: Array) -> None:
    """Assign boxes to the most similar tracks, changing `rows` in place.

    similar: (T, N). least: pairs below it are never linked. tracks, boxes: (T,) and (N,) booleans
    that select the tracks and boxes to link.
    """
    i, j = np.flatnonzero(tracks), np.flatnonzero(boxes)
    part = similar[np.ix_(i, j)]
    part = np.where(part >= least, part, 0)
    first, second = linear_sum_assignment(part, maximize=True)
    linked = part[first, second] > 0
    rows[j[second[linked]]] = i[first[linked]]


def _features_of(boxes: Array, features: npt.ArrayLike | None, known: Array) -> Array:
    """Return the unit-length features (N, D) of boxes (N, 4), or zeros if `features` is None.

    Raises UserError for another number of them, NaN or infinity.
    """
    if features is None:
        return np.zeros((len(boxes), known.shape[1]), np.float32)
    looks = as_array(features, "features")
    check_lengths(boxes=boxes, features=looks)
    if not np.isfinite(looks).all():
        raise UserError("features: expected finite numbers, found NaN or infinity.")
    return unit_rows_or_zeros(looks)


def _checked(boxes: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Array, Array]:
    """Return boxes (N, 4) and scores (N,) as float64. Raises UserError if they are invalid."""
    sides = as_array(boxes, "boxes").astype(np.float64)
    likely = in_a_row(as_array(scores, "scores").astype(np.float64), "scores")
    sides = sides.reshape(-1, 4) if not sides.size else sides
    if sides.ndim != 2 or sides.shape[1] != 4:
        raise UserError(f"boxes: expected (N, 4), found {sides.shape}.")
    check_lengths(boxes=sides, scores=likely)
    if not (np.isfinite(sides).all() and np.isfinite(likely).all()):
        raise UserError("boxes and scores: expected finite numbers, found NaN or infinity.")
    if (sides[:, 2:] < sides[:, :2]).any():
        raise UserError("boxes: expected left, top, right, bottom; found sides in another order.")
    return sides, likely
