"""Link the tracks of an index into people, and record the people.

every, features = indexed_tracks(index)
linked = link_indexed(index, every[: len(features)], options)
record_people(index, linked)                          # their names, in the index
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import combinations
from math import isfinite
from pathlib import Path

import numpy as np

from person_reid.config.people import LinkOptions
from person_reid.config.times import EPOCH
from person_reid.data.video.tracked_boxes import doubled
from person_reid.errors import UserError
from person_reid.gallery.doubted_tracks import doubted_tracks
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.indexed_network import measured_threshold, track_cosines_of
from person_reid.gallery.indexed_tracks import (
    Corrections,
    IndexedTrack,
    cameras_of,
    cannot_be_one,
    check_clocks,
    corrections_of,
    listed_names,
    names_of_tracks,
    remark_on_times,
    spans,
)
from person_reid.gallery.metadata import NOT_A_PERSON, About, listed_path
from person_reid.gallery.naming import (
    decide,
    decided_names,
    known_name,
    name_people,
    number_people,
    photographed_people,
)
from person_reid.gallery.track_pieces import split_indexed
from person_reid.retrieval.association import (
    DOUBTED,
    DOUBTFUL,
    NOBODY,
    People,
    Stay,
    TrackPairs,
    Travel,
    link_tracks,
    read_travel,
    two_people,
)
from person_reid.retrieval.clusters import number_in, numbered_person
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.retrieval.thresholds import DIGITS
from person_reid.text import counted

SHOWN_IMAGES = 4  # images per track on the page
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkedTracks:
    """The tracks in an index that have images, and the people on them.

    found: the links. said: the user's statements about the tracks. stays: the tracks as pages and
    pictures show them, with the permanent numbers of people. shown: (track number, position in the
    track) of each image on the page; numbers after the linked tracks belong to `nobody`.
    identities: all identities in the index, whose numbers no new person gets. nobody: further
    tracks, which do not count: a user has marked them as not a person, or they may not show one.
    options: the options of the linking.
    """

    tracks: list[IndexedTrack]
    found: People
    said: Corrections
    stays: list[Stay]
    shown: list[tuple[int, int]]
    identities: set[str]
    nobody: list[tuple[IndexedTrack, Stay]]
    options: LinkOptions

    @cached_property
    def names(self) -> dict[int, str]:
        """The names of named people: {person of a stay: name}."""
        return name_people(*zip(*((stay.person, stay.known) for stay in self.stays), strict=True))

    def faces(self) -> dict[int, tuple[Path, str]]:
        """Return {person: (a large, typical image, the name or "")}."""
        images: dict[int, list[tuple[Path, Features, float]]] = defaultdict(list)
        for each, stay in zip(self.tracks, self.stays, strict=True):
            places = np.searchsorted(each.track.frames, each.frames()).clip(
                max=len(each.track.frames) - 1
            )
            heights = np.diff(each.track.boxes[places][:, [1, 3]])[:, 0]
            for (path, _), feature, height in zip(
                each.images, each.features, heights.tolist(), strict=True
            ):
                if path.is_file():
                    images[stay.person].append((path, feature, height))
        found = {}
        for person, some in images.items():
            paths, features, heights = zip(*some, strict=True)
            like = unit_rows(np.stack(features)) @ unit_rows(np.sum(features, 0)[None])[0]
            best = int((like * np.sqrt(heights)).argmax())
            found[person] = paths[best], self.names.get(person, "")
        return found


def seen_twice(tracks: Sequence[IndexedTrack], names: Mapping[int, str]) -> list[tuple[int, int]]:
    """Return the pairs of tracks in one video that show the same person twice; see doubled.

    names: {track: the name of its person}. Tracks with two names are two people.
    """
    sources: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(tracks):
        sources[each.record.source].append(i)
    pairs = (
        (group[i], group[j])
        for group in sources.values()
        for i, j in doubled([tracks[row].track for row in group])
    )
    return [(i, j) for i, j in pairs if len({names.get(i), names.get(j)} - {None}) < 2]


def link_indexed(index: Gallery, tracks: list[IndexedTrack], options: LinkOptions) -> LinkedTracks:
    """Return the people on an index's tracks, every one of which must have images.

    Raises UserError if a user has marked all tracks as not a person.
    """
    travel = times_between(options.travel, tracks) if options.travel else None
    threshold = measured_threshold(options.threshold, index, "track")
    remark_on_times(tracks)
    known, origin = _said_of_images(index, tracks, options)
    tracks, features = split_indexed(tracks, known)
    named = names_of_tracks(known, tracks, origin)
    nobody = [i for i, name in named.items() if name == NOT_A_PERSON]
    if len(nobody) == len(tracks):
        raise UserError(f"{origin}: no track shows a person, so there is nobody to link.")
    doubted = [i for i in doubted_tracks(tracks) if i not in named]
    if len(nobody) + len(doubted) == len(tracks):
        doubted = []
    others = [tracks[i] for i in (*doubted, *nobody)]
    people = sorted({*range(len(tracks))} - {*doubted, *nobody})
    tracks, features = [tracks[i] for i in people], features[people]
    named = {row: named[i] for row, i in enumerate(people) if i in named}
    said = corrections_of(named, tracks, travel, origin)
    names, photographs = photographed_people(index, tracks)

    # A photograph is linked like a track with an unknown camera and time.
    starts, ends = (np.append(times, [np.nan] * len(names)) for times in spans(tracks))
    same, different = _with_photographs(said, names, len(tracks))
    doubles = seen_twice(tracks, said.names)
    every = link_tracks(
        np.concatenate([features, photographs]),
        cameras_of(tracks) + [""] * len(names),
        starts,
        ends,
        threshold=threshold,
        travel=travel,
        cosines=track_cosines_of(index),
        same=[*same, *doubles],
        different=different,
        twice=[*said.twice, *doubles],
    )
    found = every.of(np.arange(len(tracks)))
    recognized = dict(zip(every.labels[len(tracks) :].tolist(), names, strict=True))
    identities = {*index.values("identity")} - {NOT_A_PERSON}
    numbers = number_people(tracks, found.labels.tolist(), said, identities)
    persons = [numbers[label] - 1 for label in found.labels.tolist()]
    persons += [DOUBTED] * len(doubted) + [NOBODY] * len(nobody)
    stays, shown = _describe([*tracks, *others], persons, found, said, recognized, travel)
    return LinkedTracks(
        tracks=tracks,
        found=found,
        said=said,
        stays=stays[: len(tracks)],
        shown=shown,
        identities=identities,
        nobody=[*zip(others, stays[len(tracks) :], strict=True)],
        options=options,
    )


def _with_photographs(
    said: Corrections, names: list[str], tracks: int
) -> tuple[TrackPairs, TrackPairs]:
    """Return the pairs that show one person, and those that show two; photographs follow tracks.

    names: the name of the person in each photograph.
    """
    photographs = {name: tracks + i for i, name in enumerate(names)}
    both = [(i, photographs[name]) for i, name in said.names.items() if name in photographs]
    of_each = {name: i for i, name in said.names.items()} | photographs
    return [*said.same, *both], combinations(of_each.values(), 2)


def times_between(file: str, tracks: list[IndexedTrack]) -> Travel:
    """Return the minimum seconds between the cameras of tracks; see read_travel.

    Raises UserError unless the start of each file is known.
    """
    travel = read_travel(Path(file), {each.record.camera for each in tracks})
    check_clocks(tracks)
    return travel


def _said_of_images(
    index: Gallery, tracks: list[IndexedTrack], options: LinkOptions
) -> tuple[dict[Path, str], str]:
    """Return the identities that a user gave to images on tracks, and their sources as text.

    A list takes precedence over the index.
    """
    listed = listed_names(Path(options.corrections), tracks) if options.corrections else {}
    others = [each for each in tracks if not any(path in listed for path, _ in each.images)]
    decided = decided_names(index, others)
    if decided:
        count = sum(any(path in decided for path, _ in each.images) for each in others)
        log.info("%s: somebody has said whom %s show", index.path, counted(count, "track"))
    origins = [options.corrections] * bool(listed) + [str(index.path)] * bool(decided)
    return decided | listed, " and ".join(filter(None, origins))


def _describe(
    tracks: list[IndexedTrack],
    people: list[int],
    found: People,
    said: Corrections,
    recognized: dict[int, str],
    travel: Travel | None,
) -> tuple[list[Stay], list[tuple[int, int]]]:
    """Return a page's stays, and its images as (track number, position in the track).

    people: the person of each track; tracks beyond those in `found` do not count.
    recognized: {person of `found`: the name that photographs give}.
    """
    nobody = len(tracks) - len(found.labels)
    labels = found.labels.tolist()
    margins = [margin if isfinite(margin) else None for margin in found.margins.tolist()]
    margins += [None] * nobody
    number_of = dict(zip(labels, people, strict=False))
    nearest = [number_of.get(k, NOBODY) for k in found.nearest.tolist()] + [NOBODY] * nobody
    known = [
        known_name(each, said.names.get(i)) or recognized.get(label, "")
        for i, (each, label) in enumerate(zip(tracks, labels, strict=False))
    ] + [""] * nobody
    at_once = two_people(cameras_of(tracks), *spans(tracks), travel)
    apart = cannot_be_one(tracks, at_once)
    begin = begin_of(tracks)
    start = (begin - EPOCH).total_seconds() if begin else 0
    stays: list[Stay] = []
    shown: list[tuple[int, int]] = []
    for i, each in enumerate(tracks):
        zero = start if each.record.start else 0
        chosen = [(i, place) for place in some_places(len(each.images))]
        stays.append(
            Stay(
                person=people[i],
                camera=each.record.camera,
                first=each.track.first - zero,
                last=each.track.last - zero,
                name=each.name,
                times=each.times(),
                boxes=len(each.track.frames),
                margin=margins[i],
                nearest=nearest[i],
                images=tuple(range(len(shown), len(shown) + len(chosen))),
                rows=tuple(
                    (listed_path(path), *(value or "" for value in about[:-1]))
                    for path, about in each.images
                ),
                known=known[i],
                given=i in said.names or people[i] == NOBODY,
                twice=tuple(np.flatnonzero(at_once[i] & ~apart[i]).tolist()),
                apart=tuple(np.flatnonzero(apart[i]).tolist()),
            )
        )
        shown += chosen
    return stays, shown


def some_places(images: int) -> list[int]:
    """Return the indices of a few images that represent a track with this number of images."""
    places = np.linspace(0, images - 1, SHOWN_IMAGES).round().astype(int)
    return np.unique(places).tolist() if images else []


def begin_of(tracks: list[IndexedTrack]) -> datetime | None:
    """Return the local time at which the first track begins, if known."""
    known = [each.track.first for each in tracks if each.record.start]
    return (EPOCH + timedelta(seconds=min(known))).astimezone() if known else None


def in_words(linked: LinkedTracks) -> str:
    """Describe how many people were found, and how."""
    cameras: dict[int, set[str]] = defaultdict(set)
    for stay in linked.stays:
        cameras[stay.person].add(stay.camera)
    several = sum(len(seen) > 1 for seen in cameras.values())
    doubtful = sum(stay.margin is not None and stay.margin < DOUBTFUL for stay in linked.stays)
    tracks = {(each.record.source, each.track.number) for each in linked.tracks}
    cuts = len(linked.tracks) - len(tracks)
    doubts = sum(stay.person == DOUBTED for _, stay in linked.nobody)
    doubt = f"; {counted(doubts, 'track')} not counted, perhaps not of people" if doubts else ""
    cut = f", cut at {counted(cuts, 'change')} of the person" if cuts else ""
    return (
        f"{counted(len(cameras), 'person', 'people')} on {counted(len(tracks), 'track')}{cut}, "
        f"{several} seen by several cameras; "
        f"threshold {linked.found.threshold:.{DIGITS}f}; "
        f"{counted(doubtful, 'doubtful track')}{doubt}"
    )


def record_people(index: Gallery, linked: LinkedTracks, everybody: bool = True) -> int:
    """Record in the index the person in each image, unless a user has named that person.

    A list's identities are recorded unchanged. everybody: also record unnamed people, under their
    numbers. Returns the number of images.
    """
    names, said = {}, {}
    for i, (each, stay) in enumerate(zip(linked.tracks, linked.stays, strict=True)):
        name = linked.said.names.get(i)
        for path, about in each.images:
            if name or (everybody and (not about.identity or number_in(about.identity))):
                names[path] = About(identity=name or numbered_person(stay.person + 1))
            if name:
                said[path] = name
    for each, stay in linked.nobody:
        if stay.person == NOBODY:
            said |= {path: NOT_A_PERSON for path, _ in each.images}
        elif everybody:
            numbered = (path for path, about in each.images if number_in(about.identity))
            names |= dict.fromkeys(numbered, About(identity=""))
    names |= {path: About(identity=NOT_A_PERSON) for path in said if said[path] == NOT_A_PERSON}
    count = index.describe(names)
    decide(index, said)
    return count
