"""A gallery in Milvus: an example of a custom engine, which the suite does not maintain.

    pip install "pymilvus[milvus-lite]"
    python tools/search.py index crops --plugin docs/examples/milvus_gallery.py \
        --index milvus://localhost:19530/people --name ft_ResNet50

One program at a time may write. docs/several-machines.md says what was measured, and why
PostgreSQL is the engine of the suite. Two things are needed on a real server:

- Reads are `Bounded`: `Strong` ones wait 200 to 400 ms each, for the server's next tick. An answer
  may miss what was written in the last STALENESS seconds; `forget` waits until none can show it.
- `prepare` flushes. Milvus builds its graph when a segment is full or flushed; until then, a
  filtered search found 0.6 of the nearest images.

Unlike the engines of the suite, `forget` leaves the records of track files.
"""

import json
import os
import time
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from person_reid.errors import UserError
from person_reid.gallery.checks import (
    are_different,
    check_count,
    checked_features,
    checked_paths,
    known_of,
    state_of,
)
from person_reid.gallery.gallery import Gallery, register_gallery
from person_reid.gallery.index import Found
from person_reid.gallery.metadata import (
    EVERYTHING,
    FACT_NAMES,
    UNKNOWN_ABOUT,
    About,
    merged_about,
)
from person_reid.retrieval.similarity import unit_rows

LONGEST = 65_535  # bytes of a text
AT_ONCE = 1000  # rows of a message, of which the server takes 64 MB
STALENESS = 5  # seconds after which a bounded read sees what was written
GRAPH = {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 200}}
SEEN_NOW, SEEN_SOON = {"consistency_level": "Strong"}, {"consistency_level": "Bounded"}


