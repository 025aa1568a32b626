"""Find tracks that may not show a person: things that never move, and pieces of very few images.

    rows = doubted_tracks(tracks)                        # not counted, and first on the page

A detector takes sofas, posters and mannequins for people. Their boxes and their pixels stay the
same, apart from noise. Somebody who stands still has boxes as steady as these for half a minute,
but sways and moves the head and the arms: some pixels change much more than the others.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image

from person_reid.arrays import Array
from person_reid.data.images.image_files import read_image
from person_reid.gallery.indexed_tracks import IndexedTrack
from person_reid.retrieval.track_splitting import FEWEST_IMAGES

LEAST_SECONDS = 8.0  # in less time, people stand as still as things
STEADY = 0.05  # share of the height: the range of each side of a thing's boxes
OUTLIERS = 5, 95  # percentiles: when somebody passes a thing, its box may change
LEVELS, NOISE = 2.0, 2.0  # grey levels, and multiples of the noise, by which things may change
COMPARED_SIZE = 32, 64  # (width, height) in pixels


def doubted_tracks(tracks: Sequence[IndexedTrack]) -> list[int]:
    """Return the tracks, by index, that may not show a person.

    They never move, or they are pieces of fewer than FEWEST_IMAGES images, cut off a longer one:
    such pieces show a person behind a pole, or where a tracker went astray.
    """
    longest: dict[tuple[str, int], int] = defaultdict(int)
    for track in tracks:
        key = track.record.source, track.track.number
        longest[key] = max(longest[key], len(track.images))
    return [
        i
        for i, track in enumerate(tracks)
        if len(track.images) < min(FEWEST_IMAGES, longest[track.record.source, track.track.number])
        or never_moves(track)
    ]


def never_moves(track: IndexedTrack) -> bool:
    """Return whether a track shows a thing: its boxes stay in place, and its pixels do not change.

    s is the standard deviation of a pixel's grey level over time. The pixels of a thing differ by
    noise alone, so that nine in ten have s < LEVELS + NOISE · median(s).
    """
    boxes = track.track.boxes
    if track.track.last - track.track.first < LEAST_SECONDS:
        return False
    tolerance = STEADY * np.median(boxes[:, 3] - boxes[:, 1])
    if np.ptp(np.percentile(boxes, OUTLIERS, axis=0), axis=0).max() > tolerance:
        return False
    pictures = _pictures_of_place(track, tolerance)
    if len(pictures) < FEWEST_IMAGES:
        return False
    levels = pictures - np.median(pictures, axis=(1, 2), keepdims=True)  # less the light's changes
    changes = levels.std(axis=0)
    return bool(np.percentile(changes, 90) < LEVELS + NOISE * np.median(changes))


def _pictures_of_place(track: IndexedTrack, tolerance: float) -> Array:
    """Return the grey levels (n, H, W) of the place that a track's images have in common.

    tolerance: images whose boxes differ from the median box by more pixels are skipped, and so are
    images that are not there any more.
    """
    boxes = track.track.boxes
    rows = np.searchsorted(track.track.frames, track.frames()).clip(max=len(boxes) - 1)
    steady = np.abs(boxes[rows] - np.median(boxes, axis=0)).max(axis=1) <= tolerance
    corners, pictures = [], []
    for (path, _), box, is_steady in zip(track.images, boxes[rows], steady, strict=True):
        if is_steady and path.is_file():
            corners.append(np.maximum(np.round(box[:2]), 0))
            pictures.append(read_image(path).convert("L"))
    if not pictures:
        return np.zeros((0, *COMPARED_SIZE[::-1]))
    ends = np.min([c + picture.size for c, picture in zip(corners, pictures, strict=True)], axis=0)
    begin = np.max(corners, axis=0)
    return np.stack(
        [
            np.asarray(
                picture.resize(
                    COMPARED_SIZE, Image.Resampling.BOX, (*(begin - corner), *(ends - corner))
                ),
                np.float64,
            )
            for corner, picture in zip(corners, pictures, strict=True)
        ]
    )
