"""The web page of the service: a few files whose scripts call /v1 like any other client."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from person_reid.page_files import PAGES, page_sources

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


def page_routes() -> list[Route]:
    """Return the routes of the page and of the styles and scripts that it loads."""
    files = {f"/page/{name}": file for name, file in page_sources("service").items()}
    files["/"] = PAGES / "service" / "index.html"
    return [Route(path, _send(file), methods=["GET"]) for path, file in files.items()]


def _send(file: Path) -> Callable[[Request], Awaitable[Response]]:
    text = file.read_text(encoding="utf-8")

    async def send(_: Request) -> Response:
        return Response(text, headers=PAGE_HEADERS, media_type=MEDIA_TYPES[file.suffix])

    return send