class MilvusGallery(Gallery):
    """The collection at milvus://HOST:PORT/NAME, and NAME_notes for what the gallery remembers."""

    path, new = "", True

    def __init__(self, address):
        self.path = address
        parts = urlsplit(address)
        place, _, self.name = f"{parts.netloc}{parts.path}".rpartition("/")
        self.told = f"{self.name}_notes"
        self.client = self._ask(MilvusClient, f"http://{place}" if parts.netloc else place)
        self.new = not self._there(self.told)
        for collection in filter(self._there, (self.name, self.told)):
            self._ask(self.client.load_collection, collection)

    def _ask(self, work, *given, **settings):
        try:
            return work(*given, **settings)
        except MilvusException as error:
            raise UserError(f"{self.path}: {error.message}") from error

    def _there(self, collection):
        return self._ask(self.client.has_collection, collection)

    def _create(self, collection, texts, width, graph):
        schema, indexes = self.client.create_schema(), self.client.prepare_index_params()
        for name in texts:
            schema.add_field(name, DataType.VARCHAR, max_length=LONGEST, is_primary=name == "path")
        schema.add_field("feature", DataType.FLOAT_VECTOR, dim=width)
        indexes.add_index("feature", **graph)
        settings = {"schema": schema, "index_params": indexes, "num_shards": 1, **SEEN_NOW}
        self._ask(self.client.create_collection, collection, **settings)

    def _query(self, collection, condition, columns, seen=SEEN_NOW):
        settings = {"filter": condition, "output_fields": columns, **seen}
        return self._ask(self.client.query, collection, **settings)

    def _rows(self, condition, columns, seen=SEEN_NOW):
        return self._query(self.name, condition, columns, seen) if self._there(self.name) else []

    def __len__(self):
        return int((self._rows("", ["count(*)"]) or [{"count(*)": 0}])[0]["count(*)"])

    def width(self):
        if not self._there(self.name):
            return None
        fields = self._ask(self.client.describe_collection, self.name)["fields"]
        return next(int(f["params"]["dim"]) for f in fields if f["name"] == "feature")

    def _of(self, paths, columns):
        """Return {key: row} for the images at `paths` that are in the gallery."""
        keys = [key_of(path) for path in paths]
        parts = [keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)]
        rows = [r for some in parts for r in self._rows(f"path in {json.dumps(some)}", columns)]
        return {row["path"]: row for row in rows}

    def missing(self, paths):
        rows = self._of(paths := checked_paths(paths, self.path), ["path", "state"])
        states = {key: row["state"] for key, row in rows.items()}
        return [path for path in paths if states.get(key_of(path)) != state_of(path)]

    def add(self, paths, features, abouts=None, states=None):
        paths = checked_paths(paths, self.path)
        features = checked_features(features, self.width(), self.path, paths)
        if not self._there(self.name):
            texts = ("path", "state", *FACT_NAMES, "more")
            self._create(self.name, texts, features.shape[1], GRAPH)
        rows = self._of(paths, ["*"])
        states = states or [*map(state_of, paths)]
        every = zip(paths, features, known_of(abouts or {}, paths), states, strict=True)
        for path, feature, about, state in every:
            was = rows.get(key_of(path))
            old = entry_of(was)[1] if was else UNKNOWN_ABOUT
            if was and are_different(np.stack([was["feature"], feature])):
                old = old._replace(identity=None, track=None)
            rows[key_of(path)] = row_of(path, state, feature, merged_about(old, about))
        self._write([*rows.values()])

    def describe(self, abouts):
        known = {key_of(p): a for p, a in zip(abouts, known_of(abouts, abouts), strict=True)}
        rows = self._of(abouts, ["*"])
        self._write(
            [
                row_of(path, row["state"], row["feature"], merged_about(old, known[key]))
                for key, row in rows.items()
                for path, old in [entry_of(row)]
            ]
        )
        return len(rows)

    def _write(self, rows):
        for start in range(0, len(rows), AT_ONCE):
            self._ask(self.client.upsert, self.name, rows[start : start + AT_ONCE])

    def entries(self, which=EVERYTHING):
        if not self._there(self.name):
            return
        settings = {"batch_size": AT_ONCE, "filter": words(which), "output_fields": ["*"]}
        found = self._ask(self.client.query_iterator, self.name, **settings)
        while rows := self._ask(found.next):
            yield [entry_of(row) for row in rows], features_of(rows)

    def search(self, queries, k, *, among=EVERYTHING):
        check_count(k)
        queries = checked_features(queries, self.width(), self.path)
        if not self._there(self.name):
            return [[] for _ in queries]
        settings = {"filter": words(among), "limit": k, "output_fields": ["*"], **SEEN_SOON}
        effort = {"params": {"ef": max(128, 2 * k)}}
        found = self._ask(
            self.client.search, self.name, [*queries], search_params=effort, **settings
        )
        answers = [[each["entity"] for each in answer] for answer in found]
        return [
            sorted(
                [
                    Found(path, float(features_of([row])[0] @ query), about)
                    for row in rows
                    for path, about in [entry_of(row)]
                ],
                key=lambda each: -each.similarity,
            )
            for query, rows in zip(queries, answers, strict=True)
        ]

    def prepare(self):
        if self._there(self.name):
            self._ask(self.client.flush, self.name)
            while self._ask(self.client.describe_index, self.name, "feature").get(
                "pending_index_rows"
            ):
                time.sleep(1)

    def forget(self, which, asked, keep_crops=False):
        rows = self._rows(words(which) or 'path != ""', ["path"])
        for start in range(0, len(rows), AT_ONCE):
            keys = [row["path"] for row in rows[start : start + AT_ONCE]]
            self._ask(self.client.delete, self.name, filter=f"path in {json.dumps(keys)}")
        if rows:
            self._ask(self.client.flush, self.name)
            self._ask(self.client.compact, self.name)
            time.sleep(STALENESS)
        return len(rows)

    def remember(self, values):
        if not self._there(self.told):
            flat = {"index_type": "FLAT", "metric_type": "IP"}
            self._create(self.told, ("path", "value"), 2, flat)
        for key, value in values.items():
            if self.recall(key) is None:
                row = {"path": key, "value": json.dumps(value), "feature": [1, 0]}
                self._ask(self.client.upsert, self.told, [row])
        return {key: self.recall(key) for key in values}

    def recall(self, key):
        condition, there = f"path == {json.dumps(key)}", self._there(self.told)
        rows = self._query(self.told, condition, ["value"]) if there else []
        return json.loads(rows[0]["value"]) if rows else None

    def note(self, kind, notes):
        self.remember({kind: True})  # which makes the collection
        for name, note in notes.items():
            value = json.dumps([time.time(), note])
            row = {"path": f"{kind} {name}", "value": value, "feature": [1, 0]}
            self._ask(self.client.upsert, self.told, [row])

    def notes(self, kind):
        condition, there = f"path like {json.dumps(kind + ' %')}", self._there(self.told)
        rows = self._query(self.told, condition, ["path", "value"]) if there else []
        notes = {row["path"].removeprefix(f"{kind} "): json.loads(row["value"]) for row in rows}
        return {name: notes[name][1] for name in sorted(notes, key=lambda name: notes[name][0])}

    def close(self):
        self.client.close()


def key_of(path):
    """Return a path as Milvus stores it: percent-encoded, since a path may hold any bytes."""
    return quote_from_bytes(os.fsencode(Path(path)))


def row_of(path, state, feature, about):
    """Return an image as a row, with empty strings for unknown facts."""
    facts = {name: getattr(about, name) or "" for name in FACT_NAMES}
    more = json.dumps(about.more, ensure_ascii=False, sort_keys=True) if about.more else ""
    return {"path": key_of(path), "state": state, "feature": feature, **facts, "more": more}


def entry_of(row):
    """Return the image in a row, and the facts about it."""
    about = About(*[row[name] or None for name in FACT_NAMES])
    about = about._replace(more=json.loads(row["more"] or "null"))
    return Path(os.fsdecode(unquote_to_bytes(row["path"]))), about


def features_of(rows):
    """Return the features (n, D) stored in rows."""
    return unit_rows(np.array([row["feature"] for row in rows], np.float32))


def words(which):
    """Return a filter as a Milvus expression. Raises UserError if it names further columns."""
    if which.where:
        raise UserError("--where: this engine keeps further columns, and cannot search by them.")
    clauses = []
    for column, sign, value in which.comparisons():
        text = quote_from_bytes(value) if column == "path" else value
        clauses.append(f"{column} {'==' if sign == '=' else sign} {json.dumps(text)}")
        clauses += [f'{column} > ""'] if sign == "<" else []
    if which.images is not None:
        clauses.append(f"path in {json.dumps([quote_from_bytes(p) for p in which.images])}")
    return " and ".join(clauses)


register_gallery("milvus", MilvusGallery)
