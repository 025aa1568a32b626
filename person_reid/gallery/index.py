"""The saved search index: path, feature and facts of each image, in a file that survives crashes.

    index = SearchIndex("people.index")
    index.add(paths, features)                        # one transaction: all of them or none
    matches = index.search(queries, k=10)             # a list of Found for every query

The file is an SQLite database, so a process killed during an addition loses nothing that was there
before. A query is compared with all images if there are at most EXACT of them. Beyond that, FAISS
answers from inverted lists, saved beside the file under a name that gives the last addition in
them; they can always be rebuilt.
"""

import json
import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from person_reid.errors import UserError
from person_reid.gallery.checks import check_count, check_filter, checked_features
from person_reid.gallery.contract import TRACK_RECORDS
from person_reid.gallery.forgotten_keys import hash_of_key, image_key, track_key
from person_reid.gallery.index_file import REINDEXED, IndexFile
from person_reid.gallery.inverted_lists import (
    InvertedLists,
    compared_again,
    damaged_lists,
    delete_lists,
    faiss_is_installed,
    held,
)
from person_reid.gallery.metadata import EVERYTHING, Filter, filters_of
from person_reid.gallery.metadata import Found as Found
from person_reid.gallery.sqlite_errors import BUSY, DAMAGED
from person_reid.gallery.track_crops import delete_crops
from person_reid.retrieval.neighbours import merged, nearest_of_chunks
from person_reid.retrieval.similarity import CosineScores, Features, PreparedGallery

if TYPE_CHECKING:
    from person_reid.deploy.embedder import Embedder

log = logging.getLogger(__name__)
EXACT = 100_000  # the most images that a search compares exhaustively
LONGEST_WAIT = 600  # seconds that forgetting waits for a search which reads the old state
CHECKPOINT_WAIT = 50  # milliseconds of each of them in which others cannot write
FORGOTTEN_AT_ONCE = 5000  # images of one filter; SQLite limits the number of question marks
MOST_ADMITTED = 1000  # the most images that a filter may admit for an exact search among them


# Whether another index lacks an image, or has it of another state of the file.
LACKED = (
    "SELECT 1 FROM main.images AS own LEFT JOIN other.images AS new "
    "ON new.path = own.path AND new.state = own.state WHERE new.id IS NULL LIMIT 1"
)
TAKE = (
    "UPDATE images SET feature = new.feature FROM other.images AS new "
    "WHERE new.path = images.path AND new.feature != images.feature"
)


