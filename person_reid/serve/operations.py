"""The operations of the service: one function for each, and their table.

A function takes a Call and returns an answer of JSON, or a Response.
"""

import base64
import binascii
import io
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from person_reid.arrays import as_float32
from person_reid.config.search import pair
from person_reid.config.times import instant, moment
from person_reid.data.images.image_files import read_image
from person_reid.errors import UserError
from person_reid.gallery.asked_images import known_abouts
from person_reid.gallery.checks import state_of
from person_reid.gallery.decisions import decide
from person_reid.gallery.forgotten import not_forgotten
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.identification import identify as identify_people
from person_reid.gallery.metadata import About, Filter, Found, stored_facts
from person_reid.gallery.naming import near_names
from person_reid.retrieval.similarity import Features
from person_reid.retrieval.thresholds import judged
from person_reid.serve.problems import Problem
from person_reid.serve.requests import (
    LONGEST_PARAMETER,
    Parameter,
    body_of,
    client_text,
    json_object,
    sent_images,
)
from person_reid.serve.service import Service
from person_reid.serve.uploads import SOURCE, store, upload_path

CLIENT_FACTS = ("identity", "camera", "time", "track")  # what a client says of an image
MOST_ANSWERS = 1000  # of one question
FILTER_NAMES = ("identity", "camera", "track", "source", "after", "before", "where")
Answer = dict[str, Any] | Response


@dataclass(frozen=True)
class Call:
    """A request that was let in: who asks, and the parameters of its address."""

    service: Service
    request: Request
    who: str
    parameters: dict[str, Any] = field(default_factory=dict)

    async def pictures(self) -> list[Any]:
        """Return the images that were sent."""
        body = await body_of(self.request, self.service.most_bytes)
        contents = await sent_images(self.request, body, self.service.limits.most_images)
        return await self.service.decode(contents)

    async def features(self) -> Features:
        """Return the features (N, D) of the images that were sent, or those sent as JSON."""
        if self.request.headers.get("content-type", "").startswith("application/json"):
            values = (await self.values("features")).get("features")
            return as_float32(values, "features")
        return await self.service.embed(await self.pictures())

    async def values(self, *expected: str) -> dict[str, Any]:
        """Return the object of JSON that was sent; its keys are among those expected."""
        return json_object(await body_of(self.request, self.service.most_bytes), expected)

    def given(self, *names: str) -> dict[str, Any]:
        """Return those of some parameters that were given."""
        return {name: self.parameters[name] for name in names if name in self.parameters}

    def which(self) -> Filter:
        """Return the filter that the parameters describe."""
        where = dict(self.parameters.get("where", ())) or None
        return Filter(**self.given(*FILTER_NAMES[:-1]), where=where)


