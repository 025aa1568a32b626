"""The images in the file of an index, with their features and facts."""

import json
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.arrays import flaw
from person_reid.config.search import CODE_NAMES
from person_reid.errors import StoreError, UserError
from person_reid.gallery.checks import (
    are_different,
    checked_features,
    checked_paths,
    known_of,
    log_stripped,
    state_of,
)
from person_reid.gallery.database import COLUMNS, Database
from person_reid.gallery.index_folder import IndexFolder, relocated
from person_reid.gallery.metadata import (
    EVERYTHING,
    FACT_NAMES,
    UNKNOWN_ABOUT,
    About,
    Filter,
    fact_name,
    merged_about,
)
from person_reid.retrieval.similarity import Features, Floats
from person_reid.text import parse_json

log = logging.getLogger(__name__)
REINDEXED = "reindexed"  # the key of a token that changes when the features are replaced
PAIRS = 5000  # pairs of a query and an image that are compared at once
FEATURE_ROUNDING = 1e-3  # tolerated error of a cosine or of a feature's length
LARGEST_ID = 2**63 - 1
FIRST_ROWS = 200  # rows read first from a list of images, as a caller may want only a page
LARGEST_MAP = 2**36  # ids whose bit map fits into memory; no index has so many
TOKEN = re.compile("[0-9a-f]{8,16}")
ROW_FACTS = f"path, state, {COLUMNS}, more"  # all columns of a row except id and feature


def next_file(index: str | Path) -> Path:
    """Return the file beside an index that collects features from another network."""
    return Path(f"{index}.next")


