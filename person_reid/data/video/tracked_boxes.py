"""Read a tracker's output: which boxes in which frames show the same person.

track_files.py handles the formats. Here, boxes become tracks of people, in pixels, in frames
counted from 1, and in seconds.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.config.times import EPOCH, parsed
from person_reid.data.video.track_files import Box, Format, number_of_first, read_boxes
from person_reid.errors import UserError
from person_reid.text import counted

log = logging.getLogger(__name__)
DOUBLED = 0.8  # mean share of the smaller box in the larger, for two tracks of one person
LEAST_AREA = 1e-6  # square pixels; a divisor must not be less


@dataclass(frozen=True)
class Track:
    """The boxes of one person in the frames of one camera.

    frames: (B,) int64, ascending, counted from 1. boxes: (B, 4) float64, left, top, right, bottom
    in pixels, not clipped. first, last: when the person was first and last seen, in seconds.
    """

    number: int
    frames: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float64]
    first: float
    last: float


def read_tracks(
    path: Path,
    fps: float,
    start: str | None = None,
    form: str | None = None,
    images: Mapping[str, int] | None = None,
    **others: Any,
) -> list[Track]:
    """Return the tracks in a file, or in a folder from Ultralytics, in order of their numbers.

    form, images: see read_boxes. fps, start, others: see tracks_among.
    """
    return tracks_among(path, *read_boxes(path, form, images), fps, start, **others)


def tracks_among(
    path: Path,
    form: Format,
    boxes: Sequence[Box],
    fps: float,
    start: str | None = None,
    *,
    classes: str | None = None,
    size: tuple[int, int] = (1, 1),
    first_frame: int | None = None,
    times: Sequence[Sequence[float]] = (),
) -> list[Track]:
    """Return the tracks formed by the boxes in a file, in order of their numbers.

    form, boxes: as read_boxes returns them.
    fps: the frames per second. start: the time of frame 1, such as "2026-11-01 08:30:00Z"; times
        are then in seconds since 1970, otherwise since frame 1.
    classes: the numbers of the classes to read, such as "0" or "1,2,7"; by default people's.
    size: the (width, height) of the frames; Ultralytics writes fractions of it.
    first_frame: the number that the file gives to frame 1; by default 0 if it has a box in frame 0,
        otherwise 1. data.frames.first_number decides it for tracks and frames together.
    times: (frame, seconds since the first one) of the frames in which tracks begin and end,
        ascending, if `fps` does not give them.

    The log counts skipped boxes: those of other classes, those without an identity, and a track's
    second box in one frame. Raises UserError for an invalid line, and if no track is left.
    """
    people = form.classes(boxes, classes)
    tracks = _by_track(path, [box for box in boxes if box.kind in people])
    if not tracks:
        raise UserError(
            f"{path}: no tracks among its {counted(len(boxes), 'box', 'boxes')}. Detections need "
            "a tracker first; another --class may have tracks."
        )
    if first_frame is None:
        first_frame = number_of_first(boxes)
    begun = (parsed(start) - EPOCH).total_seconds() if start else 0
    scale = np.tile(size if form.labels else (1, 1), 2)
    found = []
    for number, by_frame in sorted(tracks.items()):
        frames = np.array(sorted(by_frame), np.int64) + 1 - first_frame
        sides = np.array([by_frame[frame].sides for frame in sorted(by_frame)]) * scale
        first, last = (seconds_of(frames[[0, -1]], fps, times) + begun).tolist()
        found.append(Track(int(number), frames, sides, first, last))
    return found


def _by_track(path: Path, boxes: Iterable[Box]) -> dict[float, dict[float, Box]]:
    """Return {track: {frame: box}}, and log how many boxes are skipped."""
    tracks: dict[float, dict[float, Box]] = defaultdict(dict)
    left_out: Counter[str] = Counter()
    for box in boxes:
        if box.track < 0:
            left_out["without an identity"] += 1
        elif tracks[box.track].setdefault(box.frame, box) is not box:
            left_out["of a track that has another in the same frame"] += 1
    for reason, count in left_out.items():
        log.warning("%s: %s %s skipped.", path, counted(count, "box", "boxes"), reason)
    return tracks


def seconds_of(
    frames: Sequence[int] | npt.NDArray[np.int64], fps: float, times: Sequence[Sequence[float]] = ()
) -> npt.NDArray[np.float64]:
    """Return the times of frames, counted from 1, in seconds since frame 1.

    times: (frame, seconds) of some frames, ascending, where the rate may vary. Between these, and
    after the last, the frames follow one another evenly.
    """
    places = np.asarray(frames, np.float64)
    even = (places - 1) / fps
    if not times:
        return even
    numbers, seconds = np.array(times, np.float64).T
    after = np.maximum(even - (numbers[-1] - 1) / fps, 0)
    return np.asarray(np.interp(places, numbers, seconds) + after)


def frames_at_ends(boxes: Iterable[Box]) -> list[int]:
    """Return the frames in which tracks begin and end, ascending, as numbered in the file."""
    frames: dict[float, list[float]] = defaultdict(list)
    for box in boxes:
        if box.track >= 0:
            frames[box.track].append(box.frame)
    return sorted({int(end) for each in frames.values() for end in (min(each), max(each))})


def shared_area(
    boxes: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the areas (...) in which `boxes` overlap `others`; both are (..., 4) and broadcast."""
    corner = np.maximum(boxes[..., :2], others[..., :2])
    opposite = np.minimum(boxes[..., 2:], others[..., 2:])
    sides = np.maximum(opposite - corner, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])  # prod() takes several times as long


def contained(boxes: npt.ArrayLike, others: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the share (...) of the smaller of two boxes, (..., 4), that lies in the larger."""
    both = [np.asarray(each, np.float64) for each in (boxes, others)]
    first, second = ((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in both)
    return np.asarray(shared_area(*both) / np.maximum(np.minimum(first, second), LEAST_AREA))


def doubled(tracks: Sequence[Track]) -> list[tuple[int, int]]:
    """Return the pairs of tracks, by index, that show the same person, among T from one camera.

    In the frames that both have, DOUBLED of the smaller box lies in the larger, on average. Such
    tracks come from a detector that finds both a body and half of it.
    """
    found = []
    for (i, one), (j, other) in combinations(enumerate(tracks), 2):
        if one.frames[-1] < other.frames[0] or other.frames[-1] < one.frames[0]:
            continue  # most pairs of a long video, whose frames need no comparison
        _, first, second = np.intersect1d(one.frames, other.frames, True, return_indices=True)
        if len(first) and contained(one.boxes[first], other.boxes[second]).mean() >= DOUBLED:
            found.append((i, j))
    return found