def number(kind: Callable[[str], Any], least: float, most: float) -> Callable[[str], Any]:
    """Return a function that reads a number within bounds."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise ValueError(f"expected a number from {least:g} to {most:g}, found {text!r}")
        return value

    return read


def yes_or_no(text: str) -> bool:
    """Read true or false."""
    if text not in ("true", "false"):
        raise ValueError(f"expected true or false, found {text!r}")
    return text == "true"


def column(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, _, value = pair(text).partition("=")
    return name, value


def name_of(text: str) -> str:
    """Read a name that is not empty."""
    if not text.strip():
        raise ValueError("expected a name")
    return text


TEXT_SCHEMA = {"type": "string"}
NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": LONGEST_PARAMETER}
TIME_SCHEMA = {"type": "string", "examples": ["2026-11-01T08:30Z"]}
YES_SCHEMA = {"type": "boolean", "default": False}
PARAMETERS = {
    "k": Parameter(
        number(int, 1, MOST_ANSWERS),
        {"type": "integer", "minimum": 1, "maximum": MOST_ANSWERS, "default": 10},
        "how many images answer",
    ),
    "threshold": Parameter(
        number(float, -1, 1),
        {"type": "number", "minimum": -1, "maximum": 1},
        "least similarity of what is accepted; tools/threshold.py measures it",
    ),
    "together": Parameter(yes_or_no, YES_SCHEMA, "all images show one person, such as a track"),
    "identity": Parameter(name_of, NAME_SCHEMA, "the person"),
    "camera": Parameter(name_of, NAME_SCHEMA, "the camera"),
    "track": Parameter(name_of, NAME_SCHEMA, "the track"),
    "source": Parameter(name_of, NAME_SCHEMA, "the video or collection"),
    "time": Parameter(instant, TIME_SCHEMA, "when the images were taken"),
    "after": Parameter(moment, TIME_SCHEMA, "only images from this time on"),
    "before": Parameter(moment, TIME_SCHEMA, "only images from before this time"),
    "where": Parameter(column, NAME_SCHEMA, "a further column, as store=3", several=True),
    "allow_forgotten": Parameter(yes_or_no, YES_SCHEMA, "also add images that were forgotten once"),
    "limit": Parameter(
        number(int, 1, MOST_ANSWERS),
        {"type": "integer", "minimum": 1, "maximum": MOST_ANSWERS, "default": 100},
        "images of a page",
    ),
    "start": Parameter(
        number(int, 0, 2**53),
        {"type": "integer", "minimum": 0, "default": 0},
        "images to pass over, as `next` of the page before says",
    ),
}


# ----- images and their names


def id_of(path: Path) -> str:
    """Return the id of an image: its path in the gallery, encoded."""
    return base64.urlsafe_b64encode(os.fsencode(path)).decode().rstrip("=")


def path_of(image_id: str) -> Path:
    """Return the path that an id stands for. Raises Problem if it is not an id."""
    try:
        padded = image_id + "=" * (-len(image_id) % 4)
        return Path(os.fsdecode(base64.b64decode(padded, b"-_", validate=True)))
    except (binascii.Error, ValueError):
        raise Problem(404, "There is no image with this id.") from None


def shown(path: Path, about: About) -> dict[str, Any]:
    """Return what is known of an image."""
    return {"id": id_of(path)} | about.facts()


async def listed(call: Call) -> tuple[Path, About]:
    """Return the image that an address names. Raises Problem if the gallery does not hold it.

    No path of a client is opened: it is one of the gallery's.
    """
    path = path_of(call.request.path_params["id"])
    which = Filter(image=path)
    found = await call.service.galleries.read(
        lambda gallery: next((each for images in gallery.images(which) for each in images), None)
    )
    if found is None:
        raise Problem(404, "There is no image with this id.")
    return found


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
    return {"queries": [_answer(found, threshold) for found in answers]}


def _answer(found: Sequence[Found], threshold: float | None) -> dict[str, Any]:
    """Return the images that answer a query, and whether the threshold accepts them."""
    known, accepted = judged(threshold, [match.similarity for match in found])
    matches = [
        shown(match.path, match.about) | {"similarity": match.similarity, "accepted": fits}
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


async def list_images(call: Call) -> Answer:
    """Return a page of the images."""
    limit, start = call.parameters.get("limit", 100), call.parameters.get("start", 0)
    which = call.which()

    def page(gallery: Gallery) -> list[tuple[Path, About]]:
        images = (image for some in gallery.images(which) for image in some)
        return list(islice(images, start, start + limit + 1))

    found = await call.service.galleries.read(page)
    images = [shown(*image) for image in found[:limit]]
    return {"images": images, "next": start + limit if len(found) > limit else None}


async def show_image(call: Call) -> Answer:
    """Return what is known of an image."""
    return shown(*await listed(call))


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
    return {"people": names}


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
    return {"images": [shown(*image) for image in added]}


def check_new_name(gallery: Gallery, name: str) -> None:
    """Raise Problem if somebody of nearly the same name is known."""
    for _, other in near_names([name], gallery.values("identity")):
        raise Problem(409, f"Somebody is called {other!r} already. Use that name, or another one.")


async def describe_image(call: Call) -> Answer:
    """Change what is known of an image; an empty identity clears the name."""
    path, _ = await listed(call)
    values = await call.values(*CLIENT_FACTS)
    about = About(**{name: client_text(name, value) for name, value in values.items()})

    def describe(gallery: Gallery) -> None:
        if about.identity:
            check_new_name(gallery, about.identity)
        gallery.describe({path: about})
        if about.identity is not None:
            decide(gallery, {path: about.identity})

    await call.service.galleries.write(describe)
    if about.identity is not None:
        call.service.record(call.who, "name", image=id_of(path), identity=about.identity)
    return shown(*await listed(call))


async def rename_person(call: Call) -> Answer:
    """Give the images of a person another name; merge says that both are one person."""
    values = await call.values("identity", "to", "merge")
    old, new, merge = (values.get(name) for name in ("identity", "to", "merge"))
    if not (isinstance(old, str) and isinstance(new, str) and old and new.strip()):
        raise Problem(400, "Expected the names identity and to, as texts.")
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
    if not call.parameters:
        raise Problem(400, f"Say which images: {', '.join(FILTER_NAMES)}.")
    return await _forget(call, call.which(), ", ".join(call.parameters))


async def forget_image(call: Call) -> Answer:
    """Delete an image, and what is known of it."""
    path, _ = await listed(call)
    return await _forget(call, Filter(image=path), "id")


async def _forget(call: Call, which: Filter, words: str) -> Answer:
    count = await call.service.galleries.write(lambda gallery: gallery.forget(which, words))
    call.service.record(call.who, "forget", by=words, images=count)
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


@dataclass(frozen=True)
class Operation:
    """A method of an address.

    role: what a token has to allow; None asks for no token. parameters: names in PARAMETERS. sends:
    "images", "features" (images or features), or {key: its JSON Schema} of an object. answers: the
    name of a schema in openapi.py, or a media type.
    """

    method: str
    path: str
    role: str | None
    act: Callable[[Call], Awaitable[Answer]]
    answers: str
    parameters: Sequence[str] = ()
    sends: str | Mapping[str, Mapping[str, Any]] | None = None

    @property
    def name(self) -> str:
        """The name of the operation, for figures and clients."""
        return self.act.__name__


IMAGE_FACTS: Mapping[str, Mapping[str, Any]] = dict.fromkeys(CLIENT_FACTS, TEXT_SCHEMA)
RENAMING: Mapping[str, Mapping[str, Any]] = {
    "identity": TEXT_SCHEMA,
    "to": TEXT_SCHEMA,
    "merge": YES_SCHEMA,
}
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
    Operation("DELETE", "/v1/images", "forget", forget, "Count", FILTER_NAMES),
    Operation("GET", "/v1/images/{id}", "read", show_image, "Image"),
    Operation("PATCH", "/v1/images/{id}", "write", describe_image, "Image", (), IMAGE_FACTS),
    Operation("DELETE", "/v1/images/{id}", "forget", forget_image, "Count"),
    Operation("GET", "/v1/images/{id}/picture", "read", show_picture, "image/jpeg"),
    Operation("GET", "/v1/people", "read", list_people, "People"),
    Operation("POST", "/v1/people/rename", "write", rename_person, "Count", (), RENAMING),
    Operation("GET", "/v1/health/live", None, alive, "Health"),
    Operation("GET", "/v1/health/ready", None, ready, "Health"),
    Operation("GET", "/v1/metrics", "read", metrics, "text/plain"),
)
