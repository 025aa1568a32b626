"""The operations of the service: one function for each, and their table.

A function takes a Call and returns an answer of JSON, or a Response.
"""

import io
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response, StreamingResponse

from person_reid.data.images.image_files import read_image
from person_reid.errors import UserError
from person_reid.gallery.asked_images import known_abouts
from person_reid.gallery.checks import state_of
from person_reid.gallery.decisions import decide
from person_reid.gallery.forgotten import not_forgotten
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.identification import identify as identify_people
from person_reid.gallery.metadata import NOT_A_PERSON, About, Filter, Found, stored_facts
from person_reid.gallery.track_records import recorded_tracks
from person_reid.retrieval.thresholds import judged
from person_reid.serve.operation_calls import (
    CLIENT_FACTS,
    FILTER_NAMES,
    NAME_SCHEMA,
    TEXT_SCHEMA,
    YES_SCHEMA,
    Answer,
    Call,
    listed,
    not_listed,
    one_page,
)
from person_reid.serve.problems import Problem
from person_reid.serve.requests import client_text
from person_reid.serve.track_operations import (
    check_one_place,
    link_tracks,
    list_sightings,
    list_tracks,
    record_links,
)
from person_reid.serve.uploads import SOURCE, store, upload_path
from person_reid.text import near_names

LAST_EVENT = "Last-Event-ID"  # the header of a client that was cut off


# ----- questions


async def embed(call: Call) -> Answer:
    """Return the features of images."""
    features = await call.features()
    return {"dimension": features.shape[1], "features": features.tolist()}


async def search(call: Call) -> Answer:
    """Return the images of the gallery that are most similar to each image."""
    features, which = await call.features(), call.which()
    k, threshold = call.parameters.get("k", 10), call.parameters.get("threshold")
    answers = await call.service.galleries.read(
        lambda gallery: gallery.search(features, k, among=which)
    )
    return {"queries": [_answer(call, found, threshold) for found in answers]}


def _answer(call: Call, found: Sequence[Found], threshold: float | None) -> dict[str, Any]:
    """Return the images that answer a query, and whether the threshold accepts them."""
    known, accepted = judged(threshold, [match.similarity for match in found])
    matches = [
        call.shown(match.path, match.about) | {"similarity": match.similarity, "accepted": fits}
        for match, fits in zip(found, accepted, strict=True)
    ]
    return {"known": known, "matches": matches}


async def identify(call: Call) -> Answer:
    """Return whom each image shows, or all of them together."""
    features, which = await call.features(), call.which()
    people = [features] if call.parameters.get("together") else list(features)
    threshold = call.parameters.get("threshold")
    found = await call.service.galleries.read(
        lambda gallery: identify_people(gallery, people, threshold, which)
    )
    return {"people": [person.to_json() for person in found]}


async def similar_images(call: Call) -> Answer:
    """Return the images that are most similar to an image of the gallery, without itself."""
    (path, _), which = await listed(call), call.which()
    k = call.parameters.get("k", 10)

    def search(gallery: Gallery) -> list[Found]:
        for _, features in gallery.entries(Filter(image=path)):
            (found,) = gallery.search(features, k + 1, among=which)
            return [match for match in found if match.path != path][:k]
        raise not_listed()

    found = await call.service.galleries.read(search)
    return _answer(call, found, call.parameters.get("threshold"))


async def list_images(call: Call) -> Answer:
    """Return a page of the images."""
    which = call.which()

    def page(gallery: Gallery) -> Answer:
        images = (image for some in gallery.images(which) for image in some)
        return one_page(call, "images", (call.shown(*image) for image in images))

    return await call.service.galleries.read(page)


async def show_image(call: Call) -> Answer:
    """Return what is known of an image."""
    return call.shown(*await listed(call))


async def show_picture(call: Call) -> Answer:
    """Return the picture of an image, in JPEG."""
    path, _ = await listed(call)

    def picture(_: Gallery) -> bytes:
        out = io.BytesIO()
        try:
            read_image(path).save(out, "JPEG", quality=90)
        except (OSError, ValueError, UserError):
            raise Problem(404, "The file of this image is gone, or cannot be read.") from None
        return out.getvalue()

    return Response(await call.service.galleries.read(picture), media_type="image/jpeg")


async def list_people(call: Call) -> Answer:
    """Return whom the gallery knows."""
    names = await call.service.galleries.read(lambda gallery: gallery.values("identity"))
    return {"people": [name for name in names if name != NOT_A_PERSON]}


async def list_cameras(call: Call) -> Answer:
    """Return the cameras that took images of the gallery."""
    names = await call.service.galleries.read(lambda gallery: gallery.values("camera"))
    return {"cameras": names}


# ----- changes


