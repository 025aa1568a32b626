"""A gallery by its address: a file of this machine, or a server for one that outgrows it."""

from pathlib import Path

from person_reid.basics import UserError
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.milvus import SCHEME, MilvusGallery

Gallery = SearchIndex | MilvusGallery  # mypy checks that both have what the commands call


def open_gallery(place: str, new: bool = True) -> Gallery:
    """Return the gallery at an address: a file, or milvus://HOST:PORT/NAME.

    new: it may be a new one; otherwise raises UserError if there is none.
    """
    if place.startswith(SCHEME):
        cluster = MilvusGallery(place)
        if new or cluster.exists():
            return cluster
    elif new or Path(place).is_file():
        return SearchIndex(place)
    raise UserError(
        f"{place}: no such index. Make one: python tools/search.py index FOLDER --index FILE"
    )
