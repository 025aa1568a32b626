"""A gallery in Milvus, on one machine or on many, with the methods of a SearchIndex.

    gallery = MilvusGallery("milvus+tls://milvus.example:19530/people")
    gallery = MilvusGallery("milvus:///home/anna/people.db/people")  # a file, by Milvus Lite

The collection `people` holds the images, and `people_about` what the gallery remembers: its
network, and when images were forgotten. milvus_server.py explains addresses. Milvus 2.6 or newer.
docs/how-it-works.md gives the reasons for the layout of a new collection; one that was made
otherwise goes on as it is.
"""

import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.config.option import OptionError
from person_reid.config.times import stored
from person_reid.errors import UserError
from person_reid.gallery.checks import (
    are_different,
    check_count,
    check_filter,
    check_version,
    checked_features,
    checked_paths,
    known_of,
    log_stripped,
    state_of,
)
from person_reid.gallery.contract import Gallery
from person_reid.gallery.exact_search import nearest_images
from person_reid.gallery.forgotten_keys import hash_of_key, image_key, track_key
from person_reid.gallery.index import MOST_ADMITTED, Found
from person_reid.gallery.metadata import EVERYTHING, FACT_NAMES, About, Filter
from person_reid.gallery.milvus_notes import MilvusNotes
from person_reid.gallery.milvus_rows import (
    entry_of,
    features_of_rows,
    found_by_features,
    milvus_filter,
    row_key,
)
from person_reid.gallery.milvus_server import MilvusServer
from person_reid.gallery.track_crops import delete_crops
from person_reid.retrieval.similarity import Features

log = logging.getLogger(__name__)
ROWS_OF_MESSAGE = 1000  # images in a message, of which Milvus takes 64 MB
ANSWERS = 20_000  # images in an answer, with features, of which Milvus takes 100 MB
SHARDS = 5  # Milvus advises one for 200 million images; they cannot be changed later
CODES = "HNSW_SQ"  # a graph of codes of a byte a number, which stays complete under a filter
GRAPH: dict[str, Any] = {"M": 16, "efConstruction": 200, "sq_type": "SQ8"}
KNOWN = ["path", *FACT_NAMES]
NO_MORE = "an earlier version made this gallery, without them. Index into a new one."
COLLECTION_VERSION = 2  # 1 had no further columns


