"""The service as an ASGI application for uvicorn or another server.

app = create_app(Service("people.index", open_network(index), access, limits))

The web page is a few files whose scripts call /v1 like any other client.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from person_reid.errors import StoreError, UserError
from person_reid.page_files import PAGES, page_sources
from person_reid.serve.call import Answer, Call, Operation
from person_reid.serve.openapi import openapi_document
from person_reid.serve.operations import ALL_OPERATIONS
from person_reid.serve.parameters import PARAMETERS, read_parameters
from person_reid.serve.problems import Problem, as_problem, as_response
from person_reid.serve.service import Service

if TYPE_CHECKING:  # only a service with cameras needs their packages
    from person_reid.serve.cameras import LiveCameras

log = logging.getLogger(__name__)
# These answers are not pages, and no other site may embed them.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# The page runs only its own files, calls only its own service, and no other page may embed it.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
WHOLE_ADDRESS = re.compile("https?://[^/]*/?(.*)", re.IGNORECASE)
Respond = Callable[[Request], Awaitable[Response]]


def create_app(service: Service, cameras: "LiveCameras | None" = None) -> Starlette:
    """Return a service's application, which closes the service when it ends.

    cameras: the live cameras that the service follows.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.galleries.open()
        tidying = asyncio.create_task(service.tidy())
        following = asyncio.create_task(cameras.run()) if cameras else None
        try:
            yield
        finally:
            tidying.cancel()
            if cameras and following:
                cameras.stop()
                await following
            with suppress(asyncio.CancelledError):
                await tidying
            service.close()

    async def document(request: Request) -> Response:
        return JSONResponse(openapi_document(request.scope["root_path"]), headers=HEADERS)

    async def unknown(_: Request, error: Exception) -> Response:
        status, headers = 500, HEADERS
        if isinstance(error, HTTPException):  # its headers give the allowed methods
            status, headers = error.status_code, {**HEADERS, **(error.headers or {})}
        detail = "There is no such address, or it has no such method. See /v1/openapi.json"
        return as_response(Problem(status, detail, headers))

    responds: dict[str, dict[str, Respond]] = {}
    for each in ALL_OPERATIONS:
        method = each.method.lower()
        responds.setdefault(each.path, {})[method] = staticmethod(_respond(service, each))
    routes = [
        Route(path, type("Endpoint", (HTTPEndpoint,), some)) for path, some in responds.items()
    ]
    app = Starlette(
        routes=[*routes, Route("/v1/openapi.json", document), *page_routes()],
        lifespan=lifespan,
        exception_handlers={HTTPException: unknown},
        middleware=[Middleware(_by_path)],
    )
    app.router.redirect_slashes = False  # a redirect would trust the client's Host header
    return app


def _by_path(app: ASGIApp) -> ASGIApp:
    """Return an app that also takes whole addresses as targets; see RFC 9112, 3.2.2."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        root, path = scope.get("root_path", ""), scope.get("path", "")
        if target := WHOLE_ADDRESS.match(path.removeprefix(root)):
            scope = {**scope, "path": f"{root}/{target[1]}"}
        await app(scope, receive, send)

    return called


def _respond(service: Service, operation: Operation) -> Respond:
    """Return the endpoint for an operation."""

    async def respond(request: Request) -> Response:
        began = time.perf_counter()
        try:
            response = await _answered(service, operation, request)
        except Problem as problem:
            response = as_response(problem)
        except UserError as error:
            if isinstance(error, StoreError):
                log.error("%s %s: %s", operation.method, operation.path, error)
            response = as_response(as_problem(error, service.galleries.address))
        except TimeoutError:
            going_on = "" if operation.role == "read" else " It may still be done."
            detail = f"It took more than {service.limits.timeout} seconds.{going_on}"
            response = as_response(Problem(503, detail))
        except OSError as error:  # such as a full disk
            log.error("%s %s: %s", operation.method, operation.path, error)
            response = as_response(Problem(507, f"The service cannot store it: {error.strerror}."))
        except Exception:  # a bug: the client gets no details
            log.exception("%s %s", operation.method, operation.path)
            response = as_response(Problem(500, "The service has a fault; its log says which."))
        response.headers.update(HEADERS)
        who, seconds = getattr(request.state, "who", ""), time.perf_counter() - began
        service.usage.count(operation.name, who, response.status_code, seconds)
        return response

    return respond


async def _answered(service: Service, operation: Operation, request: Request) -> Response:
    """Return the answer to a request. Raises Problem or UserError if it cannot be answered."""
    who = ""
    if operation.role:
        who = service.access.admit(request.headers.get("authorization"), operation.role)
        request.state.who = who
    known = {name: PARAMETERS[name] for name in operation.takes}
    call = Call(service, request, who, read_parameters(request.query_params, known))

    async def act() -> Answer:
        # a text says that the request may send images
        async with service.bodies if isinstance(operation.sends, str) else nullcontext():
            return await operation.act(call)

    answer = await asyncio.wait_for(act(), service.limits.timeout)
    return answer if isinstance(answer, Response) else JSONResponse(answer)


def page_routes() -> list[Route]:
    """Return the routes of the page and of the styles and scripts that it loads."""
    files = {f"/page/{name}": file for name, file in page_sources("service").items()}
    files["/"] = PAGES / "service" / "index.html"
    return [Route(path, _sent(file), methods=["GET"]) for path, file in files.items()]


def _sent(file: Path) -> Response:
    text = file.read_text(encoding="utf-8")
    return Response(text, headers=PAGE_HEADERS, media_type=MEDIA_TYPES[file.suffix])
