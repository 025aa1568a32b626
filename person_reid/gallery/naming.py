"""Names and numbers of people on linked tracks: from a user or an earlier linking, or new.

numbers = number_people(tracks, people, said, index.values("identity"))
names = name_people(people, [known_name(track, None) for track in tracks])

An index remembers the tracks that a user has identified, so that no linking renames them:

decide(index, {path: "Anna", other: ""})      # as tools/search.py apply does
names = decided_names(index, tracks)          # {image of a track: name}

The names belong to images, so forgetting the images also removes the names.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from person_reid.gallery.contract import DECISIONS
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.indexed_tracks import Corrections, IndexedTrack
from person_reid.gallery.metadata import Filter
from person_reid.gallery.track_records import recorded_tracks
from person_reid.retrieval.clusters import number_in
from person_reid.retrieval.identities import assigned
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.track_features import track_features

MORE = 10**6  # votes for a user's own statement; no track has as many images


def photographed_people(
    index: Gallery, tracks: Sequence[IndexedTrack]
) -> tuple[list[str], Features]:
    """Return the names of P people, and the mean features (P, D) of their images.

    They are the named people in images outside the tracks, such as the photographs of `search.py
    enroll`.
    """
    of_tracks = {(each.record.source, str(each.track.number)) for each in tracks}
    names, rows = [], [tracks[0].features[:0]]
    for images, features in index.entries(Filter(has_identity=True)):
        for (_, about), feature in zip(images, features, strict=True):
            name = about.identity or ""
            if (about.source, about.track) not in of_tracks and not number_in(name):
                names.append(name)
                rows.append(feature[None])
    return track_features(np.concatenate(rows), names)


def number_people(
    tracks: Sequence[IndexedTrack],
    people: Sequence[int],
    said: Corrections,
    taken: Collection[str] = (),
) -> list[int]:
    """Return a number, 1 or higher, for each of the people 0, 1, … that tracks show.

    A person keeps the number that a user gave, or that most of the person's images have in the
    index. All others get free numbers.

    people: (T,). taken: all identities in the index.
    """
    votes: Counter[tuple[int, int]] = Counter()
    for i, (each, person) in enumerate(zip(tracks, people, strict=True)):
        identities = Counter(about.identity for _, about in each.images)
        if i in said.names:
            identities = Counter({said.names[i]: MORE})
        for text, times in identities.items():
            if number := number_in(text):
                votes[person, number] += times
    numbers = assigned(votes)
    used = {number for _, number in votes} | {number_in(text) for text in taken}
    new = (number for number in count(1) if number not in used)
    return [numbers[i] if i in numbers else next(new) for i in range(max(people) + 1)]


def known_name(track: IndexedTrack, said: str | None) -> str:
    """Return the name that a user gave to the person on a track, or "".

    said: the name in the corrections; by default, the name of most of the track's images in the
    index.
    """
    texts = [said] if said else [about.identity or "" for _, about in track.images]
    names = Counter(text for text in texts if text and not number_in(text))
    return names.most_common(1)[0][0] if names else ""


def name_people(people: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    """Return {person: name} for the people named by a user.

    people, names: (T,), one per track; see known_name. Each person gets at most one name, and each
    name one person; the pairs with the most tracks come first.
    """
    both = zip(people, names, strict=True)
    return assigned(Counter(pair for pair in both if pair[1]))


def decide(index: Gallery, names: Mapping[Path, str]) -> None:
    """Remember that a user has named the tracks of these images, or has cleared their names.

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
    """Return {image: the identity that a user gave it} for images on identified tracks.

    A name takes precedence over a number.
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
