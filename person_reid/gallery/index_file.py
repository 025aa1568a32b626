"""The images in the file of an index, with their features and what is known about them."""

import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from person_reid.arrays import flaw
from person_reid.config.option import OptionError
from person_reid.config.search import CODE_NAMES
from person_reid.errors import StoreError, UserError
from person_reid.files import real
from person_reid.gallery.checks import (
    are_different,
    check_filter,
    checked_features,
    checked_paths,
    known_of,
    log_stripped,
    state_of,
)
from person_reid.gallery.metadata import (
    EVERYTHING,
    FACT_NAMES,
    UNKNOWN_ABOUT,
    About,
    Filter,
    merged_about,
)
from person_reid.gallery.moved_folder import MovedFolder, ends_below, moved_value
from person_reid.gallery.row_checksums import (
    LOW_BITS,
    SUM_BITS,
    joined,
    sum_of_facts,
    sums_of_features,
)
from person_reid.gallery.schema import COLUMNS, VERSION
from person_reid.gallery.sqlite_file import SqliteFile
from person_reid.retrieval.similarity import Features, Floats
from person_reid.text import parse_json

log = logging.getLogger(__name__)
REINDEXED = "reindexed"  # the key of a token, another one for features of another network
FOLDER = "folder"  # the key of a note: the folder of the file when all paths were last written
MOST_SOUGHT = 50  # images by which an index knows whether they were moved with it
PAIRS = 5000  # pairs of a query and an image, compared at once
FEATURE_ROUNDING = 1e-3  # error of a cosine or of a feature's length; more is damage
LARGEST_ID = 2**63 - 1
CONFIRMED = 100_000  # the most images of which all rows are read before a filter chooses some
LARGEST_MAP = 2**36  # ids of which a map fits into the memory; no index counts so far
TOKEN = re.compile("[0-9a-f]{8,16}")
ROW_FACTS = f"path, state, checksum, {COLUMNS}, more"  # all of a row but its id and feature


