"""Open galleries by address: a file's path, or a URL whose scheme names an engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from person_reid.errors import UserError
from person_reid.gallery.contract import Gallery as Gallery
from person_reid.gallery.contract import ReadGallery as ReadGallery
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import Filter
from person_reid.gallery.postgres import PostgresGallery
from person_reid.registration import Registry
from person_reid.text import as_command, did_you_mean

Opener = Callable[[str], Gallery]
# {scheme of an address: opener}
GALLERIES: Registry[Opener] = Registry("gallery", {"postgresql": PostgresGallery})


def register_gallery(scheme: str, opener: Opener) -> None:
    """Register `opener`, which opens galleries at addresses that begin with `scheme`."""
    GALLERIES.register(scheme, opener)


def scheme_of(place: str) -> str:
    """Return the registered scheme that an address begins with, or "" for a file's path."""
    scheme, colon, rest = str(place).partition(":")
    if scheme not in GALLERIES and rest.startswith("//"):
        raise UserError(f"{place}: no gallery {scheme!r}. There are: {', '.join(GALLERIES)}.")
    return scheme if colon and scheme in GALLERIES else ""


def file_at(place: str) -> Path | None:
    """Return the file that an address names, or None if an engine keeps the gallery."""
    return None if scheme_of(place) else Path(place)


def open_gallery(place: str, new: bool = True, codes: str | None = None) -> Gallery:
    """Return the gallery at an address: a file, or postgresql://HOST/DATABASE/NAME.

    new: create the gallery if it does not exist; otherwise, a UserError explains how to create it.
    codes: how a new file stores features; see SearchIndex.
    """
    if scheme := scheme_of(place):
        if codes:
            raise UserError(f"{place}: codes is for files; {scheme} has its own settings.")
        gallery = GALLERIES[scheme](place)
        if new or not gallery.new:
            return gallery
    elif new or Path(place).exists():
        return SearchIndex(place, codes)
    raise UserError(
        f"{place}: no such index. Make one: "
        f"{as_command('tools/search.py')} index FOLDER --index FILE"
    )


@contextmanager
def growing_gallery(place: str, codes: str | None = None) -> Iterator[Gallery]:
    """Yield the gallery at an address, created if it does not exist; codes: see open_gallery.

    If the block fails before a new file contains any image, the file is deleted, unless another
    program has it open.
    """
    gallery = open_gallery(place, codes=codes)
    try:
        yield gallery
    except BaseException:
        new_file = gallery if isinstance(gallery, SearchIndex) and gallery.new else None
        if new_file is not None and not len(new_file) and new_file.store.db.alone():
            new_file.remove()
        raise


def nobody_has(gallery: ReadGallery, which: Filter) -> list[str]:
    """Return a sentence for each value in a filter that no image in the gallery has.

    The sentence suggests the most similar existing value, or lists all existing values.
    """
    names = ("identity", "camera", "track", "source")
    asked = {name: value for name in names if (value := getattr(which, name)) is not None}
    sentences = []
    for name, value in asked.items():
        known = gallery.values(name)
        if value not in known:
            listing = f" There are: {', '.join(known[:20])}." if known else ""
            near = did_you_mean(value, known) or listing
            sentences.append(f"No image has the {name} {value}.{near}")
    return sentences
