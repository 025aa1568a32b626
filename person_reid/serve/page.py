"""The page of the service: a few files that ask /v1 as any other program does."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from person_reid.show.page import TEMPLATES, page_sources, palette

MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}
# Its own files run, its own service answers, and no other page may show it.
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
    theme = TEMPLATES.get_template("theme.css").render(**palette())
    files = page_sources("service")
    scripts = [name for name in files if name.endswith(".js")]
    scripts.sort(key=lambda name: name == "main.js")  # which begins when it has all others
    index = TEMPLATES.get_template("service/index.html").render(scripts=scripts)
    sent = {"": (index, "text/html"), "page/theme.css": (theme, "text/css")} | {
        f"page/{name}": (file.read_text(encoding="utf-8"), MEDIA_TYPES[file.suffix])
        for name, file in files.items()
    }
    return [Route(f"/{path}", _send(*each), methods=["GET"]) for path, each in sent.items()]


def _send(text: str, media_type: str):
    async def send(_: Request) -> Response:
        return Response(text, headers=PAGE_HEADERS, media_type=media_type)

    return send
