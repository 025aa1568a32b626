"""What every operation of the service needs: its call, its parameters, and how images are shown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from person_reid.arrays import as_float32
from person_reid.config.search import pair
from person_reid.config.times import instant, moment
from person_reid.gallery.metadata import About, Filter
from person_reid.retrieval.similarity import Features
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

CLIENT_FACTS = ("identity", "camera", "time", "track")  # what a client says of an image
MOST_ANSWERS = 1000  # of one question
FILTER_NAMES = ("identity", "camera", "track", "source", "after", "before", "where")
Answer = dict[str, Any] | Response
T = TypeVar("T")


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

    async def said(self) -> About:
        """Return what was sent of images; an empty text says that it is not known."""
        values = await self.values(*CLIENT_FACTS)
        return About(**{name: client_text(name, value) for name, value in values.items()})

    def shown(self, path: Path, about: About) -> dict[str, Any]:
        """Return what is known of an image."""
        return {"id": self.service.ids.of(path)} | about.facts()

    def which(self, all_of_them: bool = True) -> Filter:
        """Return the filter that the parameters describe. Raises Problem if it has to be one."""
        if not (all_of_them or self.parameters.keys() & {*FILTER_NAMES}):
            raise Problem(400, f"Say which images: {', '.join(FILTER_NAMES)}.")
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
PAIR_SCHEMA = {**NAME_SCHEMA, "pattern": "^[^=]+=.+"}
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
    "time": Parameter(instant, TEXT_SCHEMA, "when the images were taken"),
    "after": Parameter(moment, TEXT_SCHEMA, "only images from this time on"),
    "before": Parameter(moment, TEXT_SCHEMA, "only images from before this time"),
    "where": Parameter(column, PAIR_SCHEMA, "a further column, as store=3", several=True),
    "allow_forgotten": Parameter(yes_or_no, YES_SCHEMA, "also add images that were forgotten once"),
    "limit": Parameter(
        number(int, 1, MOST_ANSWERS),
        {"type": "integer", "minimum": 1, "maximum": MOST_ANSWERS, "default": 100},
        "answers of a page",
    ),
    "start": Parameter(
        number(int, 0, 2**53),
        {"type": "integer", "minimum": 0, "default": 0},
        "answers to pass over, as `next` of the page before says",
    ),
}


def one_page(call: Call, name: str, every: Iterable[T]) -> dict[str, Any]:
    """Return the answers that a call asks for, under a name, and where the next page starts."""
    limit, start = call.parameters.get("limit", 100), call.parameters.get("start", 0)
    found = list(islice(every, start, start + limit + 1))
    return {name: found[:limit], "next": start + limit if len(found) > limit else None}


def not_listed() -> Problem:
    """Return what a client is told of an image that the gallery does not hold."""
    return Problem(404, "There is no image with this id.")


async def listed(call: Call) -> tuple[Path, About]:
    """Return the image that an address names. Raises Problem if the gallery does not hold it.

    No path of a client is opened: it is one of the gallery's.
    """
    if (path := call.service.ids.path(call.request.path_params["id"])) is None:
        raise not_listed()
    which = Filter(image=path)
    found = await call.service.galleries.read(
        lambda gallery: next((each for images in gallery.images(which) for each in images), None)
    )
    if found is None:
        raise not_listed()
    return found
