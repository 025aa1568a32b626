"""The operations' parameters: how each is read, its JSON Schema, and an example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from person_reid.config.search import pair
from person_reid.config.times import instant, moment
from person_reid.errors import UserError
from person_reid.serve.problems import Problem
from person_reid.text import UNSEEN, did_you_mean

LONGEST_PARAMETER = 500  # characters
MOST_PARAMETERS = 50  # per request; SQLite rejects a filter with many hundreds
MOST_PIXELS = 8192  # per side of a picture
MOST_ANSWERS = 1000  # per question
CLIENT_FACTS = ("identity", "camera", "time", "track")  # what a client can state about an image
FILTER_NAMES = ("identity", "camera", "track", "source", "after", "before", "where")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a request's address.

    read: converts a text to the value, or raises ValueError with what was expected. schema: the
    value's JSON Schema.
    """

    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    description: str
    example: Any
    several: bool = False


def read_parameters(given: QueryParams, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return {name: value}; a repeatable KEY=VALUE parameter becomes {key: value}.

    Raises Problem for unknown, repeated or too many parameters.
    """
    found: dict[str, Any] = {}
    if len(given.multi_items()) > MOST_PARAMETERS:
        raise Problem(400, f"Send at most {MOST_PARAMETERS} parameters.")
    for name, text in given.multi_items():
        if name not in known:
            listed = did_you_mean(name, known) or f" There are: {', '.join(known) or 'none'}."
            raise Problem(400, f"No parameter {name!r}.{listed}")
        parameter = known[name]
        try:
            value = parameter.read(plain_text(text))
        except (ValueError, UserError) as error:
            raise Problem(400, f"{name}: {error}") from None
        place, key = found, name
        if parameter.several:
            place, (key, value) = found.setdefault(name, {}), value
        if key in place:
            raise Problem(
                400, f"{name}: {key} is given twice." if key != name else f"{name}: given twice."
            )
        place[key] = value
    return found


def plain_text(text: str) -> str:
    """Return text from a client. Raises ValueError if it is too long or has control characters."""
    if len(text) > LONGEST_PARAMETER:
        raise ValueError(f"expected at most {LONGEST_PARAMETER} letters")
    if UNSEEN.search(text) or "\n" in text or "\t" in text:
        raise ValueError("expected letters that can be shown, and no control characters")
    return text


def client_text(name: str, value: object) -> str:
    """Return the plain text under a JSON key. Raises Problem, naming the key, for other values."""
    if not isinstance(value, str):
        raise Problem(400, f"{name}: expected a text.")
    if value != value.strip():
        raise Problem(400, f"{name}: expected no spaces before or after it.")
    try:
        return plain_text(value)
    except ValueError as error:
        raise Problem(400, f"{name}: {error}") from None


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
    """Return True for the text `true`, and False for `false`."""
    if text not in ("true", "false"):
        raise ValueError(f"expected true or false, found {text!r}")
    return text == "true"


def column(text: str) -> tuple[str, ...]:
    """Return the name and the value in NAME=VALUE."""
    return tuple(pair(text).split("=", 1))


def name_of(text: str) -> str:
    """Return a name after checking that it is not empty."""
    if not text.strip():
        raise ValueError("expected a name")
    return text


TEXT_SCHEMA = {"type": "string"}
NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": LONGEST_PARAMETER}
PAIR_SCHEMA = {**NAME_SCHEMA, "pattern": "^[^=]+=.+"}
YES_SCHEMA = {"type": "boolean", "default": False}


def _count(most: float, default: int, least: int = 1) -> dict[str, Any]:
    """Return the schema of a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


PARAMETERS = {
    "k": Parameter(
        number(int, 1, MOST_ANSWERS), _count(MOST_ANSWERS, 10), "the number of images to return", 5
    ),
    "threshold": Parameter(
        number(float, -1, 1),
        {"type": "number", "minimum": -1, "maximum": 1},
        "the lowest accepted similarity; tools/threshold.py measures it",
        0.6,
    ),
    "together": Parameter(
        yes_or_no, YES_SCHEMA, "all images show one person, such as a track", True
    ),
    "identity": Parameter(name_of, NAME_SCHEMA, "the person", "Anna"),
    "camera": Parameter(name_of, NAME_SCHEMA, "the camera", "1"),
    "track": Parameter(name_of, NAME_SCHEMA, "the track", "12"),
    "source": Parameter(name_of, NAME_SCHEMA, "the video or collection", "uploads"),
    "time": Parameter(instant, TEXT_SCHEMA, "when the images were taken", "2026-11-01T08:30Z"),
    "after": Parameter(moment, TEXT_SCHEMA, "only images from this time on", "2026-11-01T08:00Z"),
    "before": Parameter(moment, TEXT_SCHEMA, "only images from before this time", "2026-11-02"),
    "where": Parameter(
        column, PAIR_SCHEMA, "a further column, such as store=3", ["store=3"], several=True
    ),
    "allow_forgotten": Parameter(
        yes_or_no, YES_SCHEMA, "also add images that were forgotten once", True
    ),
    "size": Parameter(
        number(int, 16, MOST_PIXELS),
        _count(MOST_PIXELS, MOST_PIXELS, 16),
        "the most pixels per side; smaller pictures are not enlarged",
        128,
    ),
    "limit": Parameter(
        number(int, 1, MOST_ANSWERS), _count(MOST_ANSWERS, 100), "answers per page", 20
    ),
    "start": Parameter(
        str,
        {**TEXT_SCHEMA, "default": ""},
        "where the previous page ended: its `next`",
        "",
    ),
}
# An example for every key of the objects that clients send.
SENT_EXAMPLES: Mapping[str, Any] = {
    **{name: PARAMETERS[name].example for name in CLIENT_FACTS},
    "to": "Ann",
    "merge": True,
}
