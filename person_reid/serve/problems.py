"""Errors of the service, as problem details (RFC 9457) that say what to do."""

import re
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import PurePath

from starlette.responses import JSONResponse

from person_reid.errors import StoreAway, StoreError, UserError
from person_reid.text import printable

# From the slash that begins a path to the last slash that may belong to it, as folder names can
# contain spaces. An address of the service is not a path.
FOLDERS = re.compile(r"""(?<![^\s'"(])(?!/v1/)(?:[A-Za-z]:)?[/\\](?:[^/\\:'"\n]+[/\\])+""")


class Problem(Exception):
    """A request that cannot be answered. detail: what was found and expected, and what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = headers


def too_busy(what: str) -> Problem:
    """Return the Problem to raise for a full queue."""
    return Problem(503, f"{what}. Ask again in a second.", {"Retry-After": "1"})


def as_problem(error: UserError, gallery: str) -> Problem:
    """Return an error as a Problem for a client, with file names but without their folders.

    gallery: the address of the gallery.
    """
    if isinstance(error, StoreAway):  # its message names the server
        return too_busy("The server of the gallery does not answer, or a table is locked")
    status = 500 if isinstance(error, StoreError) else 422
    if isinstance(error.__cause__, sqlite3.OperationalError):  # the disk is full, say
        status = 507
    name = PurePath(gallery.partition("?")[0]).name
    return Problem(status, without_folders(str(error).replace(gallery, name)))


def without_folders(text: str) -> str:
    """Return text with the paths in it shortened to file names."""
    return FOLDERS.sub("", text)


def as_response(problem: Problem) -> JSONResponse:
    """Return the HTTP response that reports a Problem."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": printable(problem.detail),
    }
    return JSONResponse(
        content, problem.status, problem.headers, media_type="application/problem+json"
    )
