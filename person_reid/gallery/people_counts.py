"""Count the people of each day and camera, and say how sure the counts are.

for count in count_people(linked):
    print(count.date, count.camera, count.people, count.fewest, count.most)

A count is the number of groups of linked tracks, and `fewest` and `most` are what People.count says
of it: the true number lay between them in nine of ten draws of people, see docs/accuracy.md.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from person_reid.gallery.indexed_tracks import IndexedTrack
from person_reid.gallery.linked_tracks import LinkedTracks
from person_reid.retrieval.association import Stay
from person_reid.text import counted, printable

ALL_CAMERAS = ""


class PeopleCount(NamedTuple):
    """The distinct people of a local date, "" if it is unknown, and of a camera, or of all.

    fewest, most: the range of the true number, None where it cannot be said. named: how many of
    them have a name.
    """

    date: str
    camera: str
    people: int
    fewest: int | None
    most: int | None
    named: int


def count_people(linked: LinkedTracks) -> list[PeopleCount]:
    """Return the counts of each date, first of all cameras and then of each.

    A track belongs to the date on which it begins.
    """
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, track in enumerate(linked.tracks):
        for camera in (ALL_CAMERAS, track.record.camera):
            places[track.date(), camera].append(i)
    counts = []
    for (date, camera), rows in sorted(places.items()):
        cameras = {linked.tracks[i].record.camera for i in rows}
        people, fewest, most = linked.found.count(np.array(rows), len(cameras))
        named = {linked.stays[i].person for i in rows} & linked.names.keys()
        counts.append(PeopleCount(date, camera, people, fewest, most, len(named)))
    return counts


def lines_of_people(linked: LinkedTracks) -> list[str]:
    """Return a line for each date, and one for each person who has a name."""
    return [*_lines_of_dates(count_people(linked)), *_lines_of_named(linked)]


def _lines_of_dates(counts: Sequence[PeopleCount]) -> list[str]:
    """Return a line for each date, such as "2026-11-01: 4 people (3 to 5); hall 3, yard 2"."""
    lines: dict[str, list[str]] = defaultdict(list)
    for each in counts:
        sure = each.fewest == each.most
        words = str(each.people) + ("" if sure else f" ({each.fewest} to {each.most})")
        if each.camera == ALL_CAMERAS:
            people = counted(each.people, "person", "people")
            lines[each.date].append(words.replace(str(each.people), people, 1))
        else:
            lines[each.date].append(f"{printable(each.camera)} {words}")
    return [
        f"{date or 'without a date'}: {'; '.join([every, ', '.join(cameras)])}"
        for date, (every, *cameras) in lines.items()
    ]


def _lines_of_named(linked: LinkedTracks) -> list[str]:
    """Return a line for each person who has a name: before which camera, from when to when."""
    stays: dict[int, list[tuple[IndexedTrack, Stay]]] = defaultdict(list)
    for both in zip(linked.tracks, linked.stays, strict=True):
        stays[both[1].person].append(both)
    in_order = {
        person: sorted(some, key=lambda both: (both[0].date(), both[1].first))
        for person, some in stays.items()
    }
    return [
        f"{printable(name)}: " + "; ".join(map(_when, in_order[person]))
        for person, name in sorted(linked.names.items(), key=lambda each: each[1])
    ]


def _when(both: tuple[IndexedTrack, Stay]) -> str:
    """Return a camera and a span, such as "hall 2026-11-01 09:30:00 to 09:30:04"."""
    track, stay = both
    first, last = stay.times
    if not track.date():
        return f"{printable(stay.camera)} {first} s to {last} s"
    same_day = first[:10] == last[:10]
    return f"{printable(stay.camera)} {first[:19]} to {last[11:19] if same_day else last[:19]}"
