"""The saved search index: a crash-safe file with each image's path, feature and facts.

    index = SearchIndex("people.index")
    index.add(paths, features)                        # one transaction: all of them or none
    matches = index.search(queries, k=10)             # a list of Found for every query

The file is an SQLite database, so a process killed during an addition loses no earlier image. A
query is compared with all images if there are at most MOST_COMPARED of them. Beyond that, FAISS
searches inverted lists, which can always be rebuilt. Their file, beside the index, is named after
the last addition in them.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from person_reid.gallery import forgetting
from person_reid.gallery.checks import check_count, checked_features
from person_reid.gallery.feature_blocks import Block, FeatureBlocks, blocks_of
from person_reid.gallery.image_table import REINDEXED, ImageTable
from person_reid.gallery.inverted_lists import (
    MOST_REPLACED,
    InvertedLists,
    codec_of,
    damaged_lists,
    delete_lists,
    faiss_is_installed,
    rescored,
    tokens_of_files,
)
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.gallery.metadata import Found as Found
from person_reid.retrieval.neighbours import merged, nearest_of_chunks
from person_reid.retrieval.similarity import CosineScores, Features, PreparedGallery

if TYPE_CHECKING:
    from person_reid.deploy.embedder import Embedder

MOST_COMPARED = 100_000  # the most images that a search compares exhaustively
MOST_ADMITTED = 1000  # if a filter admits at most this many images, the search is exact

# Whether another index lacks an image, or has it from a different state of its file.
LACKED = (
    "SELECT 1 FROM main.images AS own LEFT JOIN other.images AS new "
    "ON new.path = own.path AND new.state = own.state WHERE new.id IS NULL LIMIT 1"
)
TAKE = (
    "UPDATE images SET feature = new.feature FROM other.images AS new "
    "WHERE new.path = images.path AND new.feature != images.feature"
)


class SearchIndex:
    """A gallery on disk that can grow; open it once in each thread.

    store: the ImageTable, which holds the images and the database. codes: see ImageTable.
    network: the Embedder that computes the features; the index remembers it for the commands.
    Raises UserError if the features come from another network.
    """

    def __init__(
        self, path: str | Path, codes: str | None = None, network: "Embedder | None" = None
    ) -> None:
        self.store = ImageTable(path, codes)
        self.path = self.file = self.store.path
        self.new = self.store.db.new
        # If set, searches do not wait for `prepare`, but call this to have another thread call it.
        # It returns whether that thread is at work already.
        self.prepare_later: Callable[[], bool] | None = None
        self._lists: InvertedLists | None = None
        self._blocks: FeatureBlocks | None = None
        if network is not None:
            from person_reid.gallery.indexed_network import check_same_embedder  # cyclic import

            with self.store.db.closed_by_errors():
                check_same_embedder(self, network)

    def __len__(self) -> int:
        return len(self.store)

    def width(self) -> int | None:
        """Return the dimension of the features in the index, if known."""
        return self.store.width()

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add N images with features (N, D), normalised to unit length.

        An image replaces an earlier one with the same path. Everything is on disk when this
        returns.

        abouts: facts about some images. Other images keep their facts, but lose identity and track
        if the file now shows another picture. states: the files' states before they were read; see
        state_of; by default, the present states. Raises UserError for features that are not finite
        or are all zero, if their dimension differs from the index's, or if the numbers of features
        and paths differ.
        """
        self.store.add(paths, features, abouts, states)

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record facts about images; None keeps the old value.

        Returns how many of the images are in the index.
        """
        return self.store.describe(abouts)

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the index lacks or whose files have changed since being added."""
        return self.store.missing(paths)

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield chunks of n images as (path, facts), with their features (n, D)."""
        return self.store.entries(which)

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[tuple[Path, About]]]:
        """Yield the images as (path, facts), in chunks, without reading features."""
        return self.store.images(which)

    def listed(
        self, which: Filter = EVERYTHING, after: str = ""
    ) -> Iterator[tuple[str, tuple[Path, About]]]:
        """Yield the images in order of addition, each with a key; see ReadGallery.listed."""
        return self.store.listed(which, int(after or 0))

    def abouts(self, paths: Sequence[Path]) -> dict[Path, About]:
        """Return {path: facts} for the given paths that the index holds, reading no others."""
        return self.store.abouts(paths)

    def values(self, name: str) -> list[str]:
        """Return the distinct values of the column `name`, in alphabetical order."""
        return self.store.values(name)

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values, as JSON, under keys that the index does not hold yet.

        Returns {key: the value that the index now holds}.
        """
        return self.store.remember(values)

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        return self.store.recall(key)

    def note(self, kind: str, notes: Mapping[str, Any]) -> None:
        """Store notes {name: JSON}; each replaces an earlier note of the same kind and name."""
        self.store.note(kind, notes)

    def notes(self, kind: str) -> dict[str, Any]:
        """Return the notes of one kind, oldest first."""
        return self.store.notes(kind)

    def forget(self, which: Filter, asked: str, keep_crops: bool = False) -> int:
        """Delete images so that no file contains their paths or features.

        Returns how many there were. Image files that were cut from the frames of tracks, into the
        folder beside the index, are also deleted.

        keep_crops: keep these files. asked: the reason, for the table `forgotten`, which records
        when images were forgotten, but not which images.
        """
        self.drop_lists()
        return forgetting.forget(self.store, which, asked, keep_crops)

    def forget_at_once(self, which: Filter, asked: str) -> int:
        """Delete images without waiting for readers of the old state to finish; see `settled`."""
        self.drop_lists()
        return forgetting.forget(self.store, which, asked, wait=False)

    def drop_lists(self) -> None:
        """Release the inverted lists: a deleted file stays on the disk while it is open."""
        self._lists = None

    def settled(self) -> bool:
        """Return whether forgotten data is gone from every file: False while a search reads it."""
        return forgetting.settled(self.store.db)

    def forgotten(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the `keys` (see forgetting.py) that belong to forgotten images or tracks."""
        return forgetting.forgotten(self.store, keys)

    def allow(self, keys: Sequence[bytes]) -> None:
        """Allow forgotten images to be added again."""
        forgetting.allow(self.store, keys)

    def close(self) -> None:
        """Release the file."""
        self._blocks = self._lists = None
        self.store.db.close()

    def remove(self) -> None:
        """Delete the file; processes that have it open can still read it."""
        self.store.db.remove()

    @property
    def owner(self) -> str:
        """The name of the file, whose copies share the folder beside it."""
        return self.path.name

    def interrupt(self) -> None:
        """Do nothing: a call waits for other processes only for BUSY seconds."""

    def take_features(self, other: "SearchIndex", notes: Sequence[str]) -> bool:
        """Replace all features with the features of the same files in another index.

        notes: keys of the facts about the other index's network, which are also copied. Processes
        that have this index open get an error. Returns False, and changes nothing, if the other
        index lacks an image.
        """
        db = self.store.db
        token = secrets.token_hex(8)
        db.rows("ATTACH ? AS other", (str(other.path),))
        try:
            with db.transaction():
                if db.rows(LACKED):
                    return False
                db.rows(TAKE)
                for key in notes:
                    db.rows("DELETE FROM about WHERE key = ?", (key,))
                    db.rows(
                        "INSERT INTO about SELECT key, value FROM other.about WHERE key = ?", (key,)
                    )
                db.rows("DELETE FROM additions")  # older lists no longer fit
                self.store.mark()
                row = REINDEXED, json.dumps(token)
                db.rows("INSERT OR REPLACE INTO about VALUES (?, ?)", row)
        finally:
            db.rows("DETACH other")
        self.store.features_token = token
        delete_lists(self.store)
        self._lists = None
        return True

    def search(
        self, queries: npt.NDArray[Any], k: int, exact: bool = False, among: Filter = EVERYTHING
    ) -> list[list[Found]]:
        """Return at most k Found for each of the queries (Q, D), nearest first.

        exact: compare with all images, regardless of their number. among: search only these images.
        Raises UserError if k is not positive, or if the index cannot compare the queries with its
        features.
        """
        check_count(k)
        queries = checked_features(queries, self.store.width(), self.path)
        count = len(self.store)
        k = min(k, max(1, count))
        exact = exact or count <= MOST_COMPARED or not faiss_is_installed()
        lists = None if exact else self.lists()
        # other processes may add, replace and forget images at any moment
        with self.store.db.transaction("DEFERRED"):
            self.store.check_features()
            # With tokens of another state of the file, all images are compared one by one.
            if lists and self.store.knows(lists.token) and not self._admits_few(among):
                similarities, ids = self._nearest(lists, queries, k, among)
            else:
                similarities, ids = nearest_of_chunks(queries, self.chunks_to_compare(among), k)
            found = np.unique(ids[np.isfinite(similarities)]).tolist()  # -inf: replaced images
            images = self.store.by_id(found)
        if lost := {*found} - images.keys():
            raise self.store.db.damaged(f"image {min(lost)} was compared, and has no row")
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
        """Return similarities and ids, both (Q, k) or with fewer columns, nearest first.

        They cover the images in the lists and the images added since. An id may be -1, or belong to
        a replaced image. Raises UserError if the lists are damaged.
        """
        replaced = lists.replaced(self.store)
        if replaced < 0:
            raise damaged_lists(self.store, f"{-replaced} images are missing")
        every = among == EVERYTHING and replaced <= MOST_REPLACED
        candidates = codec_of(self.store).candidates(k) + (replaced if every else 0)
        allowed = None if every else self.store.allowed(among)
        found = lists.search(queries, k, candidates, allowed)
        newer = nearest_of_chunks(queries, self.chunks_to_compare(among, lists.last), k)
        return merged(rescored(self.store, queries, found), newer, k)

    def chunks_to_compare(
        self, which: Filter, after: int = 0
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features | PreparedGallery]]:
        """Yield (ids (n,), features (n, D)) of the images with ids above `after`.

        An exact search compares these images. If there are few, they stay in memory, prepared for
        the search.
        """
        if self.store.count_after(after) <= MOST_COMPARED:
            for ids, gallery in self.store.db.kept(self._every, after):
                if which == EVERYTHING:
                    yield ids, gallery
                elif (inside := self._admitted(which, ids)).any():
                    yield ids[inside], gallery.factor[inside]
        elif self._admits_few(which):
            yield from self.store.db.kept(self._few, after, which)
        else:
            yield from self.store.chunks(after, which)

    def _every(self, after: int) -> list[Block]:
        """Return the images with ids above `after`, and their features."""
        self._blocks = blocks_of(self.store, after)  # kept until `after` changes
        return self._blocks.now(self.store)

    def _few(self, after: int, which: Filter) -> list[Block]:
        """Return the images with ids above `after` that a filter admits, and their features."""
        chunks = self.store.chunks(after, which)
        return [(ids, CosineScores.prepared(features)) for ids, features in chunks]

    def _admitted(self, which: Filter, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of the images with these ids (n,) a filter admits, as booleans (n,)."""
        bits, _ = self.store.allowed(which)
        inside = ids < 8 * len(bits)
        known = ids[inside]
        inside[inside] = bits[known >> 3] >> (known & 7) & 1
        return inside

    def _admits_few(self, which: Filter) -> bool:
        return which != EVERYTHING and self.store.allowed(which)[1] <= MOST_ADMITTED

    def prepare(self) -> None:
        """Bring the inverted lists up to date if there are enough images to need them.

        Without this call, the next search updates them.
        """
        if not self._fit(self._lists):
            self.drop_lists()
            if len(self.store) > MOST_COMPARED and faiss_is_installed():
                self._lists = InvertedLists(self.store)

    def lists(self) -> InvertedLists | None:
        """Return up-to-date InvertedLists, or the newest ones while another thread updates them.

        Those may hold images that have been forgotten since, which no search returns. Returns None
        if there are none yet.
        """
        if not self._fit(self._lists) and not self._are_newest(self._lists):
            lists = InvertedLists(self.store, renew=not self.prepare_later)
            if lists.index is not None:
                self._lists = lists
            elif self._lists and not self.store.knows(self._lists.token):
                self._lists = None
        if self.prepare_later and not self._fit(self._lists):
            self.prepare_later()
        return self._lists

    def _are_newest(self, lists: InvertedLists | None) -> bool:
        """Return whether a search keeps outdated lists because there are no newer lists yet."""
        if lists is None or self.prepare_later is None:
            return False
        return self.prepare_later() or lists.token in tokens_of_files(self.store)

    def _fit(self, lists: InvertedLists | None) -> bool:
        """Return whether lists belong to this state of the index and are not outdated."""
        if lists is None or not self.store.reached(lists.token):
            return False
        return not lists.is_behind(self.store)
