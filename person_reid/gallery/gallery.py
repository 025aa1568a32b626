"""A gallery by its address: a file of this machine, or a server for one that outgrows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from person_reid.errors import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.metadata import Filter
from person_reid.gallery.milvus import SCHEME, MilvusGallery
from person_reid.text import did_you_mean

Gallery = SearchIndex | MilvusGallery  # mypy checks that both have what the commands call


def open_gallery(place: str, new: bool = True, codes: str | None = None) -> Gallery:
    """Return the gallery at an address: a file, or milvus://HOST:PORT/NAME.

    new: make the gallery if it does not exist; otherwise a UserError says how to make it.
    codes: how a new file holds features, see SearchIndex.
    """
    if place.startswith(SCHEME):
        if codes:
            raise UserError(f"{place}: --codes is for files; the server has its own settings.")
        cluster = MilvusGallery(place)
        if new or cluster.exists():
            return cluster
    elif new or Path(place).exists():
        return SearchIndex(place, codes)
    raise UserError(
        f"{place}: no such index. Make one: python tools/search.py index FOLDER --index FILE"
    )


@contextmanager
def growing_gallery(place: str, codes: str | None = None) -> Iterator[Gallery]:
    """Yield the gallery at an address, and make it if it does not exist; codes: see open_gallery.

    If the block fails before any image is in a new one, nothing of it stays.
    """
    gallery = open_gallery(place, codes=codes)
    try:
        yield gallery
    except BaseException:
        if gallery.new and not len(gallery):
            gallery.remove()
        raise


def nobody_has(gallery: Gallery, which: Filter) -> list[str]:
    """Return a sentence for each value of a filter that no image of a gallery has.

    It names the nearest value that some image has, or else what there is.
    """
    names = ("identity", "camera", "track", "source")
    asked = {name: value for name in names if (value := getattr(which, name)) is not None}
    there: dict[str, set[str]] = {name: set() for name in asked}
    for images, _ in gallery.entries() if asked else ():
        for name, values in there.items():
            values.update(getattr(about, name) or "" for _, about in images)
    sentences = []
    for name, value in asked.items():
        if value not in there[name]:
            known = sorted(there[name] - {""})
            listing = f" There are: {', '.join(known[:20])}." if known else ""
            near = did_you_mean(value, known) or listing
            sentences.append(f"No image has the {name} {value}.{near}")
    return sentences
