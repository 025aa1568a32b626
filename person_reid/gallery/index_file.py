"""The file of an index: the images in it, its transactions, and what
SQLite's errors mean to the user.
"""

import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from person_reid.arrays import flaw
from person_reid.config.search import CODE_NAMES
from person_reid.errors import UserError
from person_reid.files import STORE, make_folder, regular_file
from person_reid.gallery.checks import (
    are_different,
    check_filter,
    checked_features,
    checked_paths,
    known_of,
    log_stripped,
    state_of,
)
from person_reid.gallery.metadata import EVERYTHING, About, Filter
from person_reid.retrieval.similarity import Features, Floats
from person_reid.text import parse_json

CHUNK = 50_000  # features in memory at once
PAIRS = 5000  # pairs of a query and an image, compared at once
FEATURE_ROUNDING = 1e-3  # error of a cosine or of a feature's length; more is damage
LARGEST_ID = 2**63 - 1
LARGEST_MAP = 2**36  # ids of which a map fits into the memory; no index counts so far
TOKEN = re.compile("[0-9a-f]{8,16}")
MOST_KEPT = 64  # answers of the file, nearly all of them the images that a filter admits
BUSY = 60  # seconds to wait for another process that writes
# bytes: several features per page; a 512-dimensional one would waste half of a page of 4096
PAGE = 16384

T = TypeVar("T")
COLUMNS = ", ".join(About._fields)
# a token for each transaction that added images: two files that grew apart have none in common from
# there on. Inverted lists name the token up to which they hold all images. 0.2 wrote no tokens.
KEYS = "last INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL"
ADDITIONS = f"CREATE TABLE IF NOT EXISTS additions ({KEYS})"
TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "path BLOB UNIQUE NOT NULL, state TEXT NOT NULL, feature BLOB NOT NULL, "
    + ", ".join(f"{name} TEXT" for name in About._fields)
    + ")",
    # all that a filter reads; the rows hold the features as well
    f"CREATE INDEX IF NOT EXISTS by_about ON images ({COLUMNS})",
    "CREATE TABLE IF NOT EXISTS forgotten (time TEXT NOT NULL, asked TEXT NOT "
    "NULL, images INTEGER NOT NULL)",
    ADDITIONS,
)
INDEX_AGAIN = "Index the images again: --index ANOTHER_FILE"
DAMAGED = f"damaged. {INDEX_AGAIN}"
FOREIGN = "not a search index. tools/search.py index makes one."
REASONS = {  # what SQLite says, and what to do
    "locked": "another process has been writing to it for {busy} s. Wait "
    "until it ends, and run this again.",
    "full": "the disk is full. Make room, and run this again: it keeps what was added before.",
    "readonly": "it cannot be written to. Check the permissions of the file and of its folder.",
    "unable to open": "it cannot be opened. Check the permissions of the file and of its folder.",
    "disk I/O error": "the disk cannot be read or written. Check its health and that it has room.",
    "Could not decode": DAMAGED,
    "codec can't decode": DAMAGED,
    "malformed": DAMAGED,
    "not a database": FOREIGN,
    "no such table": FOREIGN,
    "no such column": FOREIGN,
    "created in a thread": "it was opened by another thread. Open it once in each.",
}


