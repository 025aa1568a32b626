"""Of which tracks of an index somebody has said whom they show, so that no linking says otherwise.

decide(index, {path: "Anna", other: ""})      # as tools/search.py apply does
names = decided_names(index, tracks)          # {image of a track: name}

An index remembers which tracks were decided. The names stay with their images: forgotten images
leave none behind.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from person_reid.errors import UserError
from person_reid.gallery.asked_images import known_abouts
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.indexed_tracks import IndexedTrack
from person_reid.gallery.numbered_notes import add_note, numbered_notes
from person_reid.gallery.track_records import recorded_tracks
from person_reid.retrieval.clusters import number_in

DECISIONS = "decided"  # the name of the notes
Decided = dict[str, dict[str, bool]]  # {source: {track: whether somebody is named}}


def decide(index: Gallery, names: Mapping[Path, str]) -> None:
    """Remember that somebody has named the tracks of some images, or has cleared their names.

    names: {path: name, or ""}, as the images in the index now have them.
    """
    found: Decided = {}
    sources = {record.source for record in recorded_tracks(index)} if names else set()
    for path, about in known_abouts(index, names).items():
        if about.track and about.source in sources:
            tracks = found.setdefault(about.source, {})
            tracks[about.track] = tracks.get(about.track, False) or bool(names[path])
    if not found:
        return
    # no two are equal, so what is decided again counts again
    add_note(index, DECISIONS, {"tracks": found, "id": secrets.token_hex(4)})


def decided_names(index: Gallery, tracks: Sequence[IndexedTrack]) -> dict[Path, str]:
    """Return {image: whom somebody has said that it shows} of the tracks that were decided.

    A name counts more than a number.
    """
    decided: dict[tuple[str, str], bool] = {}
    for tracks_of in _decisions(index):
        for source, said in tracks_of.items():
            decided |= {(source, number): named for number, named in said.items()}
    found: dict[Path, str] = {}
    for each in tracks:
        if not decided.get((each.record.source, str(each.track.number))):
            continue
        every = {path: about.identity for path, about in each.images if about.identity}
        names = {path: name for path, name in every.items() if not number_in(name)}
        found |= names or every
    return found


def _decisions(index: Gallery) -> Iterator[Decided]:
    """Yield what was decided, the latest last. Raises UserError if it is damaged."""
    for value in numbered_notes(index, DECISIONS):
        tracks = value.get("tracks") if isinstance(value, dict) else None
        if not isinstance(tracks, dict) or not all(map(_are_named, tracks.values())):
            raise UserError(f"{index.path}: damaged: it says {value!r:.100} of decided tracks.")
        yield tracks


def _are_named(value: Any) -> bool:
    return isinstance(value, dict) and all(type(each) is bool for each in value.values())
