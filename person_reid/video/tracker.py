"""Link the boxes of a detector into tracks, frame by frame: ByteTrack.

    tracker = Tracker()
    for frame in frames:
        identities = tracker.update(*detect(frame), seconds=1 / 25)     # (N,), or -1 for no track

Boxes with a high score are linked first, to the tracks that should be where they are. What is left
of the tracks may go on with a box of a low score: somebody who is half hidden has one, and so has
the background, but seldom where a track should be. A box with a high score that no track explains
begins one.

Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV 2022.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from person_reid.arrays import Array, Integers, as_array, check_lengths, in_a_row
from person_reid.config.tracker import TrackerOptions
from person_reid.data.video.tracked_boxes import shared_area
from person_reid.errors import UserError
from person_reid.video.kalman import Motion

USUAL_RATE = 30  # frames a second, for which the constants of the filter are
FIRST_OVERLAP = 0.2  # least IoU times score of a track and a box with a high score
WEAK_OVERLAP = 0.5  # least IoU with a box of a low score
NEW_OVERLAP = 0.1  # as FIRST_OVERLAP, of a track with one box, whose velocity is unknown


@dataclass(frozen=True)
class Tracks:
    """The T tracks that a tracker knows.

    motion: where they are. identities: (T,), from 1, or -1 before a track is confirmed. counts:
    (T,), their boxes. missed: (T,), seconds since the last box.
    """

    motion: Motion
    identities: Integers
    counts: Integers
    missed: Array

    @classmethod
    def begun(cls, boxes: Array) -> "Tracks":
        """Return tracks with a box each, (T, 4)."""
        count = len(boxes)
        return cls(
            Motion.of(boxes),
            np.full(count, -1, np.int64),
            np.ones(count, np.int64),
            np.zeros(count),
        )

    def after(self, seconds: float) -> "Tracks":
        """Return them that many seconds later, not seen again so far."""
        motion = self.motion.after(seconds * USUAL_RATE)
        return replace(self, motion=motion, missed=self.missed + seconds)

    def seen(self, rows: Integers, boxes: Array) -> "Tracks":
        """Return them after each of some rows (R,) was seen in a box, (R, 4)."""
        counts, missed = self.counts.copy(), self.missed.copy()
        counts[rows] += 1
        missed[rows] = 0
        return replace(self, motion=self.motion.seen(rows, boxes), counts=counts, missed=missed)

    def select(self, rows: Array) -> "Tracks":
        """Return those of some rows."""
        arrays = self.identities[rows], self.counts[rows], self.missed[rows]
        return Tracks(self.motion.select(rows), *arrays)

    def joined(self, other: "Tracks") -> "Tracks":
        """Return these tracks and others."""
        return Tracks(
            self.motion.joined(other.motion),
            np.concatenate([self.identities, other.identities]),
            np.concatenate([self.counts, other.counts]),
            np.concatenate([self.missed, other.missed]),
        )


class Tracker:
    """Links the boxes of one camera, frame by frame; see the module.

    options: see TrackerOptions. Identities are 1, 2, … in the order in which tracks are confirmed.
    """

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self.options = options or TrackerOptions()
        self._tracks = Tracks.begun(np.zeros((0, 4)))
        self._last = 0  # identity

    def update(
        self, boxes: npt.ArrayLike, scores: npt.ArrayLike, seconds: float = 1 / USUAL_RATE
    ) -> Integers:
        """Return the identities (N,) of the boxes in the next frame, -1 for those without a track.

        boxes: (N, 4), left, top, right and bottom in pixels. scores: (N,), from 0 to 1.
        seconds: since the frame of the last call. People go farther in more of them.
        Raises UserError for another shape, NaN or infinity, boxes whose sides are swapped, and
        unless some time passes.
        """
        boxes, scores = _checked(boxes, scores)
        if not 0 < seconds < np.inf:
            raise UserError(f"seconds: expected a number above 0, found {seconds}.")
        self._tracks = tracks = self._tracks.after(seconds)
        known, lasting = tracks.identities > 0, tracks.missed <= seconds
        high = scores >= self.options.track_score
        low = ~high & (scores >= self.options.low_score)
        alike = overlaps(tracks.motion.boxes(), boxes)
        fused = alike * scores

        rows = np.full(len(boxes), -1, np.int64)  # the track of each box
        for similar, least, some, candidates in (
            (fused, FIRST_OVERLAP, known, high),
            (alike, WEAK_OVERLAP, known & lasting, low),
            (fused, NEW_OVERLAP, ~known, high),
        ):
            free = some & ~np.isin(np.arange(len(known)), rows)
            _link(rows, similar, least, free, candidates & (rows < 0))
        self._tracks = self._tracks.seen(rows[rows >= 0], boxes[rows >= 0])
        begin = (rows < 0) & (scores >= self.options.new_score)
        rows[begin] = len(known) + np.arange(begin.sum())
        self._tracks = self._tracks.joined(Tracks.begun(boxes[begin]))
        return self._confirmed(rows)

    def _confirmed(self, rows: Integers) -> Integers:
        """Give identities to tracks with enough boxes, and forget those that have gone.

        rows: (N,), the track of each box, or -1. Returns the identities (N,) of the boxes.
        """
        tracks = self._tracks
        identities = tracks.identities.copy()
        due = (identities < 0) & (tracks.counts >= self.options.confirmations)
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
    """Write the track of each box into rows, in place, so that the most similar are together.

    similar: (T, N). least: pairs below it are never linked. tracks, boxes: (T,) and (N,) booleans,
    those to be linked.
    """
    i, j = np.flatnonzero(tracks), np.flatnonzero(boxes)
    part = similar[np.ix_(i, j)]
    part = np.where(part >= least, part, 0)
    first, second = linear_sum_assignment(part, maximize=True)
    linked = part[first, second] > 0
    rows[j[second[linked]]] = i[first[linked]]


def _checked(boxes: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Array, Array]:
    """Return boxes (N, 4) and scores (N,) as float64. Raises UserError for anything else."""
    sides = as_array(boxes, "boxes").astype(np.float64)
    likely = in_a_row(as_array(scores, "scores").astype(np.float64), "scores")
    sides = sides.reshape(-1, 4) if not sides.size else sides
    if sides.ndim != 2 or sides.shape[1] != 4:
        raise UserError(f"boxes: expected (N, 4), found {sides.shape}.")
    check_lengths(boxes=sides, scores=likely)
    if not (np.isfinite(sides).all() and np.isfinite(likely).all()):
        raise UserError("boxes and scores: expected finite numbers, found NaN or infinity.")
    if (sides[:, 2:] < sides[:, :2]).any():
        raise UserError("boxes: expected left, top, right, bottom; found a right or bottom before.")
    return sides, likely
