"""The declaration of operations, and the authorised request that each receives.

@operation("POST /v1/search", role="read", sends="features", answers="Answers", takes=("k",))
async def search(call: Call) -> Answer:
    features = await call.features()
    return await call.read(lambda gallery: {"queries": ...})
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from person_reid.gallery.gallery import Gallery
from person_reid.gallery.metadata import About, Filter
from person_reid.retrieval.similarity import Features
from person_reid.serve.parameters import CLIENT_FACTS, FILTER_NAMES, client_text
from person_reid.serve.problems import Problem
from person_reid.serve.requests import (
    MEGABYTE,
    MOST_JSON,
    SentImage,
    body_of,
    json_object,
    sent_features,
    sent_images,
)
from person_reid.serve.service import Service

Answer = dict[str, Any] | Response
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """An authorised request: the caller, and the parameters in the request's address."""

    service: Service
    request: Request
    who: str
    parameters: dict[str, Any] = field(default_factory=dict)

    async def images(self, keep: bool = False) -> list[SentImage]:
        """Return the images in the request. keep: also return their files, to be stored."""
        body = await body_of(self.request, self.service.limits.most_megabytes * MEGABYTE)
        contents = await sent_images(self.request, body, self.service.limits.most_images)
        return await self.service.decode(contents, keep)

    async def features(self) -> Features:
        """Return the features (N, D) of the images in the request, or the features in its JSON."""
        if not self.request.headers.get("content-type", "").startswith("application/json"):
            return await self.service.embed(await self.images())
        body = await body_of(self.request, MOST_JSON)
        most = self.service.limits.most_images
        return await self.service.compute(partial(sent_features, body, most))

    async def values(self, *expected: str) -> dict[str, Any]:
        """Return the JSON object in the request, with no keys but the expected ones."""
        body = await body_of(self.request, MOST_JSON)
        return await self.service.compute(lambda: json_object(body, expected))

    async def read(self, ask: Callable[[Gallery], dict[str, Any]]) -> Response:
        """Return the answer to a question, computed and converted to JSON in a reader thread."""
        return await self.service.galleries.read(lambda gallery: JSONResponse(ask(gallery)))

    async def stream(
        self, parts: Callable[[], Awaitable[AsyncGenerator[bytes, None]]], kind: str
    ) -> Response:
        """Return an endless answer in parts; HEAD does not start it. kind: its media type."""
        if self.request.method == "HEAD":
            return Response(media_type=kind)
        unbuffered = {"X-Accel-Buffering": "no"}  # nginx would collect 4 kB first
        return StreamingResponse(await parts(), media_type=kind, headers=unbuffered)

    def given(self, *names: str) -> dict[str, Any]:
        """Return {name: value} for the parameters in `names` that the request contains."""
        return {name: self.parameters[name] for name in names if name in self.parameters}

    async def said(self) -> About:
        """Return the facts about images that the request states; empty text clears a fact."""
        values = await self.values(*CLIENT_FACTS)
        return About(**{name: client_text(name, value) for name, value in values.items()})

    def shown(self, path: Path, about: About) -> dict[str, Any]:
        """Return the id and the facts of an image, for an answer."""
        return {"id": self.service.ids.of(path)} | about.facts()

    def which(self, all_of_them: bool = True) -> Filter:
        """Return the filter in the parameters. Raises Problem if a required filter is missing."""
        if not (all_of_them or self.parameters.keys() & {*FILTER_NAMES}):
            raise Problem(400, f"Say which images: {', '.join(FILTER_NAMES)}.")
        return Filter(**self.given(*FILTER_NAMES))


@dataclass(frozen=True)
class Operation:
    """An HTTP method at an address, and the function that answers it.

    role: the role that the token needs; None if no token is needed. takes: names in PARAMETERS.
    sends: "images", "features" (images or features), or {key: its JSON Schema} of an object.
    answers: the name of a schema in openapi.py, or a media type. header: a header that a client may
    send.
    """

    method: str
    path: str
    role: str | None
    answers: str
    act: Callable[[Call], Awaitable[Answer]]
    takes: Sequence[str] = ()
    sends: str | Mapping[str, Mapping[str, Any]] | None = None
    header: str | None = None

    @property
    def name(self) -> str:
        """The name of the operation, for metrics and clients."""
        return self.act.__name__

    @property
    def summary(self) -> str:
        """One line that says what the operation does."""
        return (self.act.__doc__ or "").splitlines()[0]


def operation(
    address: str, *, role: str | None, answers: str, **more: Any
) -> Callable[[Callable[[Call], Awaitable[Answer]]], Operation]:
    """Declare a function as an Operation. address: its method and path."""
    method, path = address.split(" ")
    return lambda act: Operation(method, path, role, answers, act, **more)


def one_page(
    call: Call,
    name: str,
    every: Iterable[T],
    key: Callable[[T], str],
    shown: Callable[[T], dict[str, Any]],
    begun: bool = False,
) -> dict[str, Any]:
    """Return {name: the requested page of answers, "next": the key for requesting the next page}.

    key: returns a text that identifies an answer. shown: returns the answer as JSON. begun: whether
    `every` begins with the page.
    """
    limit, start = call.parameters.get("limit", 100), call.parameters.get("start")
    rest = iter(every)
    # Looking for the answer `start` advances `rest` to the one after it.
    if start and not begun and not any(key(each) == start for each in rest):
        raise Problem(404, "start: that answer is not there any more. Begin the list again.")
    found = list(islice(rest, limit + 1))
    following = key(found[limit - 1]) if len(found) > limit else None
    return {name: [*map(shown, found[:limit])], "next": following}


def not_listed() -> Problem:
    """Return the Problem to raise for an image that is not in the gallery."""
    return Problem(404, "There is no image with this id.")


async def listed(call: Call) -> tuple[Path, About]:
    """Return the image that an address names. Raises Problem if it is not in the gallery.

    The image's path comes from the gallery, never from a client.
    """
    path = call.service.ids.path(call.request.path_params["id"])
    paths = [path] if path else []
    found = await call.service.galleries.read(lambda gallery: gallery.abouts(paths))
    if not found:
        raise not_listed()
    return found.popitem()