async def add_images(call: Call) -> Answer:
    """Add images with what is known of them; the same image is added once."""
    more = dict(call.parameters.get("where", ())) or None
    about = stored_facts(About(**call.given(*CLIENT_FACTS), source=SOURCE, more=more))
    images = await call.pictures()
    features = await call.service.embed(images)
    allowed = call.parameters.get("allow_forgotten", False)

    def add(gallery: Gallery) -> list[tuple[Path, About]]:
        if about.identity:
            check_new_name(gallery, about.identity)
        paths = [upload_path(gallery, image) for image in images]
        new = [path for path in paths if not path.exists()]
        for image, path in zip(images, paths, strict=True):
            store(image, path)
        try:
            if len(not_forgotten(gallery, paths, allowed)) < len(paths):
                raise Problem(409, "An image was forgotten once. allow_forgotten=true adds it.")
            abouts = dict.fromkeys(paths, about)
            gallery.add(paths, features, abouts, [state_of(path) for path in paths])
        except BaseException:
            for path in new:
                path.unlink(missing_ok=True)
            raise
        if about.identity:
            decide(gallery, dict.fromkeys(paths, about.identity))
        known = known_abouts(gallery, paths)
        return [(path, known[path]) for path in paths]

    added = await call.service.galleries.write(add)
    if about.identity:
        call.service.record(call.who, "add", identity=about.identity, images=len(added))
    return {"images": [call.shown(*image) for image in added]}


def check_new_name(gallery: Gallery, name: str) -> None:
    """Raise Problem if somebody of nearly the same name is known."""
    for _, other in near_names([name], gallery.values("identity")):
        raise Problem(409, f"Somebody is called {other!r} already. Use that name, or another one.")


async def describe_images(call: Call) -> Answer:
    """Change what is known of the images that all parameters together describe."""
    about = await call.said()
    return {"images": await _describe(call, call.which(all_of_them=False), about)}


async def describe_image(call: Call) -> Answer:
    """Change what is known of an image; an empty identity clears the name."""
    path, _ = await listed(call)
    await _describe(call, Filter(image=path), await call.said(), image=call.service.ids.of(path))
    return call.shown(*await listed(call))


async def _describe(call: Call, which: Filter, about: About, **details: str) -> int:
    def describe(gallery: Gallery) -> int:
        images = [image for some in gallery.images(which) for image in some]
        if about.identity and about.identity != NOT_A_PERSON:
            check_new_name(gallery, about.identity)
            check_one_place(gallery, images, about.identity)
        if about.track is not None:
            check_track_files(gallery, images)
        paths = [path for path, _ in images]
        count = gallery.describe(dict.fromkeys(paths, about))
        if about.identity is not None:
            decide(gallery, dict.fromkeys(paths, about.identity))
        return count

    count = await call.service.galleries.write(describe)
    if about.identity is not None:
        details = details or {name: str(value) for name, value in call.parameters.items()}
        call.service.record(call.who, "name", **{**details, "identity": about.identity})
    return count


def check_track_files(gallery: Gallery, images: Sequence[tuple[Path, About]]) -> None:
    """Raise Problem if images are of a track file, which alone says their tracks."""
    files = {record.source for record in recorded_tracks(gallery)}
    for _, about in images:
        if about.source in files:
            raise Problem(409, f"The track file of {about.source!r} says the tracks of its images.")


async def rename_person(call: Call) -> Answer:
    """Give the images of a person another name; merge says that both are one person."""
    values = await call.values("identity", "to", "merge")
    old, new = values.get("identity"), values.get("to")
    merge = values.get("merge", False)
    if not (isinstance(old, str) and isinstance(new, str) and old and new.strip()):
        raise Problem(400, "Expected the names identity and to, as texts.")
    if not isinstance(merge, bool):
        raise Problem(400, "merge: expected true or false.")
    client_text("to", new)

    def rename(gallery: Gallery) -> int:
        names = gallery.values("identity")
        if old not in names:
            raise Problem(404, f"Nobody is called {old!r}.")
        if new in names and not merge:
            raise Problem(409, f"Somebody is called {new!r} already. merge=true makes them one.")
        which = Filter(identity=old)
        paths = [path for images in gallery.images(which) for path, _ in images]
        count = gallery.describe(dict.fromkeys(paths, About(identity=new)))
        decide(gallery, dict.fromkeys(paths, new))
        return count

    count = await call.service.galleries.write(rename)
    call.service.record(call.who, "rename", identity=old, to=new, images=count)
    return {"images": count}


async def forget(call: Call) -> Answer:
    """Delete the images that all parameters together describe, and what is known of them."""
    return await _forget(call, call.which(all_of_them=False), ", ".join(call.parameters))


async def forget_image(call: Call) -> Answer:
    """Delete an image, and what is known of it."""
    path, _ = await listed(call)
    return await _forget(call, Filter(image=path), "id")


