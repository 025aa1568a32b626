"""The tracks of an index whose person a user has decided, so that no linking changes it.

decide(index, {path: "Anna", other: ""})      # as tools/search.py apply does
names = decided_names(index, tracks)          # {image of a track: name}

An index remembers which tracks were decided. The names stay with their images: forgotten images
leave none behind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from person_reid.gallery.gallery import Gallery
from person_reid.gallery.indexed_tracks import IndexedTrack
from person_reid.gallery.track_records import recorded_tracks
from person_reid.retrieval.clusters import number_in

DECISIONS = "decided"  # the kind of the notes: {SOURCE/TRACK: whether somebody is named}


def decide(index: Gallery, names: Mapping[Path, str]) -> None:
    """Remember that a user has named the tracks of some images, or has cleared their names.

    names: {path: name, or ""}, as the images in the index now have them.
    """
    found: dict[str, bool] = {}
    sources = {record.source for record in recorded_tracks(index)} if names else set()
    for path, about in index.abouts([*names]).items():
        if about.track and about.source in sources:
            track = f"{about.source}/{about.track}"
            found[track] = found.get(track, False) or bool(names[path])
    if found:
        index.note(DECISIONS, found)


def decided_names(index: Gallery, tracks: Sequence[IndexedTrack]) -> dict[Path, str]:
    """Return {image: the identity that a user gave it} of the tracks that were decided.

    A name counts more than a number.
    """
    decided = index.notes(DECISIONS)
    found: dict[Path, str] = {}
    for each in tracks:
        if not decided.get(f"{each.record.source}/{each.track.number}"):
            continue
        every = {path: about.identity for path, about in each.images if about.identity}
        names = {path: name for path, name in every.items() if not number_in(name)}
        found |= names or every
    return found