class IndexFile:
    """The file of an index, opened, or created if it does not exist.

    codes: how a new index holds features, one of CODES, by default the first. They name what the
    inverted lists hold; the file holds float32 for "float32", and float16 for the others. An index
    keeps its codes.

    Every method raises UserError if the file is damaged or not an index, if the disk is full, or if
    another process keeps writing to it for BUSY seconds.
    """

    def __init__(self, path: str | Path, codes: str | None = None) -> None:
        self.path = _place(path)
        self.new = not self.path.exists()
        if codes not in (None, *CODE_NAMES) and self.new:
            raise UserError(
                f"{self.path}: codes {codes!r}: expected one of {', '.join(CODE_NAMES)}."
            )
        self._cache: tuple[tuple[int, int], dict[Any, Any]] = (0, 0), {}
        if self.path.exists():
            regular_file(self.path, STORE, "the file of an index")
        make_folder(self.path.parent)
        with self._explained():
            self.database = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)
        self._rows(f"PRAGMA page_size = {PAGE}")
        self._rows("PRAGMA trusted_schema = OFF")  # it may be somebody else's file
        complete = self._is_complete()
        self._place = self.path.absolute()
        self._opened = self._place.stat()
        if not complete:
            with self._transaction():
                self._complete()
        if self.recall("token") is None and not len(self):
            self.remember({"token": secrets.token_hex(4), "codes": codes or CODE_NAMES[0]})
        self.token: str = self._named(self.remember({"token": secrets.token_hex(4)})["token"])
        self.codes: str = self.recall("codes") or "float32"  # earlier versions wrote none
        if self.codes not in CODE_NAMES:
            raise self._damaged(f"it holds codes of an unknown kind, {self.codes!r}")
        if codes not in (None, self.codes):
            raise UserError(
                f"{self.path}: its codes are {self.codes}, not {codes}: leave --codes out, or "
                "take another index."
            )
        self._stored = np.dtype("<f4" if self.codes == "float32" else "<f2")

    def __len__(self) -> int:
        return self._kept("count", lambda: int(self._rows("SELECT count(*) FROM images")[0][0]))

    @property
    def file(self) -> Path:
        """The file on this machine."""
        return self.path

    def close(self) -> None:
        """Release the file."""
        self.database.close()

    def remove(self) -> None:
        """Delete the file, from which others may still read."""
        self.close()
        self.path.unlink(missing_ok=True)

    def remember(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Store values, as JSON, under keys that the index does not hold yet.

        Returns {key: the value it holds}.

        If several processes do so at once, one of them stores all of its values, and the others are
        told these.
        """
        if any(self.recall(key) is None for key in values):
            with self._transaction():
                for key, value in values.items():
                    self._rows(
                        "INSERT OR IGNORE INTO about VALUES (?, ?)", (key, json.dumps(value))
                    )
        return {key: self.recall(key) for key in values}

    def recall(self, key: str) -> Any:
        """Return the value stored under a key, or None."""
        for (text,) in self._rows("SELECT value FROM about WHERE key = ?", (key,)):
            try:
                return parse_json(text)
            except (ValueError, TypeError):
                raise self._damaged(f"no JSON under {key!r}") from None
        return None

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the index does not hold or whose files have
        changed since they were added.
        """
        paths = checked_paths(paths, self.path)
        states = dict(self._where("path", list(map(_key, paths)), "state"))
        return [path for path in paths if states.get(_key(path)) != state_of(path)]

    def add(
        self,
        paths: Sequence[str | Path],
        features: npt.NDArray[Any],
        abouts: Mapping[Any, About] | None = None,
        states: Sequence[str] | None = None,
    ) -> None:
        """Add N images with features (N, D), normalised to unit length; replace those whose path is
        already there.

        abouts: what is known about some of them. The others keep what was known before, but lose
        identity and track if the file now shows another picture. states: the files' states before
        they were read, see state_of; by default, the present ones. Everything is on the disk when
        this returns. Raises UserError for features that are not finite or are all zero, if their
        width differs from the index's, and if their number is not the number of paths.
        """
        paths = checked_paths(paths, f"{self.path}: not added")
        features = checked_features(features, self.width(), self.path, paths).astype(self._stored)
        known = known_of(abouts or {}, paths)
        rows = [
            (_key(path), state, feature.tobytes(), *about)
            for path, state, feature, about in zip(
                paths, states or map(state_of, paths), features, known, strict=True
            )
        ]
        old = "coalesce(?{}, (SELECT {} FROM images WHERE path = ?1))"
        values = ", ".join(old.format(place, name) for place, name in enumerate(About._fields, 4))
        command = (
            f"INSERT OR REPLACE INTO images (path, state, feature, {COLUMNS}) "
            f"VALUES (?1, ?2, ?3, {values})"
        )
        strip = (
            "UPDATE images SET identity = NULL, track = NULL WHERE path = ? "
            "AND (identity > '' OR track > '')"
        )
        with self._transaction():
            others = [(key,) for key, _, feature, *_ in rows if self._shows_another(key, feature)]
            stripped = self.database.executemany(strip, others).rowcount
            self.database.executemany(command, rows)
            self._mark()
        log_stripped(self.path, stripped)

    def _shows_another(self, key: bytes, feature: bytes) -> bool:
        """Return whether the index holds the feature of another picture under a path."""
        old = self.database.execute(
            "SELECT id, feature FROM images WHERE path = ?", (key,)
        ).fetchall()
        return bool(old) and are_different(self._matrix([*old, (0, feature)]))

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record what is known about images; a None leaves the old value.

        Returns how many of the images are there.
        """
        known = known_of(abouts, abouts)
        paths = checked_paths([*abouts], self.path)
        rows = [(*about, _key(path)) for path, about in zip(paths, known, strict=True)]
        changes = ", ".join(f"{name} = coalesce(?, {name})" for name in About._fields)
        with self._transaction():
            return self.database.executemany(
                f"UPDATE images SET {changes} WHERE path = ?", rows
            ).rowcount

    def chunks(
        self, after: int = 0, which: Filter = EVERYTHING, until: int = LARGEST_ID
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield (ids (n,), features (n, D)) of the images with ids above `after`, up to `until`."""
        condition, values = self._condition(which)
        condition += " AND id > ? AND id <= ?"
        command = f"SELECT id, feature FROM images WHERE {condition} ORDER BY id"
        for rows in self._read(command, (*values, after, until)):
            yield np.array([number for number, _ in rows], np.int64), self._matrix(rows)

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield the images in chunks: (path, what is known) of n
        images, and their features (n, D).
        """
        for ids, features in self.chunks(0, which):
            images = self._images(ids.tolist())
            there = [place for place, number in enumerate(ids.tolist()) if number in images]
            yield [images[int(ids[place])] for place in there], features[there]

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[tuple[Path, About]]]:
        """Yield the images in chunks: (path, what is known) of each, without reading features."""
        condition, values = self._condition(which)
        command = f"SELECT id, path, {COLUMNS} FROM images WHERE {condition} ORDER BY id"
        for rows in self._read(command, values):
            yield [*self._known(rows).values()]

    def values(self, name: str) -> list[str]:
        """Return the values of a column of About that some image has, in alphabetical order."""
        command = f"SELECT DISTINCT {_column(name)} FROM images ORDER BY 1"
        return [str(value) for (value,) in self._rows(command) if value]

    def sample(self, count: int, after: int = 0) -> Features:
        """Return at most `count` features (n, D), of images spread evenly over those with ids above
        `after`.

        Raises UserError if there are none.
        """
        ids = np.sort(self._ids(EVERYTHING))
        ids = ids[ids > after]
        places = np.linspace(0, max(len(ids) - 1, 0), min(count, len(ids))).astype(int)
        found = self._where("id", ids[places].tolist(), "feature")
        if not found:
            raise UserError(f"{self.path}: no images in it any more. Add some, and run this again.")
        return self._matrix(found)

    def cosines(self, queries: Features, ids: npt.NDArray[np.int64]) -> Floats:
        """Return the cosines (Q, k) of queries (Q, D) and the images ids (Q, k).

        They are NaN where no image has the id.
        """
        found = np.full(ids.shape, np.nan, np.float32)
        step = max(1, PAIRS // max(ids.shape[1], 1))
        for start in range(0, len(ids), step):
            some = ids[start : start + step]
            if rows := sorted(self._where("id", np.unique(some).tolist(), "feature")):
                held = np.array([number for number, _ in rows], np.int64)
                places = np.minimum(np.searchsorted(held, some), len(held) - 1)
                cosines = queries[start : start + step] @ self._matrix(rows).T
                cosines = np.take_along_axis(cosines, places, axis=1)
                found[start : start + step] = np.where(held[places] == some, cosines, np.nan)
        return found

    def count_after(self, number: int) -> int:
        """Return how many images have an id above `number`."""
        if not number:
            return len(self)
        command = "SELECT count(*) FROM images WHERE id > ?"
        return self._kept(("after", number), lambda: int(self._rows(command, (number,))[0][0]))

    def last_id(self) -> int:
        """Return the id of the latest image, or 0 for an empty index."""
        return int(self._rows("SELECT coalesce(max(id), 0) FROM images")[0][0])

    def latest(self) -> tuple[str, int]:
        """Return (token, last id) of the latest addition; the token is "" if 0.2 wrote the file."""
        rows = self._additions("ORDER BY last DESC LIMIT 1")
        return (self._named(rows[0][0]), rows[0][1]) if rows else ("", self.last_id())

    def reached(self, token: str) -> int:
        """Return the last id of the addition with this token, 0 if it is not one of this file's."""
        return sum(last for _, last in self._additions("WHERE token = ?", (token,)))

    def knows(self, token: str) -> bool:
        """Return whether an addition to this file wrote the token, or it names the latest state."""
        return token == self.latest()[0] or bool(self.reached(token))

    def _additions(self, which: str, values: Sequence[Any] = ()) -> list[tuple[str, int]]:
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'additions'"):
            return []
        return self._rows(f"SELECT token, last FROM additions {which}", values)

    def mark(self) -> None:
        """Give a file of version 0.2 its first token, unless it cannot be written to."""
        if not self.latest()[0]:
            with suppress(UserError), self._transaction():
                self._mark()

    def _mark(self) -> None:
        """Give what was added or forgotten in this transaction a token."""
        self._rows(ADDITIONS)
        command = "INSERT OR IGNORE INTO additions SELECT coalesce(max(id), 0), ? FROM images"
        self._rows(command, (secrets.token_hex(8),))

    def _images(self, ids: Sequence[int]) -> dict[int, tuple[Path, About]]:
        """Return {id: (path, what is known)} of those of the images that are still there."""
        return self._known(self._where("id", ids, f"path, {COLUMNS}"))

    def _known(self, rows: Sequence[Any]) -> dict[int, tuple[Path, About]]:
        """Return {id: (path, what is known)} of rows (id, path, *what is known)."""
        for _, path, *about in rows:
            if not isinstance(path, bytes) or not all(
                isinstance(each, str | None) for each in about
            ):
                raise self._damaged(f"it says {(path, *about)!r:.100} of an image")
        return {number: (Path(os.fsdecode(path)), About(*about)) for number, path, *about in rows}

    def _where(self, key: str, values: Sequence[Any], columns: str) -> list[Any]:
        """Return the rows (key, *columns) of the images that are there, by ids or paths."""
        rows = []
        for start in range(0, len(values), 500):  # SQLite limits the number of question marks
            some = values[start : start + 500]
            marks = ",".join("?" * len(some))
            command = f"SELECT {key}, {columns} FROM images WHERE {key} IN ({marks})"
            rows += self._rows(command, some)
        return rows

    def allowed(self, which: Filter) -> tuple[npt.NDArray[np.uint8], int]:
        """Return a bit for each id, lowest first, set if a filter admits it, and how many are set.

        They are kept until the file changes.
        """

        def read() -> tuple[npt.NDArray[np.uint8], int]:
            ids = self._ids(which)
            if len(ids) and not 0 <= ids.min() <= ids.max() < LARGEST_MAP:
                raise self._damaged("an image has a number that none can have")
            found = np.zeros(ids.max(initial=0) + 1, bool)
            found[ids] = True
            return np.packbits(found, bitorder="little"), len(ids)

        return self._kept(which, read)

    def _ids(self, which: Filter) -> npt.NDArray[np.int64]:
        """Return the ids of the images that a filter admits, without a list of all rows."""
        check_filter(which)
        condition, values = which.condition()
        with self._explained():
            rows = self.database.execute(f"SELECT id FROM images WHERE {condition}", values)
            return np.fromiter(chain.from_iterable(rows), np.int64)

    def _condition(self, which: Filter) -> tuple[str, list[Any]]:
        """Return the SQL condition of a filter and its values."""
        check_filter(which)
        condition, values = which.condition()
        if values:
            # which reads no other image's feature
            condition = f"id IN (SELECT id FROM images WHERE {condition})"
        return condition, values

    def width(self) -> int | None:
        """Return the width of the features in the index, if it is known."""
        sizes = self._rows("SELECT length(feature) FROM images LIMIT 1")
        if sizes and not sizes[0][0]:
            raise self._damaged("a feature is cut short")
        return sizes[0][0] // self._stored.itemsize if sizes else None

    def _matrix(self, rows: Sequence[tuple[int, bytes]]) -> Features:
        """Return the features (n, D) of n rows (id, feature)."""
        sizes = {len(feature) if isinstance(feature, bytes) else 0 for _, feature in rows}
        if len(sizes) > 1 or min(sizes) % self._stored.itemsize or not min(sizes):
            raise self._damaged("a feature is cut short")
        stored = np.frombuffer(b"".join(feature for _, feature in rows), self._stored)
        features = stored.reshape(len(rows), -1).astype(np.float32, copy=False)
        if found := flaw(features, lambda i: self._images([rows[i][0]])[rows[i][0]][0]):
            raise self._damaged(found)
        squares = np.einsum("nd,nd->n", features, features)
        if (np.abs(squares - 1) > FEATURE_ROUNDING).any():
            raise self._damaged("a feature is not of length 1, as all are that were added")
        # an image's cosine with itself is 1
        return features if self.codes == "float32" else features / np.sqrt(squares)[:, None]

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

    def _is_complete(self) -> bool:
        """Return whether the table of the images has all columns."""
        found = {name for _, name, *_ in self._rows("PRAGMA table_info(images)")}
        return found >= {*About._fields}

    def _complete(self) -> None:
        """Make the tables of a new index; 0.2 made some only with the first image.

        Raises UserError for an index of an earlier version.
        """
        if self._rows("SELECT 1 FROM sqlite_master") and not self._is_complete():
            tables = {
                name
                for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            columns = {name for _, name, *_ in self._rows("PRAGMA table_info(images)")}
            if not ("about" in tables and columns >= {"path", "feature"}):
                raise UserError(f"{self.path}: {FOREIGN}")
            if self._rows("SELECT 1 FROM images LIMIT 1"):
                raise UserError(f"{self.path}: written by a version before 0.2. {INDEX_AGAIN}")
            self._rows("DROP TABLE images")
        for table in TABLES:
            self._rows(table)

    def _rows(self, command: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run an SQL command and return its rows."""
        with self._explained():
            return self.database.execute(command, values).fetchall()

    def _read(self, command: str, values: Sequence[Any]) -> Iterator[list[Any]]:
        """Yield the rows of an SQL query in chunks, of one state of the file."""
        with self._explained():
            cursor = self.database.execute(command, values)
        try:
            while rows := self._next(cursor):
                yield rows
        finally:
            cursor.close()

    def _next(self, cursor: sqlite3.Cursor) -> list[Any]:
        with self._explained():
            return cursor.fetchmany(CHUNK)

    def _named(self, token: Any) -> str:
        """Return a token, which becomes part of the names of files."""
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise self._damaged(f"{token!r:.60} is not a token")
        return token

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path}: damaged: {what}. {INDEX_AGAIN}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's errors in a block into a UserError that says what to do."""
        try:
            yield
        # the latter if a message quotes a damaged schema
        except (sqlite3.Error, UnicodeDecodeError) as error:
            # Python 3.10 does not say that it cannot decode a schema
            message = str(error) or "malformed"
            for words, reason in REASONS.items():
                if words in message:
                    raise UserError(f"{self.path}: {reason.format(busy=BUSY)}") from error
            raise

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Run a block whose changes are on the disk afterwards: all, or none after an error or a
        kill.

        kind: DEFERRED for a block that only reads. It sees one state of the file, and others wait
        for it before they write.
        Raises UserError if another file has taken the place of this one.
        """
        self._rows(f"BEGIN {kind}")
        try:
            with self._explained():
                self._check_place()
                yield
            self._rows("COMMIT")
        except BaseException:
            if self.database.in_transaction:  # SQLite has ended it already if the disk is full
                self._rows("ROLLBACK")
            raise

    def _check_place(self) -> None:
        """Raise UserError if the open file is not at its path:
        what is added to it would be lost.
        """
        try:
            same = os.path.samestat(self._place.stat(), self._opened)
        except OSError:
            same = False
        if not same:
            raise UserError(
                f"{self.path}: replaced or deleted since it was opened. Run this again."
            )


def _place(path: Any) -> Path:
    """Return the path of an index."""
    if isinstance(path, str | os.PathLike) and str(path) and "\0" not in str(path):
        return Path(path)
    raise UserError(f"an index: expected the path of its file, found {path!r}.")


def _column(name: str) -> str:
    """Return the name of a column of About."""
    if name in About._fields:
        return name
    raise UserError(f"no column {name!r}; there are {COLUMNS}.")


def _key(path: str | Path) -> bytes:
    return os.fsencode(Path(path))
