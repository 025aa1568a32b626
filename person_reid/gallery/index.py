"""The saved search index: path, feature and the known facts of each image, in one file that
survives crashes.

    index = SearchIndex("people.index")
    index.add(paths, features)                        # one transaction: all of them or none
    matches = index.search(queries, k=10)             # a list of Found for every query

The file is an SQLite database, so a process killed during an addition loses nothing that was there
before. A query is compared with all images if there are at most EXACT of them. Beyond that, FAISS
answers from inverted lists, saved beside the file under a name that gives the last addition in
them; they can always be rebuilt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from person_reid.basics import UserError
from person_reid.gallery.checks import check_count, checked
from person_reid.gallery.index_file import ADDITIONS, ROUNDING, IndexFile
from person_reid.gallery.inverted_lists import InvertedLists, delete_lists, faiss_is_installed
from person_reid.gallery.metadata import EVERYTHING, UNKNOWN, About, Filter
from person_reid.retrieval.neighbours import merged, nearest_of_chunks
from person_reid.retrieval.similarity import Features

EXACT = 100_000  # the most images that a search compares exhaustively
MOST_KEPT = 64  # answers of the file, nearly all of them the images that a filter admits
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """One image of an answer, its similarity to the query, a cosine, and what is known about it."""

    path: Path
    similarity: float
    about: About = UNKNOWN


class SearchIndex(IndexFile):
    """An index file and its inverted lists."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._lists: InvertedLists | None = None
        self._cache: tuple[tuple[int, int], dict[Any, Any]] = (0, 0), {}

    def forget(self, which: Filter, asked: str) -> int:
        """Delete images so that no file holds their paths or features any more.

        Returns how many there were.

        asked: words for the table `forgotten`, which records that and when images were forgotten,
        but not which.
        """
        condition, values = self._condition(which)
        self._rows("PRAGMA secure_delete = ON")  # even if the file is never rewritten
        with self._transaction():
            delete_lists(self)
            count = self.database.execute(f"DELETE FROM images WHERE {condition}", values).rowcount
            self._rows(ADDITIONS)
            self._rows("DELETE FROM additions")  # no lists from before fit any more
            self._mark()
            self._rows(
                "INSERT INTO forgotten VALUES (datetime('now', 'localtime'), ?, ?)", (asked, count)
            )
        self._rows("VACUUM")  # also what was replaced before
        delete_lists(self)  # from a search in the meantime
        self._lists = None
        return count

    def search(
        self, queries: npt.NDArray[Any], k: int, exact: bool = False, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return, for each of the queries (Q, D), at most k Found: the most similar images, nearest
        first.

        exact: compare with all images, however many there are. among: search only these. Raises
        UserError if k is not positive, and for queries that the index cannot compare with its
        features.
        """
        check_count(k)
        queries = checked(queries, self.width(), self.path)
        exact = exact or not faiss_is_installed() or not self._is_large()
        lists = None if exact else self.lists()
        with self._transaction("DEFERRED"):  # others may add, replace and forget at any moment
            # a token from before images were forgotten is not known: all that is left is compared
            if lists and (lists.token == self.latest()[0] or self.reached(lists.token)):
                similarities, ids = self._nearest(lists, queries, k, among)
            else:
                similarities, ids = nearest_of_chunks(queries, self.compared(among), k)
            images = self._images(sorted({int(i) for i in ids.flat if i >= 0}))
        return [
            [
                Found(images[i][0], similarity, images[i][1])
                for i, similarity in zip(numbers, row, strict=True)
                if i in images
            ][:k]
            for numbers, row in zip(ids.tolist(), similarities.tolist(), strict=True)
        ]

    def _nearest(
        self, lists: InvertedLists, queries: Features, k: int, among: Filter
    ) -> tuple[Features, npt.NDArray[np.int64]]:
        """Return similarities and ids, both (Q, ≥k), nearest first.

        They are of the images in the lists and of those added since. An id may be -1, or belong to
        a replaced image. Raises UserError if the lists are damaged.
        """
        added = self.count_after(lists.last)
        replaced = lists.index.ntotal + added - self._count()
        if replaced < 0:
            raise self._damaged_lists(f"{-replaced} images are missing")
        allowed = self.allowed(among) if among != EVERYTHING else None
        similarities, ids = lists.search(queries, k + replaced, allowed)
        wrong = np.abs(self.cosines(queries, ids) - similarities) > ROUNDING
        if wrong.any():
            raise self._damaged_lists(f"a similarity of {similarities[wrong][0]:.3g} is wrong")
        newer = nearest_of_chunks(queries, self.chunks(lists.last, among), k)
        return merged((similarities, ids), newer, k + replaced)

    def _damaged_lists(self, what: str) -> UserError:
        return UserError(
            f"{self.path}: its inverted lists are damaged: {what}. "
            f"Delete {self.path}.{self.token}-*.lists; the next search makes them again."
        )

    def compared(self, which: Filter) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield (ids (n,), features (n, D)) for an exact search; at
        most EXACT images stay in memory.
        """
        if self._is_large():
            yield from self.chunks(0, which)
            return
        for ids, features in self._kept("images", lambda: list(self.chunks())):
            if which != EVERYTHING:
                inside = np.isin(
                    ids, np.flatnonzero(np.unpackbits(self.allowed(which), bitorder="little"))
                )
                ids, features = ids[inside], features[inside]
            if len(ids):
                yield ids, features

    def prepare(self) -> None:
        """Bring the inverted lists up to date if there are enough images;
        otherwise the next search would do it.
        """
        if self._is_large() and faiss_is_installed():
            self.lists()

    def _is_large(self) -> bool:
        """Return whether there are more than EXACT images."""
        return self._count() > EXACT

    def _count(self) -> int:
        """Return how many images there are; they are counted once until the file changes."""
        return self._kept("count", self.__len__)

    def lists(self) -> InvertedLists:
        """Return the InvertedLists, up to date."""
        lists = self._lists
        if lists is None or (lists.token, lists.last) != self.latest():
            lists = self._lists = InvertedLists(self)
        return lists

    def allowed(self, which: Filter) -> npt.NDArray[np.uint8]:
        """Return one bit for each id, lowest first, set if the filter admits
        it; kept until the file changes.
        """

        def read() -> npt.NDArray[np.uint8]:
            condition, values = which.condition()
            rows = self._rows(f"SELECT id FROM images WHERE {condition}", values)
            found = np.bincount(np.fromiter(chain.from_iterable(rows), np.int64, len(rows)))
            return np.packbits(found > 0, bitorder="little")

        return self._kept(which, read)

    def _kept(self, key: object, read: Callable[[], T]) -> T:
        """Return what read() returned for this key since the file last changed,
        by this process or by another.
        """
        state = self._rows("PRAGMA data_version")[0][0], self.database.total_changes
        if self._cache[0] != state:
            self._cache = state, {}
        kept = self._cache[1]
        value: T = kept.pop(key) if key in kept else read()
        kept[key] = value  # the latest is the last
        if len(kept) > MOST_KEPT:
            del kept[next(iter(kept))]
        return value