class MilvusGallery(Gallery):
    """The gallery at an address, such as `milvus://HOST:PORT/NAME`; it need not exist.

    Every method raises UserError if Milvus cannot be reached or refuses. The server's index may
    miss images; the similarities of those it finds come from their stored features. It keeps its
    files to itself, and brings its indexes up to date.
    """

    path = ""
    new = True

    def __init__(self, address: str) -> None:
        self.path = address
        self.server = MilvusServer(address)
        self.client, self.name = self.server.client, self.server.name
        self.notes = MilvusNotes(self.server, f"{self.name}_about")
        self.server.load(self.name)
        self.new = not self.exists()
        check_version(address, self.recall("version") or 1, COLLECTION_VERSION)

    def __len__(self) -> int:
        return self._count("") if self._exists() else 0

    def exists(self) -> bool:
        """Return whether anything has been stored at the address."""
        return self.notes.exist()

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def remove(self) -> None:
        """Delete the collections."""
        for collection in filter(self.server.exists, (self.name, self.notes.collection)):
            self.server.ask(self.client.drop_collection, collection)

    def forgotten(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of some keys, see forgotten.py, of which something was forgotten."""
        hashes = dict(zip(self._hashes(keys), keys, strict=True))
        return {hashes[each] for each in self.notes.marked([*hashes])}

    def allow(self, keys: Sequence[bytes]) -> None:
        """Let what was forgotten come back."""
        self.notes.unmark(self._hashes(keys))

    def _hashes(self, keys: Sequence[bytes]) -> list[str]:
        token = self.recall("token") or ""
        return [hash_of_key(key, token).hex() for key in keys]

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values, as JSON, under keys that the gallery does not hold yet.

        Returns {key: the value it holds}. See MilvusNotes.
        """
        return self.notes.remember(values)

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        return self.notes.recall(key)

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the gallery lacks or whose files have changed since."""
        paths = checked_paths(paths, self.path)
        states = {
            key: row["state"]
            for key, row in self._rows(map(row_key, paths), ["path", "state"]).items()
        }
        return [path for path in paths if states.get(row_key(path)) != state_of(path)]

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add N images with features (N, D), or replace them: see SearchIndex.add.

        Unlike there, an error may leave some of them added.
        """
        paths = checked_paths(paths, f"{self.path}: not added")
        features = checked_features(features, self.width(), self.path, paths)
        known = known_of(abouts or {}, paths)
        if not self._exists():
            self._create(features.shape[1])
        stored_features = features.astype(self._dtype())
        rows = [
            {"path": row_key(path), "state": state, "feature": row}
            for path, state, row in zip(
                paths, states or map(state_of, paths), stored_features, strict=True
            )
        ]
        old = self._rows(map(row_key, paths), ["path", "feature", "identity", "track"])
        stripped = 0
        for row in rows:
            was = old.get(row["path"])
            if was and are_different(np.stack([*features_of_rows([was]), row["feature"]])):
                row |= {"identity": None, "track": None}
                stripped += bool(was["identity"] or was["track"])
        self._upsert(rows, known)
        log_stripped(self.path, stripped)

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record what is known about images; a None leaves the old value.

        Returns how many of the images are there.
        """
        known = known_of(abouts, abouts)
        paths = checked_paths([*abouts], self.path)
        keys = dict(zip(map(row_key, paths), known, strict=True))
        there = list(self._rows(keys, ["path"]))
        self._upsert([{"path": key} for key in there], [keys[key] for key in there])
        return len(there)

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield the images in chunks: (path, facts) of each, and their features (n, D)."""
        for rows in self._read(self._asked(which), [*self._known(), "feature"]):
            yield [entry_of(row) for row in rows], features_of_rows(rows)

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[tuple[Path, About]]]:
        """Yield the images in chunks: (path, what is known) of each, without reading features."""
        return ([*map(entry_of, rows)] for rows in self._read(self._asked(which), self._known()))

    def values(self, name: str) -> list[str]:
        """Return the values of a column of About that some image has, in alphabetical order."""
        if name not in FACT_NAMES:
            raise UserError(f"no column {name!r}; there are {', '.join(FACT_NAMES)}.")
        return sorted({row[name] or "" for rows in self._read("", [name]) for row in rows} - {""})

    def _read(self, condition: str, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of the images that fulfil a condition, in chunks."""
        if not self._exists():
            return
        found = self.server.ask(
            self.client.query_iterator,
            self.name,
            batch_size=ROWS_OF_MESSAGE,
            filter=condition,
            output_fields=columns,
        )
        while rows := self.server.ask(found.next):
            yield rows

    def search(
        self, queries: npt.NDArray[Any], k: int, *, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return, for each of the queries (Q, D), at most k Found, nearest first.

        If no more than MOST_ADMITTED images pass the filter, all are compared: the graph, which
        Milvus builds when it compacts its files, misses some of them.
        """
        check_count(k)
        check_filter(among)
        queries = checked_features(queries, self.width(), self.path)
        if self._count(self._asked(among)) <= MOST_ADMITTED:
            return nearest_images(queries, self.entries(among), k)
        dtype = self._dtype()
        index = self.server.ask(self.client.describe_index, self.name, "feature")["index_type"]
        step = max(1, ANSWERS // k)
        answers: list[list[Found]] = []
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            found = self.server.ask(
                self.client.search,
                self.name,
                list(part.astype(dtype)),
                filter=self._asked(among),
                limit=k,
                output_fields=[*self._known(), "feature"],
                search_params={"params": {"ef": max(128, 2 * k)} if index == CODES else {}},
            )
            answers += map(found_by_features, part, found)
        return answers

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images.

        Returns how many there were. Milvus overwrites deleted data when it next compacts its files.
        A remark names the folders of images that were cut from the frames of tracks, which stay.

        keep_crops: without the remark.
        asked: words to remember, with when and how many images were forgotten, but not which.
        """
        condition = self._asked(which)
        rows = [
            row
            for rows in self._read(condition, ["path", "state", "source", "track"])
            for row in rows
        ]
        if rows and not keep_crops:
            delete_crops(((entry_of(row)[0], row["source"]) for row in rows if row["source"]), None)
        if rows:
            self.remember({"token": secrets.token_hex(4)})
            self.notes.mark(
                self._hashes(
                    [image_key(os.fsencode(entry_of(row)[0]), row["state"]) for row in rows]
                )
            )
            self.server.ask(self.client.delete, self.name, filter=condition or 'path != ""')
            self.server.ask(self.client.flush, self.name)
            self.server.ask(self.client.compact, self.name)
            tracks = {(row["source"], row["track"]) for row in rows if row["source"]}
            gone = [
                track_key(source, track)
                for source, track in sorted(each for each in tracks if each[1])
                if not self._count(milvus_filter(Filter(source=source, track=track)))
            ]
            self.notes.mark(self._hashes(gone))
        now = stored(datetime.now())
        told = {"time": now, "asked": asked, "images": len(rows)}
        self.remember({f"forgotten {now} {secrets.token_hex(4)}": told})
        return len(rows)

    def _exists(self) -> bool:
        return self.server.exists(self.name)

    def _create(self, width: int) -> None:
        """Create the collection of the images."""
        from pymilvus import DataType

        # Milvus Lite has no float16
        kind = DataType.FLOAT16_VECTOR if self.server.served else DataType.FLOAT_VECTOR
        columns: dict[str, Any] = {name: {"nullable": True} for name in FACT_NAMES}
        texts = {"path": {"is_primary": True}, "state": {}, **columns}
        graph = {"index_type": CODES, "params": GRAPH}
        self.remember({"version": COLLECTION_VERSION})
        self.server.create(self.name, texts, (kind, width), graph, SHARDS, ["more"])

    def width(self) -> int | None:
        """Return the width of the features in the gallery, if it is known."""
        return int(self._feature()["params"]["dim"]) if self._exists() else None

    def _dtype(self) -> npt.DTypeLike:
        from pymilvus import DataType

        return np.float16 if self._feature()["type"] == DataType.FLOAT16_VECTOR else np.float32

    def _feature(self) -> dict[str, Any]:
        """Return what Milvus tells about the field of the features."""
        return next(each for each in self.server.columns(self.name) if each["name"] == "feature")

    def _has_more(self) -> bool:
        """Return whether the collection has further columns; an earlier version's has none."""
        return not self._exists() or any(
            column["name"] == "more" for column in self.server.columns(self.name)
        )

    def _known(self) -> list[str]:
        return [*KNOWN, *["more"] * self._has_more()]

    def _asked(self, which: Filter) -> str:
        """Return a filter in Milvus's words."""
        if which.where and not self._has_more():
            raise OptionError(f"{self.path}: {{where}}: {NO_MORE}")
        return milvus_filter(which)

    def _upsert(self, rows: Sequence[dict[str, Any]], abouts: Sequence[About]) -> None:
        """Write rows and what is known; what is None stays.

        The rows of a message have the same columns.
        """
        own = self._own(rows, abouts)
        whole = [
            row
            | own.get(row["path"], {})
            | {name: value for name in FACT_NAMES if (value := getattr(about, name)) is not None}
            for row, about in zip(rows, abouts, strict=True)
        ]
        whole = [row for row in whole if len(row) > 1]  # not the path alone
        for _, alike in groupby(sorted(whole, key=sorted), key=sorted):
            some = list(alike)
            for start in range(0, len(some), ROWS_OF_MESSAGE):
                part = some[start : start + ROWS_OF_MESSAGE]
                self.server.ask(self.client.upsert, self.name, part, partial_update=True)

    def _own(
        self, rows: Sequence[dict[str, Any]], abouts: Sequence[About]
    ) -> dict[str, dict[str, Any]]:
        """Return {key: {"more": further columns}} of rows that get some, with those from before."""
        new = {
            row["path"]: about.more for row, about in zip(rows, abouts, strict=True) if about.more
        }
        if new and not self._has_more():
            log.warning("%s: further columns are left out: %s", self.path, NO_MORE)
            return {}
        old = self._rows(new, ["path", "more"])
        return {
            key: {"more": {**(old.get(key, {}).get("more") or {}), **more}}
            for key, more in new.items()
        }

    def _rows(self, keys: Iterable[str], columns: list[str]) -> dict[str, dict[str, Any]]:
        """Return {key: row} of the images that are there."""
        found: dict[str, dict[str, Any]] = {}
        keys = list(keys) if self._exists() else []
        for start in range(0, len(keys), ROWS_OF_MESSAGE):
            rows = self.server.query(
                self.name, f"path in {json.dumps(keys[start : start + ROWS_OF_MESSAGE])}", columns
            )
            found |= {str(row["path"]): row for row in rows}
        return found

    def _count(self, condition: str) -> int:
        return int(self.server.query(self.name, condition, ["count(*)"])[0]["count(*)"])