class IndexFile(SqliteFile):
    """The file of an index, opened, or created if it does not exist.

    codes: how a new index holds features, one of CODE_NAMES, by default the first. They name what
    the inverted lists hold; the file holds float32 for "float32", and float16 for the others. An
    index keeps its codes.

    Every method raises UserError if the file is damaged or not an index, if the disk is full, or if
    another process keeps writing to it for BUSY seconds.
    """

    def __init__(self, path: str | Path, codes: str | None = None) -> None:
        if codes not in (None, *CODE_NAMES) and not Path(path).exists():
            raise UserError(f"{path}: codes {codes!r}: expected one of {', '.join(CODE_NAMES)}.")
        super().__init__(path)
        with self._closed_by_errors():
            self._read_settings(codes)
        self._features_token = self._noted(REINDEXED)
        self._stored = np.dtype("<f4" if self.codes == "float32" else "<f2")

    def _read_settings(self, codes: str | None) -> None:
        """Read the token and the codes of the index; a new one gets them."""
        if self.recall("token") is None and not len(self):
            self.remember({"token": secrets.token_hex(4), "codes": codes or CODE_NAMES[0]})
        self.token: str = self._named(self.remember({"token": secrets.token_hex(4)})["token"])
        self.codes: str = self.recall("codes") or "float32"  # earlier versions wrote none
        if self.codes not in CODE_NAMES:
            raise self._damaged(f"it holds codes of an unknown kind, {self.codes!r}")
        if codes not in (None, self.codes):
            raise OptionError(
                f"{self.path}: its codes are {self.codes}, not {codes}: leave {{codes}} out, or "
                "take another index."
            )

    def __len__(self) -> int:
        return self._kept(self._count_after, 0)

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
        value, moved = self._noted(key), self._moved()
        return moved_value(value, moved.now) if moved else value

    def _noted(self, key: str) -> Any:
        """Return what the file holds under a key, with paths as they were written."""
        for (text,) in self._rows("SELECT value FROM about WHERE key = ?", (key,)):
            try:
                return parse_json(text)
            except (ValueError, TypeError):
                raise self._damaged(f"no JSON under {key!r}") from None
        return None

    def _moved(self) -> MovedFolder | None:
        """Return how the folder of the file was moved with the images in it, if it was."""
        noted, here = self._noted(FOLDER), real(self._place).parent
        if not isinstance(noted, str) or noted == str(here) or not Path(noted).is_absolute():
            return None
        return self._kept(self._found_move, MovedFolder(Path(noted), here))

    def _found_move(self, moved: MovedFolder) -> MovedFolder | None:
        """Return a possible move if the images went along; a copy of an index leaves them."""
        command = "SELECT path FROM images WHERE path >= ? AND path < ? LIMIT ?"
        rows = self._rows(command, (*ends_below(moved.old), MOST_SOUGHT))
        paths = [path for (path,) in rows]
        stayed = any(map(_is_there, paths))
        return moved if not stayed and any(map(_is_there, map(moved.now_of, paths))) else None

    def _upgrade(self) -> None:
        """Bring the file to the latest version, and its paths to where the folder is now."""
        super()._upgrade()
        here, noted = str(real(self._place).parent), self._noted(FOLDER)
        if moved := self._moved():
            count = self._rename(moved)
            log.info("%s: was moved from %s, with %d images.", self.path, moved.old, count)
        if moved or noted is None:
            row = FOLDER, json.dumps(here)
            self._rows("INSERT OR REPLACE INTO about VALUES (?, ?)", row)

    def _check_features(self) -> None:
        """Raise StoreError if the features are of another network than when the file was opened."""
        if self._noted(REINDEXED) != self._features_token:
            raise StoreError(
                f"{self.path}: reindexed with another network since it was opened. Run this again."
            )

    def missing(self, paths: Iterable[str | Path]) -> list[str | Path]:
        """Return the paths that the index lacks or whose files have changed since."""
        paths, moved = checked_paths(paths, self.path), self._moved()
        keys = [moved.stored(_key(path)) if moved else _key(path) for path in paths]
        states = dict(self._where("path", keys, "state"))
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
        """Add N images with features (N, D), normalised to unit length.

        They replace those whose path is already there.

        abouts: what is known about some of them. The others keep what was known before, but lose
        identity and track if the file now shows another picture. states: the files' states before
        they were read, see state_of; by default, the present ones. Everything is on the disk when
        this returns. Raises UserError for features that are not finite or are all zero, if their
        width differs from the index's, and if their number is not the number of paths.
        """
        paths = checked_paths(paths, f"{self.path}: not added")
        features = checked_features(features, self.width(), self.path, paths).astype(self._stored)
        known = known_of(abouts or {}, paths)
        states = list(states or map(state_of, paths))
        sums = sums_of_features(features).tolist() if len(features) else []
        stripped = 0
        rows: dict[bytes, tuple[Any, ...]] = {}
        with self._transaction():
            self._check_features()
            keys = list(map(_key, paths))
            before = self._before(keys)
            for key, state, row, of_feature, new in zip(
                keys, states, features, sums, known, strict=True
            ):
                feature = row.tobytes()
                old, old_feature = before.get(key, (UNKNOWN_ABOUT, b""))
                named = old.identity or old.track
                if named and are_different(self._features([old_feature, feature], [None] * 2)):
                    old, stripped = old._replace(identity=None, track=None), stripped + 1
                about = merged_about(old, new)
                before[key] = about, feature
                rows[key] = _row(key, state, about, of_feature, feature)
            marks = ", ".join("?" * (len(FACT_NAMES) + 5))
            self.database.executemany(
                f"INSERT OR REPLACE INTO images ({ROW_FACTS}, feature) VALUES ({marks})",
                rows.values(),
            )
            self._mark()
        log_stripped(self.path, stripped)

    def _before(self, keys: list[bytes]) -> dict[bytes, tuple[About, bytes]]:
        """Return {path: (what is known, feature as it is stored)} of those that are there."""
        rows = self._where("path", keys, f"id, {ROW_FACTS}, feature")
        known = self._known([row[1:-1] for row in rows])
        return {row[0]: (known[row[1]][1], row[-1]) for row in rows}

    def describe(self, abouts: Mapping[Any, About]) -> int:
        """Record what is known about images; a None leaves the old value.

        Returns how many of the images are there.
        """
        known_facts = known_of(abouts, abouts)
        paths = checked_paths([*abouts], self.path)
        new = dict(zip(map(_key, paths), known_facts, strict=True))
        changes = ", ".join(f"{name} = ?" for name in (*FACT_NAMES, "more", "checksum"))
        with self._transaction():
            rows = self._where("path", [*new], f"id, {ROW_FACTS}")
            known = self._known([row[1:] for row in rows])
            changed = []
            for key, number, _, state, checksum, *_ in rows:
                old = known[number][1]
                if (about := merged_about(old, new[key])) != old:
                    _, _, new_sum, *facts = _changed_row(key, state, about, checksum)
                    changed.append((*facts, new_sum, number))
            self.database.executemany(f"UPDATE images SET {changes} WHERE id = ?", changed)
        return len(rows)

    def chunks(
        self, after: int = 0, which: Filter = EVERYTHING, until: int = LARGEST_ID
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield (ids (n,), features (n, D)) of the images with ids above `after`, up to `until`."""
        self._check_features()
        self._confirm(which)
        condition, values = self._condition(which)
        condition += " AND id > ? AND id <= ?"
        command = f"SELECT id, feature, checksum FROM images WHERE {condition} ORDER BY id"
        for rows in self._read(command, (*values, after, until)):
            yield np.array([number for number, *_ in rows], np.int64), self._matrix(rows)

    def entries(
        self, which: Filter = EVERYTHING
    ) -> Iterator[tuple[list[tuple[Path, About]], Features]]:
        """Yield the images in chunks of n: (path, what is known), and their features (n, D)."""
        for ids, features in self.chunks(0, which):
            images = self._images(ids.tolist())
            there = [place for place, number in enumerate(ids.tolist()) if number in images]
            yield [images[int(ids[place])] for place in there], features[there]

    def images(self, which: Filter = EVERYTHING) -> Iterator[list[tuple[Path, About]]]:
        """Yield the images in chunks: (path, what is known) of each, without reading features."""
        self._confirm(which)
        condition, values = self._condition(which)
        command = f"SELECT id, {ROW_FACTS} FROM images WHERE {condition} ORDER BY id"
        for rows in self._read(command, values):
            yield [*self._known(rows).values()]

    def abouts(self, paths: Sequence[Path]) -> dict[Path, About]:
        """Return {path: what is known} of those images that are there, without reading others."""
        moved = self._moved()
        keys = [moved.stored(_key(path)) if moved else _key(path) for path in paths]
        rows = self._where("path", keys, f"id, {ROW_FACTS}")
        return dict(self._known([row[1:] for row in rows]).values())

    def values(self, name: str) -> list[str]:
        """Return the values of a column of About that some image has, in alphabetical order."""
        command = f"SELECT DISTINCT {_column(name)} FROM images ORDER BY 1"
        self._confirm()
        return [str(value) for (value,) in self._rows(command) if value]

    def changed_rows(self) -> Iterator[str]:
        """Yield a sentence for each image whose row is not as it was written."""
        command = f"SELECT id, {ROW_FACTS}, feature FROM images ORDER BY id"
        for rows in self._read(command, ()):
            for number, *facts, feature in rows:
                try:
                    self._known([(number, *facts)])
                    self._features([feature], [facts[2]])
                except UserError as error:
                    yield f"{error} (image {number})"

    def forgettings(self) -> list[dict[str, Any]]:
        """Return when images were forgotten, by which words, and how many."""
        rows = self._rows("SELECT time, asked, images FROM forgotten ORDER BY rowid")
        return [dict(zip(("time", "asked", "images"), row, strict=True)) for row in rows]

    def move(self, moved: MovedFolder) -> int:
        """Give images, and all that is remembered, their paths after a move.

        Returns how many images moved. An image that is already at the new path is replaced.
        """
        with self._transaction():
            return self._rename(moved)

    def _rename(self, moved: MovedFolder) -> int:
        """Write all paths as they are after a move, within a transaction."""
        count = 0
        rows = self._rows("SELECT id, path FROM images")
        new = {number: os.fsencode(moved.now(os.fsdecode(path))) for number, path in rows}
        ids = [number for number, path in rows if new[number] != path]
        for number, key, state, checksum, *facts in self._where("id", ids, ROW_FACTS):
            about = self._known([(number, key, state, checksum, *facts)])[number][1]
            path, _, new_sum, *_ = _changed_row(new[number], state, about, checksum)
            self._rows(
                "UPDATE OR REPLACE images SET path = ?, checksum = ? WHERE id = ?",
                (path, new_sum, number),
            )
            count += 1
        for key, text in self._rows("SELECT key, value FROM about WHERE key != ?", (FOLDER,)):
            before = parse_json(text)
            if (now := moved_value(before, moved.now)) != before:
                self._rows("UPDATE about SET value = ? WHERE key = ?", (json.dumps(now), key))
        return count

    def sample(self, count: int, after: int = 0) -> Features:
        """Return at most `count` features (n, D), spread evenly over the ids above `after`.

        Raises UserError if there are none.
        """
        ids = np.sort(self._ids(EVERYTHING))
        ids = ids[ids > after]
        places = np.linspace(0, max(len(ids) - 1, 0), min(count, len(ids))).astype(int)
        found = self._where("id", ids[places].tolist(), "feature, checksum")
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
            if rows := sorted(self._where("id", np.unique(some).tolist(), "feature, checksum")):
                held = np.array([number for number, *_ in rows], np.int64)
                places = np.minimum(np.searchsorted(held, some), len(held) - 1)
                cosines = queries[start : start + step] @ self._matrix(rows).T
                cosines = np.take_along_axis(cosines, places, axis=1)
                found[start : start + step] = np.where(held[places] == some, cosines, np.nan)
        return found

    def count_after(self, number: int) -> int:
        """Return how many images have an id above `number`."""
        return self._kept(self._count_after, number) if number else len(self)

    def _count_after(self, number: int) -> int:
        where = f"WHERE id > {number:d}" if number else ""  # without it, an index answers
        return int(self._rows(f"SELECT count(*) FROM images {where}")[0][0])

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
        return self._kept(self._knows, token)

    def _knows(self, token: str) -> bool:
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
        command = "INSERT OR IGNORE INTO additions SELECT coalesce(max(id), 0), ? FROM images"
        self._rows(command, (secrets.token_hex(8),))

    def _images(self, ids: Sequence[int]) -> dict[int, tuple[Path, About]]:
        """Return {id: (path, what is known)} of those of the images that are still there."""
        return self._known(self._where("id", ids, ROW_FACTS))

    def _known(self, rows: Sequence[Any]) -> dict[int, tuple[Path, About]]:
        """Return {id: (path, what is known)} of rows (id, *ROW_FACTS), which are checked."""
        found, moved = {}, self._moved()
        for number, path, state, checksum, *facts in rows:
            texts = state, *facts
            try:
                same = checksum is None or checksum & LOW_BITS == sum_of_facts(path, texts)
            except TypeError:  # a value of another type
                same = False
            if not same:
                raise self._damaged(f"what it says of {path!r:.100} was changed")
            if checksum is None and not (
                isinstance(path, bytes) and all(isinstance(each, str | None) for each in texts)
            ):
                raise self._damaged(f"it says {(path, *facts)!r:.100} of an image")
            place = moved.now_of(path) if moved else path
            found[number] = Path(os.fsdecode(place)), self._about(facts)
        return found

    def _about(self, facts: Sequence[str | None]) -> About:
        """Return what is known, of the columns of a row."""
        *facts, more = facts
        if more is None:
            return About(*facts)
        with suppress(ValueError):
            if isinstance(own := parse_json(more), dict) and all(
                isinstance(each, str) for each in own.values()
            ):
                return About(*facts)._replace(more=own)
        raise self._damaged(f"it says {more!r:.100} of an image")

    def _where(
        self, key: str, values: Sequence[Any], columns: str, table: str = "images"
    ) -> list[Any]:
        """Return the rows (key, *columns) of the images that are there, by ids or paths."""
        rows = []
        for start in range(0, len(values), 500):  # SQLite limits the number of question marks
            some = values[start : start + 500]
            marks = ",".join("?" * len(some))
            command = f"SELECT {key}, {columns} FROM {table} WHERE {key} IN ({marks})"
            rows += self._rows(command, some)
        return rows

    def allowed(self, which: Filter) -> tuple[npt.NDArray[np.uint8], int]:
        """Return a bit for each id, lowest first, set if a filter admits it, and how many are set.

        They are kept until the file changes.
        """
        return self._kept(self._allowed, which)

    def _allowed(self, which: Filter) -> tuple[npt.NDArray[np.uint8], int]:
        self._confirm(which)
        ids = self._ids(which)
        if len(ids) and not 0 <= ids.min() <= ids.max() < LARGEST_MAP:
            raise self._damaged("an image has a number that none can have")
        found = np.zeros(ids.max(initial=0) + 1, bool)
        found[ids] = True
        return np.packbits(found, bitorder="little"), len(ids)

    def _ids(self, which: Filter) -> npt.NDArray[np.int64]:
        """Return the ids of the images that a filter admits, without a list of all rows."""
        condition, values = self._clauses(which)
        with self._explained():
            rows = self.database.execute(f"SELECT id FROM images WHERE {condition}", values)
            return np.fromiter(chain.from_iterable(rows), np.int64)

    def _confirm(self, which: Filter | None = None) -> None:
        """Raise UserError if damage may hide an image from a filter.

        A larger file than CONFIRMED would take too long to read: `check` does it.
        """
        if which != EVERYTHING and len(self) <= CONFIRMED:
            in_one = self.database.in_transaction
            with nullcontext() if in_one else self._transaction("DEFERRED"):
                self._kept(self._confirmed)

    def _confirmed(self) -> bool:
        """Check all rows, and whether SQLite's own indexes say the same of them.

        Returns whether it could: a file of an earlier version has no checksums. Raises UserError
        for damage.
        """
        if self.version() < VERSION:
            return False
        every = f"SELECT id, {ROW_FACTS} FROM main.images NOT INDEXED"
        by_path = "SELECT id, path FROM main.images INDEXED BY sqlite_autoindex_images_1"
        by_about = f"SELECT id, {COLUMNS} FROM main.images INDEXED BY by_about"
        paths: dict[int, tuple[Any, ...]] = {}
        facts: dict[int, tuple[Any, ...]] = {}
        for rows in self._read(every, ()):
            self._known(rows)
            paths |= {number: (path,) for number, path, *_ in rows}
            facts |= {number: tuple(known) for number, _, _, _, *known, _ in rows}
        for command, expected in ((by_path, paths), (by_about, facts)):
            if {number: tuple(values) for number, *values in self._rows(command)} != expected:
                raise self._damaged("what is listed of an image is not what its row says")
        return True

    def _condition(self, which: Filter) -> tuple[str, list[Any]]:
        """Return the SQL condition of a filter and its values."""
        condition, values = self._clauses(which)
        if values:
            # which reads no other image's feature
            condition = f"id IN (SELECT id FROM images WHERE {condition})"
        return condition, values

    def _clauses(self, which: Filter) -> tuple[str, list[Any]]:
        """Return the condition of a filter, with paths as they are stored."""
        check_filter(which)
        condition, values = which.condition()
        if moved := self._moved():
            values = [moved.stored(each) if isinstance(each, bytes) else each for each in values]
        return condition, values

    def width(self) -> int | None:
        """Return the width of the features in the index, if it is known."""
        return self._kept(self._width)

    def _width(self) -> int | None:
        sizes = self._rows("SELECT length(feature) FROM images LIMIT 1")
        if sizes and not sizes[0][0]:
            raise self._damaged("a feature is cut short")
        return sizes[0][0] // self._stored.itemsize if sizes else None

    def _matrix(self, rows: Sequence[tuple[int, bytes, int | None]]) -> Features:
        """Return the features (n, D) of n rows (id, feature, checksum)."""
        _, features, checksums = zip(*rows, strict=True)
        return self._features(features, checksums, lambda i: rows[i][0])

    def _features(
        self,
        values: Sequence[bytes],
        checksums: Sequence[int | None],
        id_of: Callable[[int], int] = int,
    ) -> Features:
        """Return features (n, D) of unit length, of n that are stored.

        checksums: of their rows, None where there is none. id_of: the id of row i, for a message.
        """
        sizes = {len(value) if isinstance(value, bytes) else 0 for value in values}
        if len(sizes) > 1 or min(sizes) % self._stored.itemsize or not min(sizes):
            raise self._damaged("a feature is cut short")
        stored = np.frombuffer(b"".join(values), self._stored).reshape(len(values), -1)
        features = stored.astype(np.float32, copy=False)
        squares = np.einsum("nd,nd->n", features, features)
        if not (np.abs(squares - 1) <= FEATURE_ROUNDING).all():  # also if one of them is NaN
            odd = flaw(features, lambda i: self._images([id_of(i)])[id_of(i)][0])
            raise self._damaged(odd or "a feature is not of length 1, as all are that were added")
        self._check_sums(stored, checksums)
        # an image's cosine with itself is 1
        return features if self.codes == "float32" else features / np.sqrt(squares)[:, None]

    def _check_sums(self, stored: npt.NDArray[Any], checksums: Sequence[int | None]) -> None:
        """Raise UserError if a feature is not the one that was stored."""
        there = [place for place, each in enumerate(checksums) if each is not None]
        if not there:
            return
        try:
            sums = np.array([checksums[place] for place in there], np.int64)
        except (ValueError, TypeError, OverflowError):
            raise self._damaged("a checksum is not a number") from None
        every = stored if len(there) == len(stored) else stored[there]
        if (sums >> SUM_BITS & LOW_BITS != sums_of_features(every)).any():
            raise self._damaged("a feature was changed")

    def _named(self, token: Any) -> str:
        """Return a token, which becomes part of the names of files."""
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise self._damaged(f"{token!r:.60} is not a token")
        return token


def _row(key: bytes, state: str, about: About, of_feature: int, *feature: bytes) -> tuple[Any, ...]:
    """Return the row of an image: ROW_FACTS, and its feature if it is given."""
    *facts, more = about
    texts = (*facts, more and json.dumps(more, ensure_ascii=False, sort_keys=True))
    return key, state, joined(of_feature, sum_of_facts(key, (state, *texts))), *texts, *feature


def _changed_row(key: bytes, state: str, about: About, checksum: int | None) -> tuple[Any, ...]:
    """Return the row of an image whose feature stays, without it; no checksum remains none."""
    if checksum is None:
        path, state, _, *texts = _row(key, state, about, 0)
        return path, state, None, *texts
    return _row(key, state, about, checksum >> SUM_BITS & LOW_BITS)


def _is_there(path: bytes) -> bool:
    return state_of(os.fsdecode(path)) != ""


def _column(name: str) -> str:
    """Return the name of a column of About."""
    if name in FACT_NAMES:
        return name
    raise UserError(f"no column {name!r}; there are {COLUMNS}.")


def _key(path: str | Path) -> bytes:
    return os.fsencode(Path(path))
