"""Read requests: bodies of limited size, and the images and JSON in them."""

import asyncio
import io
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from person_reid.arrays import as_float32
from person_reid.data.images.image_files import Pixels, in_rgb, open_content, why_unread
from person_reid.errors import first_line
from person_reid.retrieval.similarity import Features
from person_reid.serve.problems import Problem
from person_reid.serve.uploads import as_stored
from person_reid.text import parse_json

MEGABYTE = 10**6
MOST_JSON = 4 * MEGABYTE  # bytes
LONGEST_PAUSE, LEAST_RATE = 10, 4000  # a body must arrive within seconds + size / (bytes a second)


class SentImage(NamedTuple):
    """An image in a request: the network's input, and the file's name and content, if kept."""

    pixels: Pixels
    name: str = ""
    content: bytes = b""


async def body_of(request: Request, most_bytes: int) -> bytes:
    """Return the body of a request. Raises Problem if it is too large or arrives too slowly."""
    parts, size = [], 0
    stream, began = request.stream(), time.monotonic()
    try:
        while part := await asyncio.wait_for(
            anext(stream, b""), began + LONGEST_PAUSE + size / LEAST_RATE - time.monotonic()
        ):
            size += len(part)
            if size > most_bytes:
                raise Problem(413, f"Send at most {most_bytes / MEGABYTE:g} MB in a request.")
            parts.append(part)
    except ClientDisconnect:
        raise Problem(400, "The request ended before its body did.") from None
    except TimeoutError:
        raise Problem(408, f"Only {size:,} bytes of the body arrived. Send it again.") from None
    return b"".join(parts)


def json_object(body: bytes, expected: Sequence[str]) -> dict[str, Any]:
    """Return the object in a JSON body, with no keys but the expected ones."""
    try:
        found = parse_json(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {*found} <= {*expected}:
        raise Problem(400, f"Expected a JSON object with keys among {', '.join(expected)}.")
    return found


def sent_features(body: bytes, most: int) -> Features:
    """Return the features (N, D) in a JSON body. Raises Problem if there are too many."""
    values = json_object(body, ["features"]).get("features")
    if isinstance(values, list) and len(values) > most:
        raise Problem(413, f"Send at most {most} features in a request.")
    return as_float32(values, "features")


async def sent_images(request: Request, body: bytes, most: int) -> list[bytes]:
    """Return the image files in a request.

    The body is one file, as from curl --data-binary, or a form with files as its parts, as from
    curl -F.
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
        if "Too many files" in str(error):
            raise Problem(413, f"Send at most {most} images in a request.") from None
        if "Too many fields" in str(error):
            raise Problem(
                400,
                "A part of the form has no file name. Send each image with one, as curl -F "
                "image=@a.jpg does. Parameters go into the address: ?identity=Anna",
            ) from None
        raise Problem(400, f"The form cannot be read: {first_line(error)}") from None
    parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
    contents = [await part.read() for part in parts]
    await form.close()
    if not contents:
        raise Problem(400, "The form holds no image file.")
    return contents


def decoded(
    contents: Sequence[bytes],
    fit: Callable[[Image.Image], Pixels],
    most_megapixels: int,
    keep: bool = False,
) -> list[SentImage]:
    """Return the images in image files, decoded one at a time while they fit within the limit.

    fit: turns an image into the network's input. keep: also return the files that store the images.
    Raises a Problem that lists the files that are not images, and a Problem for too many pixels in
    total.
    """
    images, wrong, pixels = [], [], 0
    for number, content in enumerate(contents, 1):
        try:
            with open_content(io.BytesIO(content)) as image:
                pixels += image.width * image.height
                if pixels <= most_megapixels * MEGABYTE:
                    stored = as_stored(in_rgb(image)) if keep else ()
                    images.append(SentImage(fit(image), *stored))
        except Exception as error:  # Pillow's readers fail in many ways
            wrong.append(f"image {number}: {why_unread(error, content)}")
    if pixels > most_megapixels * MEGABYTE:
        raise Problem(413, f"Send at most {most_megapixels} megapixels in a request.")
    if wrong:
        raise Problem(422, "; ".join(wrong))
    return images
