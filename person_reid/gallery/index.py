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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.basics import UserError
from person_reid.gallery.inverted_lists import InvertedLists, faiss_is_installed
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.similarity import Features, flaw

EXACT = 100_000  # the most images that a search compares exhaustively
CHUNK = 50_000  # features in memory at once
BUSY = 60  # seconds to wait for another process that writes
PAGE = 16384  # bytes: several features per page; a 512-dimensional one would waste half of a page of 4096
TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, "
    "state TEXT NOT NULL, feature BLOB NOT NULL)",
)
DAMAGED = "damaged. Index the images again: --index ANOTHER_FILE"
FOREIGN = "not a search index. tools/search.py index makes one."
REASONS = {  # what SQLite says, and what to do
    "locked": "another process has been writing to it for {busy} s. Wait until it ends, and run this again.",
    "full": "the disk is full. Make room, and run this again: it keeps what was added before.",
    "readonly": "it cannot be written to. Check the permissions of the file and of its folder.",
    "unable to open": "it cannot be opened. Check the permissions of the file and of its folder.",
    "disk I/O error": "the disk cannot be read or written. Check its health and that it has room.",
    "Could not decode": DAMAGED,
    "malformed": DAMAGED,
    "not a database": FOREIGN,
    "no such table": FOREIGN,
    "no such column": FOREIGN,
}


@dataclass(frozen=True)
class Found:
    """One image of an answer and its similarity to the query, a cosine."""

    path: Path
    similarity: float


class SearchIndex:
    """An index file, opened, or created if it does not exist.

    Every method raises UserError if the file is damaged or not an index, if the disk is full, or if another process
    keeps writing to it for BUSY seconds.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self.database = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)
        self._rows(f"PRAGMA page_size = {PAGE}")
        if not self._rows("SELECT 1 FROM sqlite_master"):
            with self._transaction():
                for table in TABLES:
                    self._rows(table)
        self.token: str = self.remember({"token": secrets.token_hex(4)})["token"]
        self._lists: InvertedLists | None = None

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM images")[0][0])

    def close(self) -> None:
        """Release the file."""
        self.database.close()

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values, as JSON, under keys that the index does not hold yet. Returns {key: the value it holds}.

        If several processes do so at once, one of them stores all of its values, and the others are told these.
        """
        if any(self.recall(key) is None for key in values):
            with self._transaction():
                for key, value in values.items():
                    self._rows("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, json.dumps(value)))
        return {key: self.recall(key) for key in values}

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        for (text,) in self._rows("SELECT value FROM about WHERE key = ?", (key,)):
            try:
                return json.loads(text)
            except ValueError:
                raise self._damaged(f"no JSON under {key!r}") from None
        return None

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the index does not hold or whose files have changed since they were added."""
        states = dict(self._rows("SELECT path, state FROM images"))
        return [path for path in paths if states.get(_key(path)) != _state(path)]

    def add(self, paths: Sequence[str | Path], features: npt.NDArray[Any]) -> None:
        """Add N images with their features (N, D) of unit length; replace those whose path is already there.

        All of them are on the disk when this returns. Raises UserError for features that are not finite or are all
        zero, and if the width differs from that of the index.
        """
        features = self._checked(features, "not added", lambda i: str(paths[i]))
        rows = [(_key(p), _state(p), feature.tobytes()) for p, feature in zip(paths, features, strict=True)]
        with self._transaction():
            self.database.executemany("INSERT OR REPLACE INTO images (path, state, feature) VALUES (?, ?, ?)", rows)

    def search(self, queries: npt.NDArray[Any], k: int, exact: bool = False) -> list[list[Found]]:
        """Return, for each of the queries (Q, D), at most k Found: the most similar images, nearest first.

        exact: compare with all images, however many there are.
        """
        queries = self._checked(queries, "queries", "query {}".format)
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
        command = "SELECT id, feature FROM images WHERE id > ? ORDER BY id LIMIT ?"
        while rows := self._rows(command, (after, CHUNK)):
            after = rows[-1][0]
            yield np.array([number for number, _ in rows], np.int64), self._matrix(rows)

    def sample(self, count: int) -> Features:
        """Return at most `count` features (n, D), of images spread evenly over the index."""
        command = "SELECT id, feature FROM images WHERE id >= ? ORDER BY id LIMIT 1"
        numbers = np.linspace(1, self.last_id(), count).astype(int).tolist()
        return self._matrix(list(dict(self._rows(command, (number,))[0] for number in numbers).items()))

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
        return int(self._rows("SELECT count(*) FROM images WHERE id > ?", (number,))[0][0])

    def last_id(self) -> int:
        """Return the id of the latest image, or 0 if there are none."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM images")[0][0])

    def _paths(self, ids: Sequence[int]) -> dict[int, Path]:
        """Return {id: path} of those of the images that are still there."""
        found: dict[int, Path] = {}
        for start in range(0, len(ids), 500):  # SQLite limits the number of question marks
            chunk = ids[start : start + 500]
            marks = ",".join("?" * len(chunk))
            rows = self._rows(f"SELECT id, path FROM images WHERE id IN ({marks})", chunk)
            found |= {number: Path(os.fsdecode(path)) for number, path in rows}
        return found

    def _checked(self, features: npt.NDArray[Any], what: str, name: Callable[[int], object]) -> Features:
        """Return features (N, D) as they are stored. Raises UserError if the index cannot compare them with its own."""
        features = np.ascontiguousarray(features, "<f4")
        if features.ndim != 2:
            raise UserError(f"{self.path}: {what}: features of shape {features.shape}; expected (images, dimension).")
        for (size,) in self._rows("SELECT length(feature) FROM images LIMIT 1"):
            if features.shape[1] * 4 != size:
                found = f"holds features of width {size // 4}, not {features.shape[1]}"
                raise UserError(f"{self.path}: {found}: they are another network's.")
        if found := flaw(features, name):
            raise UserError(f"{self.path}: {what}: {found}. Check the network's weights.")
        return features

    def _matrix(self, rows: Sequence[tuple[int, bytes]]) -> Features:
        """Return the features (n, D) of n rows (id, feature)."""
        sizes = {len(feature) if isinstance(feature, bytes) else 0 for _, feature in rows}
        if len(sizes) > 1 or min(sizes) % 4 or not min(sizes):
            raise self._damaged("a feature is cut short")
        features = np.frombuffer(b"".join(feature for _, feature in rows), "<f4").reshape(len(rows), -1)
        if found := flaw(features, lambda i: self._paths([rows[i][0]]).get(rows[i][0])):
            raise self._damaged(found)
        return features

    def _rows(self, command: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run an SQL command and return its rows."""
        with self._explained():
            return self.database.execute(command, values).fetchall()

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path}: damaged: {what}. Index the images again: --index ANOTHER_FILE")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors in a block into a UserError that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            for words, reason in REASONS.items():
                if words in str(error):
                    raise UserError(f"{self.path}: {reason.format(busy=BUSY)}") from error
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a block whose changes are on the disk afterwards, all of them, or after an error or a kill, none."""
        self._rows("BEGIN IMMEDIATE")
        try:
            with self._explained():
                yield
            self._rows("COMMIT")
        except BaseException:
            if self.database.in_transaction:  # SQLite has ended it already if the disk is full
                self._rows("ROLLBACK")
            raise


def _key(path: str | Path) -> bytes:
    return os.fsencode(Path(path))


def _state(path: str | Path) -> str:
    """Return a file's size and the time of its last change, or "" if it is missing."""
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