async def _forget(call: Call, which: Filter, words: str) -> Answer:
    count = await call.service.galleries.write(lambda gallery: gallery.forget(which, words))
    call.service.record(call.who, "forget", by=words, images=count)
    await call.service.forget_names()
    return {"images": count}


# ----- the service itself


async def alive(_: Call) -> Answer:
    """Return that the service runs."""
    return {"status": "alive"}


async def ready(call: Call) -> Answer:
    """Return that the gallery can be asked, and how many images it holds."""
    return {"status": "ready", "images": await call.service.galleries.read(len)}


async def metrics(call: Call) -> Answer:
    """Return figures about the requests, for Prometheus."""
    return Response(call.service.usage.text(), media_type=CONTENT_TYPE_LATEST)


async def events(call: Call) -> Answer:
    """Return who appears in front of the cameras, as server-sent events that do not end."""
    last = call.request.headers.get(LAST_EVENT, "")
    after = int(last) if re.fullmatch("[0-9]{1,15}", last) else None
    return StreamingResponse(call.service.events.listen(after), media_type="text/event-stream")


@dataclass(frozen=True)
class Operation:
    """A method of an address.

    role: what a token has to allow; None asks for no token. parameters: names in PARAMETERS. sends:
    "images", "features" (images or features), or {key: its JSON Schema} of an object. answers: the
    name of a schema in openapi.py, or a media type. header: one that a client may send.
    """

    method: str
    path: str
    role: str | None
    act: Callable[[Call], Awaitable[Answer]]
    answers: str
    parameters: Sequence[str] = ()
    sends: str | Mapping[str, Mapping[str, Any]] | None = None
    header: str | None = None

    @property
    def name(self) -> str:
        """The name of the operation, for figures and clients."""
        return self.act.__name__

    @property
    def summary(self) -> str:
        """What the operation does, in a line."""
        return (self.act.__doc__ or "").splitlines()[0]


IMAGE_FACTS: Mapping[str, Mapping[str, Any]] = dict.fromkeys(CLIENT_FACTS, TEXT_SCHEMA)
RENAMING: Mapping[str, Mapping[str, Any]] = {
    "identity": NAME_SCHEMA,
    "to": NAME_SCHEMA,
    "merge": YES_SCHEMA,
}
LINKING = ("threshold", "after", "before")
ALL_OPERATIONS = (
    Operation("POST", "/v1/embed", "read", embed, "Features", (), "images"),
    Operation(
        "POST",
        "/v1/search",
        "read",
        search,
        "Answers",
        ("k", "threshold", *FILTER_NAMES),
        "features",
    ),
    Operation(
        "POST",
        "/v1/identify",
        "read",
        identify,
        "Identifications",
        ("threshold", "together", *FILTER_NAMES),
        "features",
    ),
    Operation("GET", "/v1/images", "read", list_images, "Page", ("limit", "start", *FILTER_NAMES)),
    Operation(
        "POST",
        "/v1/images",
        "write",
        add_images,
        "Images",
        (*CLIENT_FACTS, "where", "allow_forgotten"),
        "images",
    ),
    Operation("PATCH", "/v1/images", "write", describe_images, "Count", FILTER_NAMES, IMAGE_FACTS),
    Operation("DELETE", "/v1/images", "forget", forget, "Count", FILTER_NAMES),
    Operation("GET", "/v1/images/{id}", "read", show_image, "Image"),
    Operation("PATCH", "/v1/images/{id}", "write", describe_image, "Image", (), IMAGE_FACTS),
    Operation("DELETE", "/v1/images/{id}", "forget", forget_image, "Count"),
    Operation("GET", "/v1/images/{id}/picture", "read", show_picture, "image/jpeg"),
    Operation(
        "GET",
        "/v1/images/{id}/similar",
        "read",
        similar_images,
        "Answer",
        ("k", "threshold", *FILTER_NAMES),
    ),
    Operation("GET", "/v1/cameras", "read", list_cameras, "Cameras"),
    Operation("GET", "/v1/people", "read", list_people, "People"),
    Operation("POST", "/v1/people/rename", "write", rename_person, "Count", (), RENAMING),
    Operation(
        "GET",
        "/v1/sightings",
        "read",
        list_sightings,
        "Sightings",
        ("limit", "start", *FILTER_NAMES),
    ),
    Operation("GET", "/v1/tracks", "read", list_tracks, "Tracks", ("limit", "start")),
    Operation("POST", "/v1/across", "read", link_tracks, "LinkedTracks", LINKING),
    Operation("PUT", "/v1/across", "write", record_links, "LinkedTracks", LINKING),
    Operation("GET", "/v1/events", "read", events, "text/event-stream", header=LAST_EVENT),
    Operation("GET", "/v1/health/live", None, alive, "Health"),
    Operation("GET", "/v1/health/ready", None, ready, "Health"),
    Operation("GET", "/v1/metrics", "read", metrics, "text/plain"),
)
