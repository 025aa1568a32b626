"""Cut the tracks in an index where they begin to show another person.

pieces, features = split_indexed(tracks)      # to be linked instead of the tracks

A cut is halfway between two images. A piece certainly shows its person only from its first to its
last image, so it begins and ends there. Pieces of two tracks that swapped people therefore never
overlap in time.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from person_reid.gallery.indexed_tracks import IndexedTrack, cameras_of, features_of, spans
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.track_splitting import split_tracks


def split_indexed(
    tracks: Sequence[IndexedTrack], said: Mapping[Path, str] | None = None
) -> tuple[list[IndexedTrack], Features]:
    """Return the P pieces of tracks, track by track, and their features (P, D).

    said: {image: the identity that a user gave}. A track is cut where this identity changes, and
    not where it stays the same.
    """
    times = [
        np.interp(each.frames(), each.track.frames[[0, -1]], span)
        for each, *span in zip(tracks, *spans(tracks), strict=True)
    ]
    labels = split_tracks([each.features for each in tracks], times, cameras_of(tracks))
    pieces: list[IndexedTrack] = []
    for each, numbers in zip(tracks, labels, strict=True):
        changes = (np.flatnonzero(np.diff(numbers)) + 1).tolist()
        pieces += _cut(each, [*_as_said(each, changes, said or {})])
    return pieces, features_of(pieces)


def _as_said(
    each: IndexedTrack, changes: Collection[int], said: Mapping[Path, str]
) -> Iterator[int]:
    """Yield the indices of the images at which the identities in `said` cut a track.

    An image without an identity shows the same person as the image before it, unless the track
    changes there: a list from people.html has only the images of the person that was checked.
    """
    before = ""
    for place, (path, _) in enumerate(each.images):
        name = said.get(path) or ("" if place in changes else before)
        if name != before if before else place in changes:
            yield place
        before = name


def _cut(each: IndexedTrack, places: Sequence[int]) -> list[IndexedTrack]:
    """Return a track's pieces; all but the first begin at the image indices `places`."""
    shown, boxes = each.frames(), each.track.frames
    places = [k for k in places if shown[k - 1] < shown[k]]  # a frame shows a person only once
    middles = [(shown[k - 1] + shown[k]) / 2 for k in places]
    parts = np.split(np.arange(len(boxes)), np.searchsorted(boxes, middles, side="right"))
    if not places or not all(len(part) for part in parts):
        return [each]
    times = each.record.seconds([shown[i] for k in places for i in (k - 1, k)])
    ends = [each.track.first, *times, each.track.last]
    bounds = [*pairwise([0, *places, len(shown)])]
    return [
        replace(
            each,
            track=replace(
                each.track,
                frames=boxes[part],
                boxes=each.track.boxes[part],
                first=ends[2 * number],
                last=ends[2 * number + 1],
            ),
            images=each.images[first:last],
            features=each.features[first:last],
            piece=number + 1,
        )
        for number, (part, (first, last)) in enumerate(zip(parts, bounds, strict=True))
    ]
