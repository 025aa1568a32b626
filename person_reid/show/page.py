"""Build a self-contained HTML page, with styles and images inside, in a light and a dark theme.

`heading`, `numbers`, `table`, `details`, `tiles` and `halves` are the macros of
templates/blocks.html. Every block is Markup; a str passed to a macro is escaped.
"""

import base64
import io
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from person_reid.config.look import Look
from person_reid.page_files import PAGES

SECTION = re.compile(r'<section id="([^"]*)">\n<h2>(.*)</h2>')
THUMBNAIL = (96, 192)  # width and height in pixels, for screens with two pixels per CSS pixel


def html_page(title: str, subtitle: str, body: Iterable[Markup]) -> str:
    """Return the HTML of a page, with links to its sections at the top."""
    body = list(body)
    sections = [tuple(map(Markup, each)) for each in SECTION.findall("\n".join(body))]
    return TEMPLATES.get_template("page.html").render(
        title=title, subtitle=subtitle, body=body, sections=sections
    )


def html_section(title: str, *content: Markup, remark: str = "") -> Markup:
    """Return a section: a heading, a remark below it, and the content."""
    return Markup(_BLOCKS.section(title, content, remark))


def chart(
    draw: Callable[..., Any], description: str, widest: float = 68, wide: bool = False
) -> Markup:
    """Return a drawing in both themes, of which the reader's settings choose one.

    draw(path, look=…): writes an SVG.
    description: text for people who cannot see the drawing.
    widest: the limit of its width, in rem.
    wide: keep it legible on a phone, where it scrolls sideways.
    """
    with tempfile.TemporaryDirectory() as folder:
        themes = []
        for dark in (False, True):
            path = Path(folder, f"{dark}.svg")
            draw(path, look=Look(dark=dark))
            themes.append(data_uri(path.read_bytes(), "image/svg+xml"))
    return Markup(_BLOCKS.picture(*themes, description, widest, wide))


def photograph_uri(pixels: npt.NDArray[Any]) -> str:
    """Return a data URI of uint8 pixels (H, W, 3) as a small JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(THUMBNAIL, Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=82
    )
    return data_uri(buffer.getvalue(), "image/jpeg")


def data_uri(content: bytes, media_type: str) -> str:
    """Return content as a data URI: `data:image/jpeg;base64,…`."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


TEMPLATES = Environment(
    loader=FileSystemLoader(PAGES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
TEMPLATES.filters["photograph"] = photograph_uri
_BLOCKS: Any = TEMPLATES.get_template("blocks.html").module
heading = _BLOCKS.heading
numbers = _BLOCKS.numbers
table = _BLOCKS.table
details = _BLOCKS.details
tiles = _BLOCKS.tiles
halves = _BLOCKS.halves