class SearchIndex(IndexFile):
    """A gallery on disk that can grow; open it once in each thread.

    It is an index file and its inverted lists. codes: see IndexFile.
    network: the Embedder of its features. The index remembers it, so that the commands can search;
    UserError says if the index is of another network.
    """

    def __init__(
        self, path: str | Path, codes: str | None = None, network: "Embedder | None" = None
    ) -> None:
        super().__init__(path, codes)
        self._lists: InvertedLists | None = None
        if network is not None:
            from person_reid.gallery.indexed_network import check_same_embedder  # imports this one

            with self._closed_by_errors():
                check_same_embedder(self, network)

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images so that no file holds their paths or features any more.

        Returns how many there were. Images that were cut from the frames of tracks, into the folder
        beside the index, are deleted as well.

        keep_crops: leave these where they are.
        asked: words for the table `forgotten`, which records that and when images were forgotten,
        but not which.
        """
        check_filter(which)
        asked = str(asked)
        self._forget_next(which, asked)
        self._rows("PRAGMA secure_delete = ON")  # even if the file is never rewritten
        with self._transaction():
            condition, values = self._condition(which)
            delete_lists(self)
            rows = self._identified(condition, values)
            if not keep_crops:
                delete_crops(
                    ((self._folder.path(path), source) for path, _, source, _ in rows if source),
                    self.path,
                )
            number = self.database.execute(f"DELETE FROM images WHERE {condition}", values).rowcount
            self._bar(rows)
            self._rows("DELETE FROM additions")  # no lists from before fit any more
            self._mark()
            self._rows(
                "INSERT INTO forgotten VALUES (datetime('now', 'localtime'), ?, ?)", (asked, number)
            )
        try:
            self._rewrite()
        finally:
            self._empty_log()
        delete_lists(self)  # from a search in the meantime
        self._lists = None
        return number

    def _forget_next(self, which: Filter, asked: str) -> None:
        """Forget the images in the file where features of another network are gathered."""
        if not next_file(self.path).exists():
            return
        with closing(SearchIndex(next_file(self.path))) as following:
            paths = [path for images in self.images(which) for path, _ in images]
            for some in filters_of(paths, FORGOTTEN_AT_ONCE):
                following.forget(some, asked, keep_crops=True)

    def _bar(self, rows: list[tuple[bytes, str, str, str]]) -> None:
        """Record hashes of images that were deleted, and of tracks of which none is left.

        The records of track files without images are deleted. rows: see _identified.
        """
        keys = [image_key(path, state) for path, state, *_ in rows]
        for source, track in {(source, track) for *_, source, track in rows if source and track}:
            same = "SELECT 1 FROM images WHERE source = ? AND track = ? LIMIT 1"
            if not self._rows(same, (source, track)):
                keys.append(track_key(source, track))
        self.database.executemany(
            "INSERT OR IGNORE INTO barred VALUES (?)", ((self._hash(key),) for key in keys)
        )
        there = {source for (source,) in self._rows("SELECT DISTINCT source FROM images")}
        self.database.executemany(
            "DELETE FROM notes WHERE kind = ? AND name = ?",
            ((TRACK_RECORDS, source) for *_, source, _ in rows if source not in there),
        )

    def take_features(self, other: "SearchIndex", notes: Sequence[str]) -> bool:
        """Replace all features by those that another index holds of the same files.

        notes: the keys of what is remembered of its network, which replace one's own. Who has this
        index open is told so. Returns False, and changes nothing, if an image is not there.
        """
        token = secrets.token_hex(8)
        self._rows("ATTACH ? AS other", (str(other.path),))
        try:
            with self._transaction():
                if self._rows(LACKED):
                    return False
                self._rows(TAKE)
                for key in notes:
                    self._rows("DELETE FROM about WHERE key = ?", (key,))
                    same = "INSERT INTO about SELECT key, value FROM other.about WHERE key = ?"
                    self._rows(same, (key,))
                self._rows("DELETE FROM additions")  # no lists from before fit any more
                self._mark()
                row = REINDEXED, json.dumps(token)
                self._rows("INSERT OR REPLACE INTO about VALUES (?, ?)", row)
        finally:
            self._rows("DETACH other")
        self._features_token = token
        delete_lists(self)
        self._lists = None
        return True

    def forgotten(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of some keys, see forgotten.py, of which something was forgotten."""
        hashes = {self._hash(key): key for key in keys}
        found = self._where("hash", list(hashes), "hash", "barred")
        return {hashes[each] for each, _ in found}

    def allow(self, keys: Sequence[bytes]) -> None:
        """Let what was forgotten come back."""
        with self._transaction():
            self.database.executemany(
                "DELETE FROM barred WHERE hash = ?", ((self._hash(key),) for key in keys)
            )

    def _hash(self, key: bytes) -> bytes:
        return hash_of_key(key, self.token)

    def _identified(self, condition: str, values: list[Any]) -> list[tuple[bytes, str, str, str]]:
        """Return path, state, source and track, "" if unknown, of images; not of damaged rows."""
        columns = "path, state, coalesce(source, ''), coalesce(track, '')"
        rows = self._rows(f"SELECT {columns} FROM images WHERE {condition}", values)
        kinds = (bytes, str, str, str)
        return [row for row in rows if all(map(isinstance, row, kinds))]

    def _rewrite(self) -> None:
        """Write the file anew, without what was replaced before and its system has kept.

        It needs as much room as the file; a remark says if that is not there.
        """
        try:
            self._rows("VACUUM")
        except UserError as error:
            if DAMAGED in str(error):
                raise
            log.warning(
                "%s The images are forgotten and overwritten; the file is not smaller yet, and may "
                "hold features of images that were replaced before. forget again rewrites it.",
                error,
            )

    def _empty_log(self) -> None:
        """Bring what was written into the file, and empty the log, which holds what was there.

        A search that began before still reads it: this waits for it, and reports it. While SQLite
        itself waits, nobody can write, so it waits for a moment only, and then others have a turn.
        """
        self._rows(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT}")
        for waited in range(LONGEST_WAIT):
            time.sleep(1 if waited else 0)
            busy = self._rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
            if not busy:
                break
            if not waited:
                log.warning(
                    "%s: forgotten; waiting for another process that still reads what was there "
                    "before, such as a search.",
                    self.path,
                )
        else:
            log.warning(
                "%s: another process still reads what was there before, and keeps it in the files "
                "of the index. It goes when that process ends; forget again makes sure of it.",
                self.path,
            )
        self._rows(f"PRAGMA busy_timeout = {1000 * BUSY}")

    def search(
        self, queries: npt.NDArray[Any], k: int, exact: bool = False, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return at most k Found for each of the queries (Q, D), the most similar image first.

        exact: compare with all images, however many there are. among: search only these. Raises
        UserError if k is not positive, and for queries that the index cannot compare with its
        features.
        """
        check_count(k)
        check_filter(among)
        queries = checked_features(queries, self.width(), self.path)
        k = min(k, max(1, len(self)))
        exact = exact or not faiss_is_installed() or not self._is_large()
        lists = None if exact else self.lists()
        with self._transaction("DEFERRED"):  # others may add, replace and forget at any moment
            self._check_features()
            # a token from before images were forgotten is not known: all that is left is compared
            if lists and self.knows(lists.token) and not self._admits_few(among):
                similarities, ids = self._nearest(lists, queries, k, among)
            else:
                similarities, ids = nearest_of_chunks(queries, self.compared(among), k)
            found = np.unique(ids[np.isfinite(similarities)]).tolist()  # others were replaced
            images = self._images(found)
        if lost := {*found} - images.keys():
            raise self._damaged(f"image {min(lost)} was compared, and has no row")
        return [
            [
                Found(images[i][0], similarity, images[i][1])
                for i, similarity in zip(numbers, row, strict=True)
                if isfinite(similarity)
            ]
            for numbers, row in zip(ids.tolist(), similarities.tolist(), strict=True)
        ]

    def _nearest(
        self, lists: InvertedLists, queries: Features, k: int, among: Filter
    ) -> tuple[Features, npt.NDArray[np.int64]]:
        """Return similarities and ids, both (Q, k) or fewer, nearest first.

        They are of the images in the lists and of those added since. An id may be -1, or belong to
        a replaced image. Raises UserError if the lists are damaged.
        """
        replaced = lists.replaced(self)
        if replaced < 0:
            raise damaged_lists(self, f"{-replaced} images are missing")
        allowed = self.allowed(among) if among != EVERYTHING else None
        candidates = held(self).candidates(k) + replaced
        found = lists.search(queries, k, candidates, allowed)
        newer = nearest_of_chunks(queries, self.compared(among, lists.last), k)
        return merged(compared_again(self, queries, found), newer, k)

    def compared(
        self, which: Filter, after: int = 0
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features | PreparedGallery]]:
        """Yield (ids (n,), features (n, D)) of the images with ids above `after`.

        An exact search compares them; few of them stay in memory, prepared.
        """
        if self.count_after(after) <= EXACT:
            for ids, gallery in self._kept(self._every, after):
                if which == EVERYTHING:
                    yield ids, gallery
                elif (inside := self._admitted(which, ids)).any():
                    yield ids[inside], gallery.factor[inside]
        elif self._admits_few(which):
            yield from self._kept(self._few, after, which)
        else:
            yield from self.chunks(after, which)

    def _every(self, after: int) -> list[tuple[npt.NDArray[np.int64], PreparedGallery]]:
        """Return the images with ids above `after`, and their features."""
        return prepared(self.chunks(after))

    def _few(
        self, after: int, which: Filter
    ) -> list[tuple[npt.NDArray[np.int64], PreparedGallery]]:
        """Return those of them that a filter admits, and their features."""
        return prepared(self.chunks(after, which))

    def _admitted(self, which: Filter, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether a filter admits each of the images ids (n,)."""
        bits, _ = self.allowed(which)
        inside = ids < 8 * len(bits)
        known = ids[inside]
        inside[inside] = bits[known >> 3] >> (known & 7) & 1
        return inside

    def _admits_few(self, which: Filter) -> bool:
        return which != EVERYTHING and self.allowed(which)[1] <= MOST_ADMITTED

    def prepare(self) -> None:
        """Bring the inverted lists up to date if there are enough images.

        Otherwise the next search would do it.
        """
        if self._is_large() and faiss_is_installed():
            self.lists()

    def _is_large(self) -> bool:
        """Return whether there are more than EXACT images."""
        return len(self) > EXACT

    def lists(self) -> InvertedLists:
        """Return the InvertedLists, up to date."""
        lists = self._lists
        if lists is None or not self.knows(lists.token) or lists.is_behind(self):
            lists = self._lists = InvertedLists(self)
        return lists


def prepared(
    chunks: Iterable[tuple[npt.NDArray[np.int64], Features]],
) -> list[tuple[npt.NDArray[np.int64], PreparedGallery]]:
    """Return chunks of ids and features, ready for one search after another."""
    return [(ids, CosineScores.prepared(features)) for ids, features in chunks]


def next_file(index: str | Path) -> Path:
    """Return the file beside an index in which features of another network are gathered."""
    return Path(f"{index}.next")
