"""A gallery in Milvus, on one machine or on many, with the methods of a SearchIndex.

    gallery = MilvusGallery("milvus://localhost:19530/people")
    gallery = MilvusGallery("milvus:///home/anna/people.db/people")  # a file, by Milvus Lite

The collection `people` holds the images, and `people_about` what the gallery remembers: its
network, and when images were forgotten. Paths are percent-encoded, since Milvus stores UTF-8 and a
path may be any bytes. The environment variable MILVUS_TOKEN may hold USER:PASSWORD. Milvus 2.6 or
newer. docs/search.md gives the reasons for the layout of a new collection; one that was made
otherwise goes on as it is.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

import numpy as np
import numpy.typing as npt

from person_reid.config.times import local, stored
from person_reid.errors import UserError
from person_reid.gallery.checks import (
    are_different,
    check_count,
    check_filter,
    checked_features,
    checked_paths,
    known_of,
    log_stripped,
    state_of,
)
from person_reid.gallery.index import MOST_ADMITTED, Found
from person_reid.gallery.metadata import EVERYTHING, FACT_NAMES, About, Filter
from person_reid.gallery.track_crops import delete_crops
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.text import parse_json

ROWS_OF_MESSAGE = 1000  # images in a message, of which Milvus takes 64 MB
ANSWERS = 20_000  # images in an answer, with features, of which Milvus takes 100 MB
LONGEST_TEXT_BYTES = 65_535  # bytes of a text in Milvus
SHARDS = 5  # Milvus advises one for 200 million images; they cannot be changed later
CODES = "HNSW_SQ"  # a graph of codes of a byte a number, which stays complete under a filter
GRAPH: dict[str, Any] = {"M": 16, "efConstruction": 200, "sq_type": "SQ8"}
KNOWN = ["path", *FACT_NAMES]


class MilvusGallery:
    """The gallery at an address, `milvus://HOST:PORT/NAME` or `milvus:///FILE/NAME`.

    It need not exist.

    Every method raises UserError if Milvus cannot be reached or refuses. The server's index may
    miss images; the similarities of those it finds come from their stored features.
    """

    def __init__(self, address: str) -> None:
        self.path = address
        parts = urlsplit(address)
        place, _, self.name = f"{parts.netloc}{parts.path}".rpartition("/")
        if not (place and self.name.isidentifier()):
            raise UserError(
                f"{address}: expected milvus://HOST:PORT/NAME, "
                "such as milvus://localhost:19530/people."
            )
        try:
            from pymilvus import MilvusClient
        except ImportError:
            raise UserError(
                f'{address}: needs Milvus: python -m pip install "person-reid[milvus]"'
            ) from None
        self.served = bool(parts.netloc)
        uri = f"http://{place}" if self.served else place
        token = os.environ.get("MILVUS_TOKEN", "")
        self.client: Any = self._ask(MilvusClient, uri, token=token)
        self.new = not self.exists()

    @property
    def file(self) -> None:
        """None: a server keeps its files to itself."""

    def __len__(self) -> int:
        return self._count("") if self._exists(self.name) else 0

    def exists(self) -> bool:
        """Return whether anything has been stored at the address."""
        return self._exists(self._about)

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def remove(self) -> None:
        """Delete the collections."""
        for collection in filter(self._exists, (self.name, self._about)):
            self._ask(self.client.drop_collection, collection)

    def prepare(self) -> None:
        """Do nothing: the server brings its indexes up to date."""

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values, as JSON, under keys that the gallery does not hold yet.

        Returns {key: the value it holds}.
        """
        if not self.exists():
            self._create(self._about, {"key": {"is_primary": True}, "value": {}}, 2)
        for key, value in values.items():
            if self.recall(key) is None:
                text = json.dumps(value)
                parts = [
                    text[start : start + LONGEST_TEXT_BYTES]
                    for start in range(0, len(text), LONGEST_TEXT_BYTES)
                ]
                rows = [
                    {"key": f"{key} {i:03d}", "value": part, "feature": [1, 0]}
                    for i, part in enumerate(parts)
                ]
                self._ask(self.client.upsert, self._about, rows)
        return {key: self.recall(key) for key in values}

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        if not self.exists():
            return None
        rows = self._query(self._about, f"key like {json.dumps(f'{key} %')}", ["key", "value"])
        text = "".join(row["value"] for row in sorted(rows, key=lambda row: str(row["key"])))
        return parse_json(text) if text else None

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the gallery lacks or whose files have changed since."""
        paths = checked_paths(paths, self.path)
        states = {
            key: row["state"]
            for key, row in self._rows(map(_key, paths), ["path", "state"]).items()
        }
        return [path for path in paths if states.get(_key(path)) != state_of(path)]

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
        if not self._exists(self.name):
            columns: dict[str, Any] = {name: {"nullable": True} for name in FACT_NAMES}
            self._create(
                self.name, {"path": {"is_primary": True}, "state": {}, **columns}, features.shape[1]
            )
        stored_features = features.astype(self._dtype())
        rows = [
            {"path": _key(path), "state": state, "feature": row}
            for path, state, row in zip(
                paths, states or map(state_of, paths), stored_features, strict=True
            )
        ]
        old = self._rows(map(_key, paths), ["path", "feature", "identity", "track"])
        stripped = 0
        for row in rows:
            was = old.get(row["path"])
            if was and are_different(np.stack([*_features([was]), row["feature"]])):
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
        keys = dict(zip(map(_key, paths), known, strict=True))
        there = list(self._rows(keys, ["path"]))
        self._upsert([{"path": key} for key in there], [keys[key] for key in there])
        return len(there)

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield the images in chunks of n: (path, what is known), and their features (n, D)."""
        for rows in self._read(_expression(which), [*KNOWN, "feature"]):
            yield [_entry(row) for row in rows], _features(rows)

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[tuple[Path, About]]]:
        """Yield the images in chunks: (path, what is known) of each, without reading features."""
        return ([*map(_entry, rows)] for rows in self._read(_expression(which), KNOWN))

    def values(self, name: str) -> list[str]:
        """Return the values of a column of About that some image has, in alphabetical order."""
        if name not in FACT_NAMES:
            raise UserError(f"no column {name!r}; there are {', '.join(FACT_NAMES)}.")
        return sorted({row[name] or "" for rows in self._read("", [name]) for row in rows} - {""})

    def _read(self, condition: str, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of the images that fulfil a condition, in chunks."""
        if not self._exists(self.name):
            return
        found = self._ask(
            self.client.query_iterator,
            self.name,
            batch_size=ROWS_OF_MESSAGE,
            filter=condition,
            output_fields=columns,
        )
        while rows := self._ask(found.next):
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
        if self._count(_expression(among)) <= MOST_ADMITTED:
            return self._compare_all(queries, k, among)
        dtype = self._dtype()
        index = self._ask(self.client.describe_index, self.name, "feature")["index_type"]
        step = max(1, ANSWERS // k)
        answers: list[list[Found]] = []
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            found = self._ask(
                self.client.search,
                self.name,
                list(part.astype(dtype)),
                filter=_expression(among),
                limit=k,
                output_fields=[*KNOWN, "feature"],
                search_params={"params": {"ef": max(128, 2 * k)} if index == CODES else {}},
            )
            answers += map(_compared, part, found)
        return answers

    def _compare_all(self, queries: Features, k: int, among: Filter) -> list[list[Found]]:
        """Return what `search` does, from the features of all images that pass a filter."""
        chunks = list(self.entries(among))
        images = [image for entries, _ in chunks for image in entries]
        if not images:
            return [[] for _ in queries]
        similarities = queries @ unit_rows(np.concatenate([rows for _, rows in chunks])).T
        return [
            [Found(images[i][0], float(row[i]), images[i][1]) for i in np.argsort(-row)[:k]]
            for row in similarities
        ]

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images.

        Returns how many there were. Milvus overwrites deleted data when it next compacts its files.
        A remark names the folders of images that were cut from the frames of tracks, which stay.

        keep_crops: without the remark.
        asked: words to remember, with when and how many images were forgotten, but not which.
        """
        count = self._count(_expression(which)) if self._exists(self.name) else 0
        if count and not keep_crops:
            every = (image for images in self.images(which) for image in images)
            delete_crops(((path, about.source) for path, about in every if about.source), None)
        if count:
            self._ask(self.client.delete, self.name, filter=_expression(which) or 'path != ""')
            self._ask(self.client.flush, self.name)
            self._ask(self.client.compact, self.name)
        now = stored(datetime.now())
        told = {"time": now, "asked": asked, "images": count}
        self.remember({f"forgotten {now} {secrets.token_hex(4)}": told})
        return count

    @property
    def _about(self) -> str:
        return f"{self.name}_about"

    def _exists(self, collection: str) -> bool:
        return bool(self._ask(self.client.has_collection, collection))

    def _create(self, collection: str, texts: Mapping[str, dict[str, Any]], width: int) -> None:
        """Create a collection of texts with a feature each.

        Its consistency is strong: what was added is found at once. Values stay on the disk, mapped
        into memory. Images are also found by the nullable texts.
        """
        from pymilvus import DataType

        images = collection == self.name
        schema, indexes = self.client.create_schema(), self.client.prepare_index_params()
        for name, how in texts.items():
            schema.add_field(
                name, DataType.VARCHAR, max_length=LONGEST_TEXT_BYTES, mmap_enabled=True, **how
            )
            if how.get("nullable"):
                indexes.add_index(name, index_type="INVERTED")
        # Milvus Lite has no float16
        kind = DataType.FLOAT16_VECTOR if images and self.served else DataType.FLOAT_VECTOR
        schema.add_field("feature", kind, dim=width, mmap_enabled=True)
        graph = {"index_type": CODES, "params": GRAPH} if images else {"index_type": "AUTOINDEX"}
        indexes.add_index("feature", metric_type="IP", **graph)
        self._ask(
            self.client.create_collection,
            collection,
            schema=schema,
            index_params=indexes,
            consistency_level="Strong",
            num_shards=SHARDS if images else 1,
        )

    def width(self) -> int | None:
        """Return the width of the features in the gallery, if it is known."""
        return int(self._feature()["params"]["dim"]) if self._exists(self.name) else None

    def _dtype(self) -> npt.DTypeLike:
        from pymilvus import DataType

        return np.float16 if self._feature()["type"] == DataType.FLOAT16_VECTOR else np.float32

    def _feature(self) -> dict[str, Any]:
        """Return what Milvus tells about the field of the features."""
        fields = self._ask(self.client.describe_collection, self.name)["fields"]
        return next(field for field in fields if field["name"] == "feature")

    def _upsert(self, rows: Sequence[dict[str, Any]], abouts: Sequence[About]) -> None:
        """Write rows and what is known; what is None stays.

        The rows of a message have the same columns.
        """
        whole = [
            row | {name: value for name, value in about._asdict().items() if value is not None}
            for row, about in zip(rows, abouts, strict=True)
        ]
        whole = [row for row in whole if len(row) > 1]  # not the path alone
        for _, alike in groupby(sorted(whole, key=sorted), key=sorted):
            some = list(alike)
            for start in range(0, len(some), ROWS_OF_MESSAGE):
                part = some[start : start + ROWS_OF_MESSAGE]
                self._ask(self.client.upsert, self.name, part, partial_update=True)

    def _rows(self, keys: Iterable[str], columns: list[str]) -> dict[str, dict[str, Any]]:
        """Return {key: row} of the images that are there."""
        found: dict[str, dict[str, Any]] = {}
        keys = list(keys) if self._exists(self.name) else []
        for start in range(0, len(keys), ROWS_OF_MESSAGE):
            rows = self._query(
                self.name, f"path in {json.dumps(keys[start : start + ROWS_OF_MESSAGE])}", columns
            )
            found |= {str(row["path"]): row for row in rows}
        return found

    def _query(self, collection: str, condition: str, columns: list[str]) -> list[dict[str, Any]]:
        found = self._ask(self.client.query, collection, filter=condition, output_fields=columns)
        return list(found)

    def _count(self, condition: str) -> int:
        return int(self._query(self.name, condition, ["count(*)"])[0]["count(*)"])

    def _ask(self, work: Callable[..., Any], *given: Any, **settings: Any) -> Any:
        """Return what a function of Milvus's client returns. Its errors become a UserError."""
        from pymilvus import MilvusException

        try:
            return work(*given, **settings)
        except MilvusException as error:
            raise UserError(
                f"{self.path}: {error.message}. "
                "Check that Milvus runs there: https://milvus.io/docs"
            ) from error


def _expression(which: Filter) -> str:
    """Return a filter in Milvus's words."""
    check_filter(which)
    if which.where or which.images is not None:
        raise UserError("--where: only an index in a file has further columns.")

    def literal(value: Any) -> str:
        return json.dumps(
            quote_from_bytes(value) if isinstance(value, bytes) else value, ensure_ascii=False
        )

    def clause(name: str, sign: str, value: Any) -> str:
        if name != "time":
            return f"{name} {'==' if sign == '=' else sign} {literal(value)}"
        both = literal(value), literal(local(value))  # without Z, it is of an earlier version
        in_utc, as_local = (f"{name} {sign} {each}" for each in both)
        return f'((time like "%Z" and {in_utc}) or (not (time like "%Z") and {as_local}))'

    return " and ".join(clause(*each) for each in which.comparisons())


def _key(path: str | Path) -> str:
    return quote_from_bytes(os.fsencode(Path(path)))


def _entry(row: Mapping[str, Any]) -> tuple[Path, About]:
    return Path(os.fsdecode(unquote_to_bytes(row["path"]))), About(
        *(row.get(name) for name in FACT_NAMES)
    )


def _features(rows: Iterable[Mapping[str, Any]]) -> Features:
    """Return the features (n, D) of rows: numbers, or bytes of float16, alone or in a list."""
    values = [row["feature"] for row in rows]
    raw = [value[0] if isinstance(value[0], bytes) else value for value in values]
    return np.array(
        [np.frombuffer(v, np.float16) if isinstance(v, bytes) else v for v in raw], np.float32
    )


def _compared(query: Features, matches: Sequence[Mapping[str, Any]]) -> list[Found]:
    """Return the images that answer a query (D,), compared again by their stored features."""
    rows = [match["entity"] for match in matches]
    similarities = unit_rows(_features(rows)) @ query if rows else ()
    found = [
        Found(path, float(similarity), about)
        for (path, about), similarity in zip(map(_entry, rows), similarities, strict=True)
    ]
    return sorted(found, key=lambda each: -each.similarity)