class ImageTable:
    """The images in the file of an index, which is created if it does not exist.

    codes: how a new index stores features: one of CODE_NAMES, by default the first. The inverted
    lists hold these codes; the file holds float32 for "float32", and float16 otherwise. The codes
    of an index never change.

    Every method raises UserError if the file is damaged or not an index, if the disk is full, or if
    another process keeps writing to it for BUSY seconds.
    """

    def __init__(self, path: str | Path, codes: str | None = None) -> None:
        if codes not in (None, *CODE_NAMES) and not Path(path).exists():
            raise UserError(f"{path}: codes {codes!r}: expected one of {', '.join(CODE_NAMES)}.")
        self.db = Database(path)
        self.path = self.db.path
        self.folder = IndexFolder(self.db.place)
        with self.db.closed_by_errors():
            self._read_settings(codes)
        self.features_token = self.recall(REINDEXED)
        self._stored = np.dtype("<f4" if self.codes == "float32" else "<f2")

    def _read_settings(self, codes: str | None) -> None:
        """Read the token and the codes of the index; create them for a new index."""
        if self.recall("token") is None and not len(self):
            self.remember({"token": secrets.token_hex(4), "codes": codes or CODE_NAMES[0]})
        self.token: str = self._named(self.remember({"token": secrets.token_hex(4)})["token"])
        self.codes: str = self.recall("codes")
        if self.codes not in CODE_NAMES:
            raise self.db.damaged(f"it holds codes of an unknown kind, {self.codes!r}")
        if codes not in (None, self.codes):
            raise UserError(
                f"{self.path}: its codes are {self.codes}, not {codes}: leave codes out, or "
                "take another index."
            )

    def __len__(self) -> int:
        return self.count_after(0)

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values, as JSON, under keys that the index does not hold yet.

        Returns {key: the value that the index now holds}.

        If several processes do this at the same time, one of them stores all its values, and the
        others get these values.
        """
        known = {key: self.recall(key) for key in values}
        if None in known.values():
            with self.db.transaction():
                for key, value in values.items():
                    row = key, self._text(value)
                    self.db.rows("INSERT OR IGNORE INTO about VALUES (?, ?)", row)
            known = {key: self.recall(key) for key in values}
        return known

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        for (text,) in self.db.rows("SELECT value FROM about WHERE key = ?", (key,)):
            return self._parsed(text, key)
        return None

    def _parsed(self, text: Any, name: str) -> Any:
        """Return a JSON value from the file, with its paths as they are on this machine."""
        try:
            return self.folder.value(parse_json(text))
        except (ValueError, TypeError):
            raise self.db.damaged(f"no JSON under {name!r}") from None

    def note(self, kind: str, notes: Mapping[str, Any]) -> None:
        """Store notes {name: JSON}; each replaces an earlier note of the same kind and name."""
        command = "INSERT OR REPLACE INTO notes (kind, name, value) VALUES (?, ?, ?)"
        with self.db.transaction():
            self.db.connection.executemany(
                command, ((kind, name, self._text(value)) for name, value in notes.items())
            )

    def notes(self, kind: str) -> dict[str, Any]:
        """Return the notes of one kind, oldest first."""
        rows = self.db.rows("SELECT name, value FROM notes WHERE kind = ? ORDER BY number", (kind,))
        return {name: self._parsed(text, name) for name, text in rows}

    def _text(self, value: Any) -> str:
        return json.dumps(self.folder.stored_value(value))

    def check_features(self) -> None:
        """Raise StoreError if the index was reindexed with another network after it was opened."""
        if self.recall(REINDEXED) != self.features_token:
            raise StoreError(
                f"{self.path}: reindexed with another network since it was opened. Run this again."
            )

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the index lacks or whose files have changed since being added."""
        paths = checked_paths(paths, self.path)
        keys = [*map(self.folder.stored, paths)]
        states = dict(self.where("path", keys, "state"))
        return [
            path for path, key in zip(paths, keys, strict=True) if states.get(key) != state_of(path)
        ]

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add or replace N images; see SearchIndex.add."""
        paths = checked_paths(paths, f"{self.path}: not added")
        features = checked_features(features, self.width(), self.path, paths).astype(self._stored)
        known = known_of(abouts or {}, paths)
        states = list(states or map(state_of, paths))
        stripped = 0
        rows: dict[bytes, tuple[Any, ...]] = {}
        with self.db.transaction():
            self.check_features()
            keys = [*map(self.folder.stored, paths)]
            before = self._before(keys)
            for key, state, row, new in zip(keys, states, features, known, strict=True):
                feature = row.tobytes()
                old, old_feature = before.get(key, (UNKNOWN_ABOUT, b""))
                named = old.identity or old.track
                if named and are_different(self._features([old_feature, feature])):
                    old, stripped = old._replace(identity=None, track=None), stripped + 1
                about = merged_about(old, new)
                before[key] = about, feature
                rows[key] = (key, state, *_texts(about), feature)
            marks = ", ".join("?" * (len(FACT_NAMES) + 4))
            self.db.connection.executemany(
                f"INSERT OR REPLACE INTO images ({ROW_FACTS}, feature) VALUES ({marks})",
                rows.values(),
            )
            self.mark()
        log_stripped(self.path, stripped)

    def _before(self, keys: list[bytes]) -> dict[bytes, tuple[About, bytes]]:
        """Return {path: (facts, stored feature)} for the given paths that are in the index."""
        rows = self.where("path", keys, f"id, {ROW_FACTS}, feature")
        known = self._known([row[1:-1] for row in rows])
        return {row[0]: (known[row[1]][1], row[-1]) for row in rows}

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record facts about images; None keeps the old value.

        Returns how many of the images are in the index.
        """
        known_facts = known_of(abouts, abouts)
        paths = checked_paths([*abouts], self.path)
        new = dict(zip(map(self.folder.stored, paths), known_facts, strict=True))
        changes = ", ".join(f"{name} = ?" for name in (*FACT_NAMES, "more"))
        with self.db.transaction():
            rows = self.where("path", [*new], f"id, {ROW_FACTS}")
            known = self._known([row[1:] for row in rows])
            changed = []
            for key, number, *_ in rows:
                old = known[number][1]
                if (about := merged_about(old, new[key])) != old:
                    changed.append((*_texts(about), number))
            self.db.connection.executemany(f"UPDATE images SET {changes} WHERE id = ?", changed)
        return len(rows)

    def chunks(
        self, after: int = 0, which: Filter = EVERYTHING, until: int = LARGEST_ID
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield (ids (n,), features (n, D)) of the images with ids above `after`, up to `until`."""
        self.check_features()
        condition, values = self.condition(which)
        condition += " AND id > ? AND id <= ?"
        command = f"SELECT id, feature FROM images WHERE {condition} ORDER BY id"
        for rows in self.db.read(command, (*values, after, until)):
            yield np.array([number for number, *_ in rows], np.int64), self._matrix(rows)

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield chunks of n images as (path, facts), with their features (n, D)."""
        self.check_features()
        condition, values = self.condition(which)
        command = f"SELECT id, feature, {ROW_FACTS} FROM images WHERE {condition} ORDER BY id"
        for rows in self.db.read(command, values):
            images = self._known([(number, *facts) for number, _, *facts in rows])
            yield [*images.values()], self._matrix([row[:2] for row in rows])

    def listed(
        self, which: Filter = EVERYTHING, after: int = 0
    ) -> Iterator[tuple[str, tuple[Path, About]]]:
        """Yield (id, image) for the images whose ids are above `after`."""
        condition, values = self.condition(which)
        command = f"SELECT id, {ROW_FACTS} FROM images WHERE {condition} AND id > ? ORDER BY id"
        for rows in self.db.read(command, (*values, after), FIRST_ROWS):
            yield from ((str(number), image) for number, image in self._known(rows).items())

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[tuple[Path, About]]]:
        """Yield the images in chunks; see SearchIndex.images."""
        condition, values = self.condition(which)
        command = f"SELECT id, {ROW_FACTS} FROM images WHERE {condition} ORDER BY id"
        read = 0
        for rows in self.db.read(command, values, FIRST_ROWS):
            read += len(rows)
            yield [*self._known(rows).values()]
        if which == EVERYTHING and read != len(self):  # another process adds, perhaps
            ways = "(SELECT count(*) FROM images INDEXED BY by_about)", "count(*)"
            ((listed, found),) = self.db.rows(f"SELECT {', '.join(ways)} FROM images NOT INDEXED")
            if listed != found:
                raise self.db.damaged(f"{listed} images are listed, and {found} found")

    def abouts(self, paths: Sequence[Path]) -> dict[Path, About]:
        """Return {path: facts} for the given paths that the index holds, reading no others."""
        rows = self.where("path", [*map(self.folder.stored, paths)], f"id, {ROW_FACTS}")
        return dict(self._known([row[1:] for row in rows]).values())

    def values(self, name: str) -> list[str]:
        """Return the distinct values of the column `name`, in alphabetical order."""
        command = f"SELECT DISTINCT {fact_name(name)} FROM images ORDER BY 1"
        return [str(value) for (value,) in self.db.rows(command) if value]

    def relocate(self, old: Path, new: Path) -> int:
        """Change paths below `old`, in images and remembered values, to paths below `new`.

        Returns how many images moved. An image that is already at the new path is replaced.
        """

        def path_now(stored: bytes) -> bytes:
            return self.folder.stored(relocated(self.folder.path(stored), old, new))

        def value_now(text: str) -> str:
            return self._text(relocated(self.folder.value(parse_json(text)), old, new))

        self.db.connection.create_function("path_now", 1, path_now)
        self.db.connection.create_function("value_now", 1, value_now)
        with self.db.transaction():
            for table in ("about", "notes"):
                self.db.rows(f"UPDATE {table} SET value = value_now(value)")
            moved = (
                "UPDATE OR REPLACE images SET path = path_now(path) WHERE path_now(path) != path"
            )
            return self.db.connection.execute(moved).rowcount

    def sample(self, count: int, after: int = 0) -> Features:
        """Return at most `count` features (n, D), spread evenly over the ids above `after`.

        Raises UserError if there are no such images.
        """
        ids = np.sort(self.ids(EVERYTHING))
        ids = ids[ids > after]
        places = np.linspace(0, max(len(ids) - 1, 0), min(count, len(ids))).astype(int)
        found = self.where("id", ids[places].tolist(), "feature")
        if not found:
            raise UserError(f"{self.path}: no images in it any more. Add some, and run this again.")
        return self._matrix(found)

    def cosines(self, queries: Features, ids: npt.NDArray[np.int64]) -> Floats:
        """Return the cosines (Q, k) between queries (Q, D) and the images with these ids (Q, k).

        A cosine is NaN where no image has the id.
        """
        found = np.full(ids.shape, np.nan, np.float32)
        step = max(1, PAIRS // max(ids.shape[1], 1))
        for start in range(0, len(ids), step):
            some = ids[start : start + step]
            if rows := sorted(self.where("id", np.unique(some).tolist(), "feature")):
                held = np.array([number for number, *_ in rows], np.int64)
                places = np.minimum(np.searchsorted(held, some), len(held) - 1)
                cosines = queries[start : start + step] @ self._matrix(rows).T
                cosines = np.take_along_axis(cosines, places, axis=1)
                found[start : start + step] = np.where(held[places] == some, cosines, np.nan)
        return found

    def count_after(self, number: int) -> int:
        """Return how many images have an id above `number`."""
        return self.db.kept(self._count_after, number)

    def _count_after(self, number: int) -> int:
        where = f"WHERE id > {number:d}" if number else ""  # without it, SQLite counts by its index
        return int(self.db.rows(f"SELECT count(*) FROM images {where}")[0][0])

    def last_id(self) -> int:
        """Return the largest id, or 0 if there are no images."""
        return int(self.db.rows("SELECT coalesce(max(id), 0) FROM images")[0][0])

    def latest(self) -> tuple[str, int]:
        """Return (token, last id) of the latest addition, or ("", 0) if there was none."""
        rows = self.db.rows("SELECT token, last FROM additions ORDER BY last DESC LIMIT 1")
        return (self._named(rows[0][0]), rows[0][1]) if rows else ("", 0)

    def reached(self, token: str) -> int:
        """Return the last id of the addition with this token, or 0 if this file lacks it.

        It is also 0 if images have been forgotten since: lists with this token still hold them.
        """
        rows = self.db.rows("SELECT last FROM additions WHERE token = ?", (token,))
        return max(0, int(rows[0][0])) if rows else 0

    def knows(self, token: str) -> bool:
        """Return whether lists with this token hold all images of this file up to their last id.

        They may hold further images, which were replaced or forgotten.
        """
        return self.db.kept(self._knows, token)

    def _knows(self, token: str) -> bool:
        return bool(self.db.rows("SELECT 1 FROM additions WHERE token = ?", (token,)))

    def outdate(self, tokens: Sequence[str]) -> None:
        """Record that lists with these tokens are outdated, and drop all other tokens.

        With no tokens, those recorded by an earlier call are kept.
        """
        if tokens:
            self.db.rows("DELETE FROM additions WHERE last < 0")
        marks = ", ".join("?" * len(tokens))
        self.db.rows(f"DELETE FROM additions WHERE last >= 0 AND token NOT IN ({marks})", tokens)
        self.db.rows("UPDATE additions SET last = -last WHERE last > 0")

    def mark(self) -> None:
        """Record a token for the changes in this transaction."""
        command = "INSERT OR IGNORE INTO additions SELECT coalesce(max(id), 0), ? FROM images"
        self.db.rows(command, (secrets.token_hex(8),))

    def by_id(self, ids: Sequence[int]) -> dict[int, tuple[Path, About]]:
        """Return {id: (path, facts)} for the given ids of images that still exist."""
        return self._known(self.where("id", ids, ROW_FACTS))

    def _known(self, rows: Sequence[Any]) -> dict[int, tuple[Path, About]]:
        """Return {id: (path, facts)} from rows (id, *ROW_FACTS), after checking them."""
        found = {}
        for number, path, state, *facts in rows:
            texts = all(isinstance(each, str | None) for each in (state, *facts))
            if not (isinstance(path, bytes) and texts):
                raise self.db.damaged(f"it says {(path, *facts)!r:.100} of an image")
            found[number] = self.folder.path(path), self._about(facts)
        return found

    def _about(self, facts: Sequence[str | None]) -> About:
        """Return the facts in the columns of a row."""
        *facts, more = facts
        if more is None:
            return About(*facts)
        with suppress(ValueError):
            if isinstance(own := parse_json(more), dict) and all(
                isinstance(each, str) for each in own.values()
            ):
                return About(*facts)._replace(more=own)
        raise self.db.damaged(f"it says {more!r:.100} of an image")

    def where(
        self, key: str, values: Sequence[Any], columns: str, table: str = "images"
    ) -> list[Any]:
        """Return the rows (key, *columns) of a table whose column `key` has one of `values`."""
        rows = []
        for start in range(0, len(values), 500):  # SQLite limits the parameters of a command
            some = values[start : start + 500]
            marks = ",".join("?" * len(some))
            command = f"SELECT {key}, {columns} FROM {table} WHERE {key} IN ({marks})"
            rows += self.db.rows(command, some)
        return rows

    def allowed(self, which: Filter) -> tuple[npt.NDArray[np.uint8], int]:
        """Return one bit per id, lowest id first, set for admitted images, and how many are set.

        The bits are cached until the file changes.
        """
        return self.db.kept(self._allowed, which)

    def _allowed(self, which: Filter) -> tuple[npt.NDArray[np.uint8], int]:
        ids = self.ids(which)
        if len(ids) and not 0 <= ids.min() <= ids.max() < LARGEST_MAP:
            raise self.db.damaged("an image has an impossible id")
        found = np.zeros(ids.max(initial=0) + 1, bool)
        found[ids] = True
        return np.packbits(found, bitorder="little"), len(ids)

    def ids(self, which: Filter = EVERYTHING) -> npt.NDArray[np.int64]:
        """Return the ids of the images that a filter admits, without loading all rows at once."""
        condition, values = self._clauses(which)
        with self.db.explained():
            rows = self.db.connection.execute(f"SELECT id FROM images WHERE {condition}", values)
            return np.fromiter(chain.from_iterable(rows), np.int64)

    def condition(self, which: Filter) -> tuple[str, list[Any]]:
        """Return a filter's SQL condition and the values in it."""
        condition, values = self._clauses(which)
        if values:
            # The subquery reads the features of no other images.
            condition = f"id IN (SELECT id FROM images WHERE {condition})"
        return condition, values

    def _clauses(self, which: Filter) -> tuple[str, list[Any]]:
        """Return a filter's conditions on the columns, with the values in stored form."""
        condition, values = which.condition()
        return condition, self.folder.stored_values(values)

    def width(self) -> int | None:
        """Return the dimension of the features in the index, if known."""
        return self.db.kept(self._width)

    def _width(self) -> int | None:
        sizes = self.db.rows("SELECT length(feature) FROM images LIMIT 1")
        if sizes and not sizes[0][0]:
            raise self.db.damaged("a feature is cut short")
        return sizes[0][0] // self._stored.itemsize if sizes else None

    def _matrix(self, rows: Sequence[tuple[int, bytes]]) -> Features:
        """Return the features (n, D) of n rows (id, feature)."""
        return self._features([feature for _, feature in rows], lambda i: rows[i][0])

    def _features(self, values: Sequence[bytes], id_of: Callable[[int], int] = int) -> Features:
        """Return n stored features as an array (n, D), each of unit length.

        id_of: returns the id of row i, for a message. Raises UserError for values that are not
        finite, and for features of another length.
        """
        sizes = {len(value) if isinstance(value, bytes) else 0 for value in values}
        if len(sizes) > 1 or min(sizes) % self._stored.itemsize or not min(sizes):
            raise self.db.damaged("a feature is cut short")
        stored = np.frombuffer(b"".join(values), self._stored).reshape(len(values), -1)
        features = stored.astype(np.float32, copy=False)
        squares = np.einsum("nd,nd->n", features, features)
        if not (np.abs(squares - 1) <= FEATURE_ROUNDING).all():  # also if one of them is NaN
            odd = flaw(features, lambda i: self.by_id([id_of(i)])[id_of(i)][0])
            raise self.db.damaged(odd or "a feature is not of length 1, as all are that were added")
        # so that an image's cosine with itself is 1
        return features if self.codes == "float32" else features / np.sqrt(squares)[:, None]

    def _named(self, token: Any) -> str:
        """Return a token after checking that it is safe in a file name."""
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise self.db.damaged(f"{token!r:.60} is not a token")
        return token


def _texts(about: About) -> tuple[Any, ...]:
    """Return facts as the values of their columns."""
    *facts, more = about
    return (*facts, more and json.dumps(more, ensure_ascii=False, sort_keys=True))
