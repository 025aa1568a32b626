"""Read requests: bounded bodies, the images in them, JSON, and parameters by their types."""

import io
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from starlette.datastructures import QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from person_reid.data.images.image_files import Limits, decode_image, why_unread
from person_reid.errors import UserError, first_line
from person_reid.serve.problems import Problem
from person_reid.text import UNSEEN, did_you_mean, parse_json

LONGEST_PARAMETER = 500  # letters of a parameter
MEGABYTE = 10**6


@dataclass(frozen=True)
class Parameter:
    """A parameter of a request's address.

    read: text → value; ValueError says what was expected. schema: its JSON Schema.
    """

    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    description: str
    several: bool = False


def read_parameters(given: QueryParams, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return {name: value}; several values come in a list. Raises Problem for any other one."""
    found: dict[str, Any] = {}
    for name, text in given.multi_items():
        if name not in known:
            listed = did_you_mean(name, known) or f" There are: {', '.join(known) or 'none'}."
            raise Problem(400, f"No parameter {name!r}.{listed}")
        parameter = known[name]
        try:
            value = parameter.read(plain_text(text))
        except (ValueError, UserError) as error:
            raise Problem(400, f"{name}: {error}") from None
        if parameter.several:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise Problem(400, f"{name}: given twice.")
        else:
            found[name] = value
    return found


def plain_text(text: str) -> str:
    """Return a text of a client. Raises ValueError for a long one, or one that a terminal obeys."""
    if len(text) > LONGEST_PARAMETER:
        raise ValueError(f"expected at most {LONGEST_PARAMETER} letters")
    if UNSEEN.search(text) or "\n" in text or "\t" in text:
        raise ValueError("expected letters that can be shown, and no control characters")
    return text


def client_text(name: str, value: object) -> str:
    """Return the plain text of a key of JSON. Raises Problem, which names the key, otherwise."""
    if not isinstance(value, str):
        raise Problem(400, f"{name}: expected a text.")
    try:
        return plain_text(value)
    except ValueError as error:
        raise Problem(400, f"{name}: {error}") from None


async def body_of(request: Request, most_bytes: int) -> bytes:
    """Return the body of a request. Raises Problem if it is larger."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most_bytes:
                raise Problem(413, f"Send at most {most_bytes / MEGABYTE:g} MB in a request.")
            parts.append(part)
    except ClientDisconnect:
        raise Problem(400, "The request ended before its body did.") from None
    return b"".join(parts)


def json_object(body: bytes, expected: Sequence[str]) -> dict[str, Any]:
    """Return the object in a body of JSON, whose keys are among those expected."""
    try:
        found = parse_json(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {*found} <= {*expected}:
        raise Problem(400, f"Expected a JSON object with keys among {', '.join(expected)}.")
    return found


async def sent_images(request: Request, body: bytes, most: int) -> list[bytes]:
    """Return the image files of a request.

    They are its body, as curl sends one by --data-binary, or the parts of a form, by -F.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [body]
    if kind != "multipart/form-data":
        raise Problem(415, f"Send images as multipart/form-data or image/jpeg, not {kind!r}.")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=most, max_fields=0)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeDecodeError) as error:
        raise Problem(400, f"The form cannot be read: {first_line(error)}") from None
    parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
    contents = [await part.read() for part in parts]
    await form.close()
    if not contents:
        raise Problem(400, "The form holds no image file.")
    return contents


def decoded(contents: Sequence[bytes], limits: Limits | None = None) -> list[Image.Image]:
    """Return the pictures in image files. Raises Problem, which names those that are not one."""
    images, wrong = [], []
    for number, content in enumerate(contents, 1):
        try:
            images.append(decode_image(io.BytesIO(content), limits))
        except Exception as error:  # Pillow's readers fail in many ways
            wrong.append(f"image {number}: {why_unread(error, content)}")
    if wrong:
        raise Problem(422, "; ".join(wrong))
    return images
