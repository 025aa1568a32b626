"""The operations of the service: each is a function below its declaration.

A function takes a Call and returns values for a JSON answer, or a Response.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from person_reid.config.times import stored
from person_reid.data.images.image_files import read_image
from person_reid.errors import UserError
from person_reid.gallery.checks import state_of
from person_reid.gallery.forgetting import not_forgotten
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.identification import identify as identify_people
from person_reid.gallery.metadata import NOT_A_PERSON, About, Filter, Found, stored_facts
from person_reid.gallery.naming import decide
from person_reid.gallery.track_records import recorded_tracks
from person_reid.retrieval.thresholds import judged
from person_reid.serve import track_operations
from person_reid.serve.call import (
    Answer,
    Call,
    Operation,
    listed,
    not_listed,
    one_page,
    operation,
)
from person_reid.serve.feeds import BOUNDARY, MOTION, as_jpeg
from person_reid.serve.parameters import (
    CLIENT_FACTS,
    FILTER_NAMES,
    MOST_PIXELS,
    NAME_SCHEMA,
    TEXT_SCHEMA,
    YES_SCHEMA,
    client_text,
)
from person_reid.serve.problems import Problem
from person_reid.serve.service import Cameras
from person_reid.serve.track_operations import check_one_place
from person_reid.serve.uploads import SOURCE, store, upload_folder
from person_reid.text import near_names

LAST_EVENT = "Last-Event-ID"  # sent by a client that reconnects
IMAGE_FACTS: Mapping[str, Mapping[str, Any]] = dict.fromkeys(CLIENT_FACTS, TEXT_SCHEMA)
RENAMING: Mapping[str, Mapping[str, Any]] = {
    "identity": NAME_SCHEMA,
    "to": NAME_SCHEMA,
    "merge": YES_SCHEMA,
}


# ----- questions


@operation("POST /v1/embed", role="read", sends="images", answers="Features")
async def embed(call: Call) -> Answer:
    """Return the features of images."""
    features = await call.service.embed(await call.images())
    answer = {"dimension": features.shape[1], "features": features}
    return await call.service.compute(
        lambda: JSONResponse(answer | {"features": features.tolist()})
    )


@operation(
    "POST /v1/search",
    role="read",
    takes=("k", "threshold", *FILTER_NAMES),
    sends="features",
    answers="Answers",
)
async def search(call: Call) -> Answer:
    """Return the images in the gallery that are most similar to each image."""
    features, which = await call.features(), call.which()
    k, threshold = call.parameters.get("k", 10), call.parameters.get("threshold")

    def ask(gallery: Gallery) -> dict[str, Any]:
        found = gallery.search(features, k, among=which)
        return {"queries": [_answer(call, each, threshold) for each in found]}

    return await call.read(ask)


def _answer(call: Call, found: Sequence[Found], threshold: float | None) -> dict[str, Any]:
    """Return the images found for a query, and which of them the threshold accepts."""
    known, accepted = judged(threshold, [match.similarity for match in found])
    matches = [
        call.shown(match.path, match.about) | {"similarity": match.similarity, "accepted": fits}
        for match, fits in zip(found, accepted, strict=True)
    ]
    return {"known": known, "matches": matches}


@operation(
    "POST /v1/identify",
    role="read",
    takes=("threshold", "together", *FILTER_NAMES),
    sends="features",
    answers="Identifications",
)
async def identify(call: Call) -> Answer:
    """Return the person in each image, or in all images together."""
    features, which = await call.features(), call.which()
    people = [features] if call.parameters.get("together") else list(features)
    threshold = call.parameters.get("threshold")

    def ask(gallery: Gallery) -> dict[str, Any]:
        if not any(gallery.images(replace(which, has_identity=True))):
            raise Problem(422, "Nobody has a name here. Name images: PATCH /v1/images/{id}")
        found = identify_people(gallery, people, threshold, which)
        return {"people": [person.to_json() for person in found]}

    return await call.read(ask)


@operation("GET /v1/images", role="read", takes=("limit", "start", *FILTER_NAMES), answers="Page")
async def list_images(call: Call) -> Answer:
    """Return a page of the images in the gallery."""
    which, ids = call.which(), call.service.ids
    start = call.parameters.get("start")
    key = ids.path(start) if start else ""

    def page(gallery: Gallery) -> dict[str, Any]:
        try:
            images = gallery.listed(which, str(key))
        except ValueError:  # such as None
            raise Problem(404, "start: not the `next` of a page. Begin the list again.") from None
        return one_page(
            call,
            "images",
            images,
            key=lambda row: ids.of(row[0]),
            shown=lambda row: call.shown(*row[1]),
            begun=True,
        )

    return await call.read(page)


@operation("GET /v1/images/{id}", role="read", answers="Image")
async def show_image(call: Call) -> Answer:
    """Return the facts about an image."""
    return call.shown(*await listed(call))


@operation("GET /v1/images/{id}/picture", role="read", takes=("size",), answers="image/jpeg")
async def show_picture(call: Call) -> Answer:
    """Return an image as a JPEG file, with at most `size` pixels per side."""
    path, _ = await listed(call)
    size = call.parameters.get("size", MOST_PIXELS)

    def picture() -> bytes:
        try:
            return as_jpeg(read_image(path), size, quality=90)
        except (OSError, ValueError, UserError):
            raise Problem(404, "The file of this image is gone, or cannot be read.") from None

    return Response(await call.service.compute(picture), media_type="image/jpeg")


@operation(
    "GET /v1/images/{id}/similar",
    role="read",
    takes=("k", "threshold", *FILTER_NAMES),
    answers="Answer",
)
async def similar_images(call: Call) -> Answer:
    """Return the images most similar to an image in the gallery, excluding that image."""
    (path, _), which = await listed(call), call.which()
    k, threshold = call.parameters.get("k", 10), call.parameters.get("threshold")

    def ask(gallery: Gallery) -> dict[str, Any]:
        for _, features in gallery.entries(Filter(image=path)):
            (found,) = gallery.search(features, k + 1, among=which)
            return _answer(call, [match for match in found if match.path != path][:k], threshold)
        raise not_listed()

    return await call.read(ask)


@operation("GET /v1/people", role="read", answers="People")
async def list_people(call: Call) -> Answer:
    """Return the people in the gallery."""
    names = await call.service.galleries.read(lambda gallery: gallery.values("identity"))
    return {"people": [name for name in names if name != NOT_A_PERSON]}


@operation("GET /v1/cameras", role="read", answers="Cameras")
async def list_cameras(call: Call) -> Answer:
    """Return the cameras that took images in the gallery."""
    names = await call.service.galleries.read(lambda gallery: gallery.values("camera"))
    return {"cameras": names}


# ----- changes


@operation(
    "POST /v1/images",
    role="write",
    takes=(*CLIENT_FACTS, "where", "allow_forgotten"),
    sends="images",
    answers="Images",
)
async def add_images(call: Call) -> Answer:
    """Add images with facts about them; an image that is sent twice is added once."""
    more = call.parameters.get("where")
    about = stored_facts(About(**call.given(*CLIENT_FACTS), source=SOURCE, more=more))
    images = await call.images(keep=True)
    features = await call.service.embed(images)
    allowed = call.parameters.get("allow_forgotten", False)
    # --retain goes by this time; people who are enrolled by name are kept
    now = None if about.identity else stored(datetime.now())
    first = about._replace(time=about.time or now)

    def add(gallery: Gallery) -> dict[Path, About]:
        with call.service.audit.line(call.who, "add", identity=about.identity) as line:
            if about.identity:
                check_new_name(gallery, about.identity)
            paths = [upload_folder(gallery) / image.name for image in images]
            new = [path for path in paths if not path.exists()]
            try:
                for image, path in zip(images, paths, strict=True):
                    store(image.content, path)
                if len(not_forgotten(gallery, paths, allowed)) < len(paths):
                    raise Problem(409, "An image was forgotten once. allow_forgotten=true adds it.")
                known = gallery.abouts(paths)
                abouts = {path: about if path in known else first for path in paths}
                gallery.add(paths, features, abouts, [state_of(path) for path in paths])
                if gone := [path for path in paths if not path.exists()]:  # by another program
                    gallery.forget_at_once(Filter(images=tuple(gone)), "forgotten while added")
                    raise Problem(409, "An image was forgotten while it was added. Send it again.")
            except BaseException:
                for path in new:
                    path.unlink(missing_ok=True)
                raise
            if about.identity:
                decide(gallery, dict.fromkeys(paths, about.identity))
            line["images"] = len({*paths})
            return gallery.abouts(paths)

    added = await call.service.galleries.write(add)
    return {"images": [call.shown(*image) for image in added.items()]}


def check_new_name(gallery: Gallery, name: str, renamed: str | None = None) -> None:
    """Raise Problem if anybody other than the renamed person has nearly the same name."""
    others = [other for other in gallery.values("identity") if other != renamed]
    for _, other in near_names([name], others):
        raise Problem(409, f"Somebody is called {other!r} already. Use that name, or another one.")


@operation("PATCH /v1/images", role="write", takes=FILTER_NAMES, sends=IMAGE_FACTS, answers="Count")
async def describe_images(call: Call) -> Answer:
    """Change facts about the images that match all parameters."""
    about = await call.said()
    words = {"by": ", ".join(call.parameters)}  # not the values, which may be names
    return {"images": await _describe(call, call.which(all_of_them=False), about, words)}


@operation("PATCH /v1/images/{id}", role="write", sends=IMAGE_FACTS, answers="Image")
async def describe_image(call: Call) -> Answer:
    """Change facts about an image; an empty identity clears the name."""
    path, _ = await listed(call)
    about, words = await call.said(), {"image": call.service.ids.of(path)}
    await _describe(call, Filter(image=path), about, words)
    return call.shown(*await listed(call))


async def _describe(call: Call, which: Filter, about: About, words: Mapping[str, str]) -> int:
    def describe(gallery: Gallery) -> int:
        details = {**words, "identity": about.identity}
        with call.service.audit.line(call.who, "name", **details) as line:
            images = [image for some in gallery.images(which) for image in some]
            if about.identity and about.identity != NOT_A_PERSON:
                check_new_name(gallery, about.identity)
                check_one_place(gallery, images, about.identity)
            if about.track is not None:
                check_track_files(gallery, images)
            paths = [path for path, _ in images]
            line["images"] = count = gallery.describe(dict.fromkeys(paths, about))
            if about.identity is not None:
                decide(gallery, dict.fromkeys(paths, about.identity))
            return count

    return await call.service.galleries.write(describe)


def check_track_files(gallery: Gallery, images: Sequence[tuple[Path, About]]) -> None:
    """Raise Problem if images belong to a track file, which alone determines their tracks."""
    files = {record.source for record in recorded_tracks(gallery)}
    for _, about in images:
        if about.source in files:
            raise Problem(409, f"The track file of {about.source!r} says the tracks of its images.")


@operation("POST /v1/people/rename", role="write", sends=RENAMING, answers="Count")
async def rename_person(call: Call) -> Answer:
    """Rename a person in all images; `merge` allows a name that another person has."""
    values = await call.values("identity", "to", "merge")
    old, new = values.get("identity"), client_text("to", values.get("to"))
    merge = values.get("merge", False)
    if not (old and isinstance(old, str) and new and isinstance(merge, bool)):
        raise Problem(400, "Expected the names identity and to, and merge: true or false.")

    def rename(gallery: Gallery) -> int:
        names = gallery.values("identity")
        if old not in names:
            raise Problem(404, f"Nobody is called {old!r}.")
        if new in names and not merge:
            raise Problem(409, f"Somebody is called {new!r} already. merge=true makes them one.")
        if new not in names:
            check_new_name(gallery, new, old)
        images = [image for some in gallery.images(Filter(identity=old)) for image in some]
        check_one_place(gallery, images, new)
        paths = [path for path, _ in images]
        with call.service.audit.line(call.who, "rename", identity=old, to=new) as line:
            line["images"] = gallery.describe(dict.fromkeys(paths, About(identity=new)))
            decide(gallery, dict.fromkeys(paths, new))
        return len(paths)

    return {"images": await call.service.galleries.write(rename)}


@operation("DELETE /v1/images", role="forget", takes=FILTER_NAMES, answers="Count")
async def forget(call: Call) -> Answer:
    """Delete the images that match all parameters, and the facts about them."""
    which, words = call.which(all_of_them=False), ", ".join(call.parameters)
    return {"images": await call.service.forget(call.who, which, words, by=words)}


@operation("DELETE /v1/images/{id}", role="forget", answers="Count")
async def forget_image(call: Call) -> Answer:
    """Delete an image, and the facts about it."""
    path, _ = await listed(call)
    return {"images": await call.service.forget(call.who, Filter(image=path), "id", by="id")}


# ----- the service itself


@operation("GET /v1/events", role="read", header=LAST_EVENT, answers="text/event-stream")
async def events(call: Call) -> Answer:
    """Return who appears in front of the cameras, as an endless stream of server-sent events."""
    last = call.request.headers.get(LAST_EVENT)
    return await call.stream(lambda: call.service.events.listen(last), "text/event-stream")


@operation("GET /v1/health/live", role=None, answers="Health")
async def alive(_: Call) -> Answer:
    """Report that the service is running."""
    return {"status": "alive"}


@operation("GET /v1/health/ready", role=None, answers="Health")
async def ready(call: Call) -> Answer:
    """Report that the gallery is ready, with its number of images and the state of the cameras."""
    troubles = [*call.service.cameras.states().values()] if call.service.cameras else []
    cameras = {"cameras": len(troubles), "cameras_in_trouble": sum(map(bool, troubles))}
    answer = {"status": "ready", "images": await call.service.galleries.read(len)}
    return answer | (cameras if troubles else {})


@operation("GET /v1/live", role="read", answers="LiveCameras")
async def list_live(call: Call) -> Answer:
    """Return the live cameras that the service follows, and their faults."""
    states = call.service.cameras.states() if call.service.cameras else {}
    return {"cameras": [{"camera": name, "trouble": each} for name, each in states.items()]}


@operation("POST /v1/live", role="write", sends={"camera": NAME_SCHEMA}, answers="LiveCameras")
async def try_live(call: Call) -> Answer:
    """Open a live camera again after its password was rejected."""
    camera = (await call.values("camera")).get("camera")
    followed(call, camera).try_again(str(camera))
    return await list_live.act(call)


@operation("GET /v1/live/pictures", role="read", takes=("camera", "size"), answers=MOTION)
async def show_live(call: Call) -> Answer:
    """Return an endless stream of JPEG pictures from a live camera."""
    camera, size = call.parameters.get("camera", ""), call.parameters.get("size", MOST_PIXELS)
    followed(call, camera)
    watch = partial(call.service.pictures.watch, camera, size)
    return await call.stream(watch, f"{MOTION}; boundary={BOUNDARY}")


def followed(call: Call, camera: object) -> Cameras:
    """Return the service's live cameras. Raises Problem unless `camera` is one of them."""
    if not call.service.cameras or camera not in call.service.cameras.states():
        raise Problem(404, "The service follows no camera of this name.")
    return call.service.cameras


@operation("GET /v1/metrics", role="read", answers="text/plain")
async def metrics(call: Call) -> Answer:
    """Return metrics of the requests, for Prometheus."""
    return Response(call.service.usage.text(), media_type=CONTENT_TYPE_LATEST)


ALL_OPERATIONS = tuple(
    each
    for each in (*globals().values(), *vars(track_operations).values())
    if isinstance(each, Operation)
)
