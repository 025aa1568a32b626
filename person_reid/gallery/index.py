"""The saved index of a search: where each image is and its feature, in one file that grows and survives.

    index = SearchIndex("people.index")
    index.add(paths, features)                        # one transaction: all of them or none
    matches = index.search(queries, k=10)             # a list of Found for every query

The file is an SQLite database, so that a process killed in the middle of an addition loses none of what was there.
Up to EXACT images every query is compared with all of them. Beyond, FAISS answers from inverted lists, saved beside
the file under a name that says up to which image they reach; they can always be made anew (inverted_lists.py).
"""

import json
import os
import secrets
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from person_reid.basics import UserError
from person_reid.gallery.inverted_lists import InvertedLists, faiss_is_installed
from person_reid.retrieval.neighbours import ExactNeighbours

EXACT = 100_000  # images up to which a search compares with all of them
CHUNK = 50_000  # features in memory at once
PAGE = 16384  # bytes: several features a page; of 4096 a 512-dimensional one would fill a page and waste half of it
TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, state TEXT NOT NULL,
                     feature BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Found:
    """One image of an answer, and its similarity to the query, a cosine."""

    path: Path
    similarity: float


class SearchIndex:
    """An index file, opened or, where it is not there yet, made. Raises UserError for a file that is no index."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self.database.execute(f"PRAGMA page_size = {PAGE}")
            with self._transaction():
                if not self.database.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for table in filter(str.strip, TABLES.split(";")):
                        self.database.execute(table)
                    self.remember("token", secrets.token_hex(4))
            self.token = self.recall("token")
        except sqlite3.Error as error:
            raise UserError(f"{self.path}: not a search index ({error}). tools/search.py index makes one.") from error
        self._lists = None

    def __len__(self):
        return self.database.execute("SELECT count(*) FROM images").fetchone()[0]

    def close(self):
        """Release the file."""
        self.database.close()

    def remember(self, key, value):
        """Keep a value, as JSON, under a name of the caller's."""
        self.database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def recall(self, key):
        """What was kept under that name, or None."""
        row = self.database.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return row and json.loads(row[0])

    def missing(self, paths):
        """Those of the paths that the index does not hold, or whose files have changed since."""
        states = dict(self.database.execute("SELECT path, state FROM images"))
        return [path for path in paths if states.get(_key(path)) != _state(path)]

    def add(self, paths, features):
        """Add N images with their features (N, D) of unit length; a path that is there already is replaced.

        All of them are on the disk when this returns. Raises UserError for features of another width than those there.
        """
        features = np.ascontiguousarray(features, "<f4")
        self._check_width(features)
        rows = [(_key(p), _state(p), feature.tobytes()) for p, feature in zip(paths, features, strict=True)]
        with self._transaction():
            self.database.executemany("INSERT OR REPLACE INTO images (path, state, feature) VALUES (?, ?, ?)", rows)

    def search(self, queries, k, exact=False):
        """The k images most similar to each of the queries (Q, D): a list of at most k Found for each, nearest first.

        exact: compare with all images, however many there are.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        self._check_width(queries)
        if exact or self.last_id() <= EXACT or not faiss_is_installed():
            similarities, ids = self.nearest(queries, k)
        else:
            similarities, ids = self.lists().search(queries, k)
        wanted = sorted({int(i) for i in ids.flat if i >= 0})
        paths = dict(chain.from_iterable(map(self._paths, (wanted[i : i + 500] for i in range(0, len(wanted), 500)))))
        return [
            [Found(paths[i], float(s)) for s, i in zip(*pair, strict=True) if i in paths][:k]
            for pair in zip(similarities.tolist(), ids.tolist(), strict=True)
        ]

    def nearest(self, queries, k):
        """The exact answer: similarities (Q, k) and ids (Q, k) of the images, k the number of images at most."""
        similarities, ids = (np.empty((len(queries), 0), dtype) for dtype in (np.float32, np.int64))
        for chunk_ids, features in self.chunks():
            found = ExactNeighbours().search(queries, features, min(k, len(features)))
            similarities = np.concatenate([similarities, found.similarities], axis=1)
            ids = np.concatenate([ids, chunk_ids[found.indices]], axis=1)
            order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
            similarities, ids = (np.take_along_axis(values, order, axis=1) for values in (similarities, ids))
        return similarities, ids

    def chunks(self, after=0):
        """Yield (ids (n,), features (n, D)) of the images whose id is above `after`."""
        cursor = self.database.execute("SELECT id, feature FROM images WHERE id > ? ORDER BY id", (after,))
        while rows := cursor.fetchmany(CHUNK):
            ids, features = zip(*rows, strict=True)
            yield np.array(ids), _matrix(features)

    def sample(self, count):
        """At most `count` features (n, D), of images spread evenly over the index."""
        command = "SELECT id, feature FROM images WHERE id >= ? ORDER BY id LIMIT 1"
        numbers = np.linspace(1, self.last_id(), count).astype(int).tolist()
        return _matrix(dict(self.database.execute(command, (number,)).fetchone() for number in numbers).values())

    def prepare(self):
        """Bring the inverted lists up to date, where so many images need them; else the next search does."""
        if self.last_id() > EXACT and faiss_is_installed():
            self.lists()

    def lists(self):
        """The InvertedLists, up to date."""
        if self._lists is None or self._lists.last != self.last_id():
            self._lists = InvertedLists(self)
        return self._lists

    def count_after(self, number):
        """How many images have an id above that."""
        return self.database.execute("SELECT count(*) FROM images WHERE id > ?", (number,)).fetchone()[0]

    def last_id(self):
        """The id of the latest image, 0 where there is none."""
        return self.database.execute("SELECT coalesce(max(id), 0) FROM images").fetchone()[0]

    def _paths(self, ids):
        marks = ",".join("?" * len(ids))
        rows = self.database.execute(f"SELECT id, path FROM images WHERE id IN ({marks})", ids)
        return [(number, Path(os.fsdecode(path))) for number, path in rows]

    def _check_width(self, features):
        row = self.database.execute("SELECT length(feature) FROM images LIMIT 1").fetchone()
        if row and features.shape[1] * 4 != row[0]:
            raise UserError(
                f"{self.path}: holds features of width {row[0] // 4}, not {features.shape[1]}, of another network."
            )

    @contextmanager
    def _transaction(self):
        """All or nothing: what is done inside is on the disk afterwards, or, after an error or a kill, has not been."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")


def _matrix(blobs):
    return np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), -1)


def _key(path):
    return os.fsencode(Path(path))


def _state(path):
    """Size and time of a file's last change; empty where it is not there."""
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
