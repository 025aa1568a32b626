"""The saved search index: the path and the feature of each image, in one file that grows and survives crashes.

    index = SearchIndex("people.index")
    index.add(paths, features)                        # one transaction: all of them or none
    matches = index.search(queries, k=10)             # a list of Found for every query

The file is an SQLite database, so a process killed during an addition loses nothing that was there before.
A query is compared with all images if there are at most EXACT of them. Beyond that, FAISS answers from inverted
lists, saved beside the file under a name that gives the last image in them; they can always be rebuilt.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.basics import UserError
from person_reid.gallery.inverted_lists import InvertedLists, faiss_is_installed
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.similarity import Features

EXACT = 100_000  # the most images that a search compares exhaustively
CHUNK = 50_000  # features in memory at once
PAGE = 16384  # bytes: several features per page; a 512-dimensional one would waste half of a page of 4096
TABLES = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, state TEXT NOT NULL, "
    "feature BLOB NOT NULL)",
)


@dataclass(frozen=True)
class Found:
    """One image of an answer and its similarity to the query, a cosine."""

    path: Path
    similarity: float


class SearchIndex:
    """An index file, opened, or created if it does not exist. Raises UserError if the file is not an index."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self.database.execute(f"PRAGMA page_size = {PAGE}")
            with self._transaction():
                if not self.database.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for table in TABLES:
                        self.database.execute(table)
                    self.remember("token", secrets.token_hex(4))
            self.token: str = self.recall("token")
        except sqlite3.Error as error:
            raise UserError(f"{self.path}: not a search index ({error}). tools/search.py index makes one.") from error
        self._lists: InvertedLists | None = None

    def __len__(self) -> int:
        return int(self.database.execute("SELECT count(*) FROM images").fetchone()[0])

    def close(self) -> None:
        """Release the file."""
        self.database.close()

    def remember(self, key: str, value: Any) -> None:
        """Store a value, as JSON, under a key of the caller's choice."""
        self.database.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        row = self.database.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return row and json.loads(row[0])

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the index does not hold or whose files have changed since they were added."""
        states = dict(self.database.execute("SELECT path, state FROM images"))
        return [path for path in paths if states.get(_key(path)) != _state(path)]

    def add(self, paths: Sequence[str | Path], features: npt.NDArray[Any]) -> None:
        """Add N images with their features (N, D) of unit length; replace those whose path is already there.

        All of them are on the disk when this returns. Raises UserError if the width differs from that of the index.
        """
        features = np.ascontiguousarray(features, "<f4")
        self._check_width(features)
        rows = [(_key(p), _state(p), feature.tobytes()) for p, feature in zip(paths, features, strict=True)]
        with self._transaction():
            self.database.executemany("INSERT OR REPLACE INTO images (path, state, feature) VALUES (?, ?, ?)", rows)

    def search(self, queries: npt.NDArray[Any], k: int, exact: bool = False) -> list[list[Found]]:
        """Return, for each of the queries (Q, D), at most k Found: the most similar images, nearest first.

        exact: compare with all images, however many there are.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        self._check_width(queries)
        if exact or self.last_id() <= EXACT or not faiss_is_installed():
            similarities, ids = self.nearest(queries, k)
        else:
            similarities, ids = self.lists().search(queries, k)
        paths = self._paths(sorted({int(i) for i in ids.flat if i >= 0}))
        return [
            [Found(paths[i], similarity) for similarity, i in zip(*rows, strict=True) if i in paths][:k]
            for rows in zip(similarities.tolist(), ids.tolist(), strict=True)
        ]

    def nearest(self, queries: Features, k: int) -> tuple[Features, npt.NDArray[np.int64]]:
        """Return the exact answer: similarities and ids, both (Q, min(k, N)), of the N images."""
        similarities, ids = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for chunk_ids, features in self.chunks():
            found = ExactNeighbours().search(queries, features, min(k, len(features)))
            similarities = np.concatenate([similarities, found.similarities], axis=1)
            ids = np.concatenate([ids, chunk_ids[found.indices]], axis=1)
            order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
            similarities, ids = np.take_along_axis(similarities, order, 1), np.take_along_axis(ids, order, 1)
        return similarities, ids

    def chunks(self, after: int = 0) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield (ids (n,), features (n, D)) of the images whose id is above `after`."""
        cursor = self.database.execute("SELECT id, feature FROM images WHERE id > ? ORDER BY id", (after,))
        while rows := cursor.fetchmany(CHUNK):
            ids, features = zip(*rows, strict=True)
            yield np.array(ids, np.int64), _matrix(features)

    def sample(self, count: int) -> Features:
        """Return at most `count` features (n, D), of images spread evenly over the index."""
        command = "SELECT id, feature FROM images WHERE id >= ? ORDER BY id LIMIT 1"
        numbers = np.linspace(1, self.last_id(), count).astype(int).tolist()
        return _matrix(dict(self.database.execute(command, (number,)).fetchone() for number in numbers).values())

    def prepare(self) -> None:
        """Bring the inverted lists up to date if there are enough images; otherwise the next search would do it."""
        if self.last_id() > EXACT and faiss_is_installed():
            self.lists()

    def lists(self) -> InvertedLists:
        """Return the InvertedLists, up to date."""
        if self._lists is None or self._lists.last != self.last_id():
            self._lists = InvertedLists(self)
        return self._lists

    def count_after(self, number: int) -> int:
        """Return how many images have an id above `number`."""
        return int(self.database.execute("SELECT count(*) FROM images WHERE id > ?", (number,)).fetchone()[0])

    def last_id(self) -> int:
        """Return the id of the latest image, or 0 if there are none."""
        return int(self.database.execute("SELECT coalesce(max(id), 0) FROM images").fetchone()[0])

    def _paths(self, ids: Sequence[int]) -> dict[int, Path]:
        """Return {id: path} of those of the images that are still there."""
        found: dict[int, Path] = {}
        for start in range(0, len(ids), 500):  # SQLite limits the number of question marks
            chunk = ids[start : start + 500]
            marks = ",".join("?" * len(chunk))
            rows = self.database.execute(f"SELECT id, path FROM images WHERE id IN ({marks})", chunk)
            found |= {number: Path(os.fsdecode(path)) for number, path in rows}
        return found

    def _check_width(self, features: Features) -> None:
        row = self.database.execute("SELECT length(feature) FROM images LIMIT 1").fetchone()
        if row and features.shape[1] * 4 != row[0]:
            found = f"holds features of width {row[0] // 4}, not {features.shape[1]}"
            raise UserError(f"{self.path}: {found}: they are another network's.")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a block whose changes are on the disk afterwards, all of them, or after an error or a kill, none."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")


def _matrix(blobs: Iterable[bytes]) -> Features:
    """Return the features (n, D) that n blobs hold."""
    rows = list(blobs)
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)


def _key(path: str | Path) -> bytes:
    return os.fsencode(Path(path))


def _state(path: str | Path) -> str:
    """Return a file's size and the time of its last change, or "" if it is missing."""
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
