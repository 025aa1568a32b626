"""The page of an explorer: index.html, with styles and scripts beside it or inside."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from person_reid.errors import UserError
from person_reid.page_files import page_sources
from person_reid.show.page import TEMPLATES, data_uri
from person_reid.text import printable

LINKED_FILES = re.compile(
    r'<link rel="stylesheet" href="([\w./]+)">|<script src="([\w./]+)"></script>'
)
SHEET_ADDRESS = re.compile(r'url\("(sheets/\d+\.jpg)"\)')
ONE_FILE = (".html", ".htm")
MOST_PAGE_BYTES = 25e6  # bytes of a page in one file, which mail programs still accept
THUMBNAIL_BYTES = 1400  # per small photograph


def is_one_file(save: str | Path) -> bool:
    """Return whether an explorer is a single file, by the ending of its name."""
    return Path(save).suffix.lower() in ONE_FILE


def one_file_size(images: int, dimension: int) -> float:
    """Return the approximate size in bytes of an explorer in one file, as base64."""
    return images * (THUMBNAIL_BYTES + dimension) * 4 / 3


def check_page_size(save: str | Path, images: int, dimension: int) -> None:
    """Raise UserError if images with features of this dimension are too many for one file."""
    size = one_file_size(images, dimension)
    if size > MOST_PAGE_BYTES:
        raise UserError(
            f"{save}: {images:,} images would make one file of about {size / 1e6:.0f} MB; "
            f"at most {MOST_PAGE_BYTES / 1e6:.0f}. "
            f"Write a folder instead: --save {Path(save).with_suffix('')}"
        )


def write_explorer_page(
    folder: Path, title: str, views: Sequence[str], queries: bool, pieces: int = 0
) -> None:
    """Write index.html, and copy the styles and scripts beside it.

    views: the names of the scripts in data/ that the page waits for. queries: whether there are
    queries. pieces: the number of scripts with features that are loaded with the page; the other
    scripts are loaded later.
    """
    for name, source in page_sources("explorer").items():
        shutil.copy(source, folder / name)
    rules = (
        f'.sheet{number} {{ background-image: url("sheets/{number}.jpg"); }}\n'
        for number in range(len(list((folder / "sheets").iterdir())))
    )
    (folder / "sheets.css").write_text("".join(rules), encoding="ascii")
    text = TEMPLATES.get_template("explorer/index.html").render(
        title=printable(title),
        views=views,
        queries=queries,
        pieces=pieces,
    )
    (folder / "index.html").write_text(text, encoding="utf-8")


def in_one_file(folder: Path) -> str:
    """Return index.html with the content of all files beside it.

    In data, < is escaped, so nothing can end a script early.
    """

    def sheet(found: re.Match[str]) -> str:
        return f'url("{data_uri((folder / found[1]).read_bytes(), "image/jpeg")}")'

    def content(found: re.Match[str]) -> str:
        text = (folder / (found[1] or found[2])).read_text(encoding="utf-8")
        return (
            f"<style>\n{SHEET_ADDRESS.sub(sheet, text)}</style>"
            if found[1]
            else f"<script>\n{text}</script>"
        )

    return LINKED_FILES.sub(content, (folder / "index.html").read_text(encoding="utf-8"))
