"""The saved search index: path, feature and what is known of each image, in one file that survives crashes.

    index = SearchIndex("people.index")
    index.add(paths, features)                        # one transaction: all of them or none
    matches = index.search(queries, k=10)             # a list of Found for every query

The file is an SQLite database, so a process killed during an addition loses nothing that was there before. A query is
compared with all images if there are at most EXACT of them. Beyond that, FAISS answers from inverted lists, saved
beside the file under a name that gives the last image in them; they can always be rebuilt.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.basics import UserError
from person_reid.gallery.about import EVERYTHING, UNKNOWN, About, Filter
from person_reid.gallery.inverted_lists import InvertedLists, delete_lists, faiss_is_installed
from person_reid.gallery.tables import IndexFile
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.similarity import Features, flaw

EXACT = 100_000  # the most images that a search compares exhaustively
CHUNK = 50_000  # features in memory at once


@dataclass(frozen=True)
class Found:
    """One image of an answer, its similarity to the query, a cosine, and what is known of it."""

    path: Path
    similarity: float
    about: About = UNKNOWN


class SearchIndex(IndexFile):
    """An index file and its inverted lists."""

    _lists: InvertedLists | None = None

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM images")[0][0])

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
        self._upgrade()
        known = ", ".join(f"(SELECT {name} FROM images WHERE path = ?1)" for name in About._fields)
        columns = ", ".join(About._fields)
        command = f"INSERT OR REPLACE INTO images (path, state, feature, {columns}) VALUES (?1, ?2, ?3, {known})"
        with self._transaction():
            self.database.executemany(command, rows)

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record what is known of images; what is None stays as it was. Returns how many of the images are there."""
        self._upgrade()
        rows = [(*about, _key(path)) for path, about in abouts.items()]
        changes = ", ".join(f"{name} = coalesce(?, {name})" for name in About._fields)
        with self._transaction():
            return self.database.executemany(f"UPDATE images SET {changes} WHERE path = ?", rows).rowcount

    def forget(self, which: Filter, asked: str) -> int:
        """Delete images so that no file holds their paths or features any more. Returns how many there were.

        asked: words for the table `forgotten`, which records that and when images were forgotten, but not which.
        """
        self._upgrade()
        condition, values = self._condition(which)
        self._rows("PRAGMA secure_delete = ON")  # even if the file is never rewritten
        with self._transaction():
            delete_lists(self)
            count = self.database.execute(f"DELETE FROM images WHERE {condition}", values).rowcount
            self._rows("INSERT INTO forgotten VALUES (datetime('now', 'localtime'), ?, ?)", (asked, count))
        self._rows("VACUUM")  # also what was replaced before
        delete_lists(self)  # of a search in the meantime
        self._lists = None
        return count

    def search(
        self, queries: npt.NDArray[Any], k: int, exact: bool = False, among: Filter | None = None
    ) -> list[list[Found]]:
        """Return, for each of the queries (Q, D), at most k Found: the most similar images, nearest first.

        exact: compare with all images, however many there are. among: search only these.
        """
        queries = self._checked(queries, "queries", "query {}".format)
        exact = exact or not faiss_is_installed() or self.last_id() <= EXACT
        some = self._ids(among) if among and not exact else None
        if exact or (some is not None and len(some) <= EXACT):
            similarities, ids = self.nearest(queries, k, among or EVERYTHING)
        else:
            similarities, ids = self.lists().search(queries, k, some)
        images = self.images(sorted({int(i) for i in ids.flat if i >= 0}))

        def found(row: Sequence[float], numbers: Sequence[int]) -> list[Found]:
            here = ((images[i], similarity) for similarity, i in zip(row, numbers, strict=True) if i in images)
            return [Found(path, similarity, about) for (path, about), similarity in islice(here, k)]

        return list(map(found, similarities.tolist(), ids.tolist()))

    def nearest(self, queries: Features, k: int, which: Filter = EVERYTHING) -> tuple[Features, npt.NDArray[np.int64]]:
        """Return the exact answer: similarities and ids, both (Q, min(k, N)), of the N images."""
        similarities, ids = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for chunk_ids, features in self.chunks(0, which):
            found = ExactNeighbours().search(queries, features, min(k, len(features)))
            similarities = np.concatenate([similarities, found.similarities], axis=1)
            ids = np.concatenate([ids, chunk_ids[found.indices]], axis=1)
            order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
            similarities, ids = np.take_along_axis(similarities, order, 1), np.take_along_axis(ids, order, 1)
        return similarities, ids

    def chunks(self, after: int = 0, which: Filter = EVERYTHING) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield (ids (n,), features (n, D)) of the images whose id is above `after`."""
        condition, values = self._condition(which)
        command = f"SELECT id, feature FROM images WHERE {condition} AND id > ? ORDER BY id LIMIT ?"
        while rows := self._rows(command, (*values, after, CHUNK)):
            after = rows[-1][0]
            yield np.array([number for number, _ in rows], np.int64), self._matrix(rows)

    def entries(self, which: Filter = EVERYTHING) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield the images in chunks: (path, what is known) of n images, and their features (n, D)."""
        for ids, features in self.chunks(0, which):
            images = self._images(ids.tolist())
            there = [place for place, number in enumerate(ids.tolist()) if number in images]
            yield [images[int(ids[place])] for place in there], features[there]

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

    def _ids(self, which: Filter) -> npt.NDArray[np.int64]:
        """Return the ids (n,) of the images that a filter lets through."""
        condition, values = self._condition(which)
        return np.array(self._rows(f"SELECT id FROM images WHERE {condition}", values), np.int64).ravel()

    def _images(self, ids: Sequence[int]) -> dict[int, tuple[Path, About]]:
        """Return {id: (path, what is known)} of those of the images that are still there."""
        found: dict[int, tuple[Path, About]] = {}
        columns = self._columns()
        known = ", ".join(name if name in columns else "NULL" for name in About._fields)
        for start in range(0, len(ids), 500):  # SQLite limits the number of question marks
            chunk = ids[start : start + 500]
            marks = ",".join("?" * len(chunk))
            rows = self._rows(f"SELECT id, path, {known} FROM images WHERE id IN ({marks})", chunk)
            found |= {number: (Path(os.fsdecode(path)), About(*about)) for number, path, *about in rows}
        return found

    def _condition(self, which: Filter) -> tuple[str, list[Any]]:
        """Return the SQL condition of a filter and its values; the index has the columns that it names."""
        if which != EVERYTHING:
            self._upgrade()
        return which.condition()

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
        if found := flaw(features, lambda i: self.images([rows[i][0]])[rows[i][0]][0]):
            raise self._damaged(found)
        return features


def _key(path: str | Path) -> bytes:
    return os.fsencode(Path(path))


def _state(path: str | Path) -> str:
    """Return a file's size and the time of its last change, or "" if it is missing."""
    try:
        status = Path(path).stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
