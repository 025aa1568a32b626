"""Maintenance of an index file: checks, copies, moves and reindexing.

    reindex_images(index, ReindexConfig(index="people.index", name="better"))

This replaces the features with another network's, and keeps all facts about the images.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from person_reid.arrays import flaw
from person_reid.config.search import ReindexConfig
from person_reid.errors import UserError
from person_reid.files import STORE, atomic_write, regular_file
from person_reid.gallery.forgetting import forgettings
from person_reid.gallery.gallery import Gallery, open_gallery
from person_reid.gallery.image_table import next_file
from person_reid.gallery.index import SearchIndex
from person_reid.gallery.indexed_network import NETWORK_NOTES, open_network
from person_reid.gallery.indexing import add_images
from person_reid.gallery.inverted_lists import list_files
from person_reid.gallery.metadata import FACT_NAMES
from person_reid.gallery.postgres import PostgresGallery
from person_reid.text import as_command, counted, parse_json

MOST_VALUES = 10  # the most values to show of a column


def open_file(place: str) -> SearchIndex:
    """Return the index in the file `place`. Raises UserError for a gallery that is not a file."""
    index = open_gallery(place, new=False)
    if isinstance(index, SearchIndex):
        return index
    raise UserError(f"{place}: not a file; {tools_of(index)}.")


def tools_of(index: Gallery) -> str:
    """Return advice on copying and checking a gallery that is not a file."""
    return index.tools if isinstance(index, PostgresGallery) else "use the tools of its engine"


def faults_of(index: Gallery) -> Iterator[str]:
    """Yield a sentence for each fault in a gallery; this reads every byte.

    In a file, the faults are SQLite's findings and the first feature that is not finite or not of
    unit length.
    """
    if not isinstance(index, SearchIndex):
        for images, features in index.entries():
            names = [str(path) for path, _ in images]
            if found := flaw(features, names.__getitem__):
                yield f"{index.path}: {found}"
        return
    for (found,) in index.store.db.rows("PRAGMA integrity_check"):
        if found != "ok":
            yield f"{index.path}: {found}"
    try:
        for _ in index.entries():
            pass
    except UserError as error:
        yield str(error)


def _token_of(place: Path) -> str | None:
    """Return the token of the index in a file; copies of an index have the same token."""
    address = f"{place.absolute().as_uri()}?mode=ro"
    with suppress(sqlite3.Error, ValueError), closing(sqlite3.connect(address, uri=True)) as file:
        for (token,) in file.execute("SELECT value FROM about WHERE key = 'token'"):
            return str(parse_json(token))
    return None


def back_up(index: SearchIndex, place: str | Path) -> None:
    """Write a consistent copy of an index, even while other processes read and write it.

    Raises UserError if the target exists and is not an older copy.
    """
    if (
        Path(place).exists()
        and _token_of(regular_file(place, STORE, "a copy")) != index.store.token
    ):
        raise UserError(f"{place}: is there already, and is not a copy of it; choose another name.")
    with (
        atomic_write(place) as temporary,
        closing(sqlite3.connect(temporary)) as copy,
        index.store.db.explained(),
    ):
        index.store.db.connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # the copy is a single file


def facts_of_index(index: Gallery) -> dict[str, Any]:
    """Return a summary of an index: its network, images, column values and size."""
    columns = {name: index.values(name) for name in FACT_NAMES if name != "time"}
    facts: dict[str, Any] = {
        "index": str(index.path),
        "images": len(index),
        "network": index.recall("network"),
        "width": index.width(),
        **{name: _some(values) for name, values in columns.items()},
    }
    if isinstance(index, SearchIndex):
        lists = list_files(index.store)
        facts |= {
            "version": index.store.db.version(),
            "codes": index.store.codes,
            "bytes": sum(file.stat().st_size for file in (index.path, *lists)),
            "lists": [file.name for file in lists],
            "forgotten": forgettings(index.store),
        }
    return facts


def _some(values: list[str]) -> list[str]:
    more = len(values) - MOST_VALUES
    return [*values[:MOST_VALUES], f"and {more} more"] if more > 0 else values


def gone(index: Gallery) -> list[Path]:
    """Return the images whose files no longer exist."""
    return [path for images in index.images() for path, _ in images if not path.exists()]


def reindex_images(index: SearchIndex, config: ReindexConfig) -> int:
    """Replace an index's features with features from the network that the options name.

    The new features are collected in a file beside the index, from which an interrupted run
    resumes. The index does not change until that file is complete. Images that other processes add
    meanwhile are included. Returns the number of images.

    Raises UserError if images have changed or are gone.
    """
    paths = unchanged_images(index)
    place = next_file(index.path)
    with closing(SearchIndex(place, index.store.codes)) as following:
        try:
            embedder = open_network(following, config)
        except UserError as error:
            if not len(following):
                following.remove()
                raise
            raise UserError(
                f"{error} To begin anew instead of going on with what is in it, delete {place}."
            ) from error
        add_images(following, embedder, paths)
        while not index.take_features(following, NETWORK_NOTES):
            paths = unchanged_images(index)
            add_images(following, embedder, paths)
        following.remove()
    return len(paths)


def unchanged_images(index: SearchIndex) -> list[Path]:
    """Return the images of an index. Raises UserError if files have changed or are gone."""
    paths = [path for images in index.images() for path, _ in images]
    if changed := index.missing(paths):
        raise UserError(
            f"{index.path}: {counted(len(changed), 'image')} changed or gone since indexed, such "
            f"as {changed[0]}. Beforehand, index those that changed with the network of the index, "
            f"and name what moved or forget the rest: {as_command('tools/gallery.py')} relocate, "
            "prune"
        )
    return paths
