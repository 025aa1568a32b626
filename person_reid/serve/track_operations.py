"""Operations on sightings, the tracks of an index, and people across cameras.

People are linked as in tools/across.py.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from starlette.responses import JSONResponse, Response

from person_reid.config.people import LinkOptions
from person_reid.config.times import EPOCH, stored
from person_reid.gallery.facts import Sighting, sightings
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.indexed_tracks import (
    IndexedTrack,
    cameras_of,
    cannot_be_one,
    indexed_tracks,
    spans,
)
from person_reid.gallery.linked_tracks import (
    LinkedTracks,
    in_words,
    link_indexed,
    record_people,
    some_places,
)
from person_reid.gallery.metadata import About, Filter
from person_reid.gallery.track_records import recorded_tracks
from person_reid.retrieval.association import two_people
from person_reid.retrieval.clusters import numbered_person
from person_reid.serve.call import Answer, Call, one_page, operation
from person_reid.serve.image_ids import ImageIds
from person_reid.serve.parameters import FILTER_NAMES
from person_reid.serve.problems import Problem

LINKING = ("threshold", "after", "before")
MOST_TRACKS = 5000  # the most tracks to link at once


def some_ids(ids: ImageIds, paths: Sequence[Path]) -> list[str]:
    """Return the ids of a few of the images at `paths`."""
    return [ids.of(paths[place]) for place in some_places(len(paths))]


# ----- sightings


@operation(
    "GET /v1/sightings",
    role="read",
    takes=("limit", "start", *FILTER_NAMES),
    answers="Sightings",
)
async def list_sightings(call: Call) -> Answer:
    """Return when and where people were seen: on tracks, or in images less than a minute apart."""
    which, ids = call.which(all_of_them=False), call.service.ids

    def page(gallery: Gallery) -> dict[str, Any]:
        seen, shown = sightings(gallery, which), partial(_sighting, ids)
        return one_page(call, "sightings", seen, lambda each: ids.of(each.images[0]), shown)

    return await call.read(page)


def _sighting(ids: ImageIds, seen: Sighting) -> dict[str, Any]:
    times = {} if seen.first is None else {"first": seen.first, "last": seen.last}
    count = {"count": len(seen.images), "images": some_ids(ids, seen.images)}
    return seen.about.facts() | times | count


# ----- tracks


@operation("GET /v1/tracks", role="read", takes=("limit", "start"), answers="Tracks")
async def list_tracks(call: Call) -> Answer:
    """Return a page of the tracks in the indexed track files."""

    def page(gallery: Gallery) -> dict[str, Any]:
        tracks = indexed_tracks(gallery)[0] if recorded_tracks(gallery) else []
        return one_page(call, "tracks", tracks, _key, partial(_listed_track, call.service.ids))

    return await call.read(page)


def _key(each: IndexedTrack) -> str:
    return f"{each.track.number} {each.record.source}"


def _listed_track(ids: ImageIds, each: IndexedTrack) -> dict[str, Any]:
    names = Counter(about.identity for _, about in each.images if about.identity)
    return _track(ids, each) | ({"identity": names.most_common(1)[0][0]} if names else {})


def _track(ids: ImageIds, each: IndexedTrack) -> dict[str, Any]:
    """Return the facts about a track.

    If its time is unknown, its seconds count from the start of its video.
    """
    facts = {
        "source": each.record.source,
        "track": str(each.track.number),
        "camera": each.record.camera,
        "first": each.track.first,
        "last": each.track.last,
        "boxes": len(each.track.frames),
        "images": some_ids(ids, [path for path, _ in each.images]),
    }
    if each.record.start:
        began = EPOCH + timedelta(seconds=each.track.first)
        facts["time"] = stored(began, "milliseconds")
    return facts


def check_one_place(gallery: Gallery, images: Sequence[tuple[Path, About]], name: str) -> None:
    """Raise Problem if the images of tracks would show a person in two places at once."""
    sources = {record.source for record in recorded_tracks(gallery)}
    if not sources.intersection(about.source for _, about in images):
        return
    tracks: dict[str, set[str]] = defaultdict(set)
    for _, about in chain(images, *gallery.images(Filter(identity=name))):
        if about.source in sources and about.track:
            tracks[about.source].add(about.track)
    theirs, _ = indexed_tracks(gallery, among=tracks)
    apart = cannot_be_one(theirs, two_people(cameras_of(theirs), *spans(theirs)))
    for pair in np.argwhere(apart)[:1].tolist():
        first, second = (f"{theirs[i].record.camera} {theirs[i].name}" for i in pair)
        raise Problem(
            409,
            f"{first} and {second} are at two places at once, so both cannot be {name!r}. If one "
            "of them is not a person, say so first.",
        )


# ----- people across cameras


@operation("POST /v1/across", role="read", takes=LINKING, answers="LinkedTracks")
async def link_tracks(call: Call) -> Answer:
    """Link the tracks into people, as tools/across.py does, and record nothing."""
    async with call.service.linking:
        return await call.read(lambda gallery: _linked(call, gallery))


@operation("PUT /v1/across", role="write", takes=LINKING, answers="LinkedTracks")
async def record_links(call: Call) -> Answer:
    """Link the tracks into people and record who is in each image, as across.py --apply does."""

    def record(gallery: Gallery) -> Response:
        with call.service.audit.line(call.who, "across") as line:
            answer = _linked(call, gallery, record=True)
            line["tracks"] = len(answer["tracks"])
        return JSONResponse(answer)

    async with call.service.linking:
        return await call.service.galleries.write(record)


def _linked(call: Call, gallery: Gallery, record: bool = False) -> dict[str, Any]:
    given = {name: repr(value) for name, value in call.given("threshold").items()}
    options = LinkOptions(index=call.service.galleries.address, **given)
    every, features = indexed_tracks(gallery, call.which())
    if len(features) > MOST_TRACKS:  # memory grows with the square of their number
        raise Problem(
            413,
            f"{len(features):,} tracks; at most {MOST_TRACKS:,} are linked at once. "
            "Narrow the time by after and before, or link them by tools/across.py.",
        )
    linked = link_indexed(gallery, every[: len(features)], options)
    if record:
        record_people(gallery, linked)
    return {
        "threshold": linked.found.threshold,
        "found": in_words(linked),
        "tracks": _linked_tracks(call.service.ids, linked),
    }


def _linked_tracks(ids: ImageIds, linked: LinkedTracks) -> list[dict[str, Any]]:
    return [
        _track(ids, each)
        | {
            "person": stay.person + 1,
            "piece": each.piece,
            "identity": linked.names.get(stay.person) or numbered_person(stay.person + 1),
            "margin": stay.margin,
            "nearest": stay.nearest + 1 if stay.nearest >= 0 else None,
            "given": stay.given,
        }
        for each, stay in zip(linked.tracks, linked.stays, strict=True)
    ]
