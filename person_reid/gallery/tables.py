"""The file of an index: its tables, its transactions, and what SQLite's errors mean to the user."""

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from person_reid.basics import UserError
from person_reid.gallery.about import About

BUSY = 60  # seconds to wait for another process that writes
PAGE = 16384  # bytes: several features per page; a 512-dimensional one would waste half of a page of 4096

TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, "
    "state TEXT NOT NULL, feature BLOB NOT NULL)",
)
LATER = "CREATE TABLE IF NOT EXISTS forgotten (time TEXT NOT NULL, asked TEXT NOT NULL, images INTEGER NOT NULL)"
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


def additions(columns: Collection[str]) -> list[str]:
    """Return what an index with these columns lacks until it is first needed, as SQL commands."""
    names = [name for name in About._fields if name not in columns]
    added = [f"ALTER TABLE images ADD COLUMN {name} TEXT" for name in names]
    return [*added, *(f"CREATE INDEX by_{name} ON images ({name})" for name in names), LATER] if names else []


class IndexFile:
    """The file of an index, opened, or created if it does not exist.

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

    def _columns(self) -> set[str]:
        return {name for _, name, *_ in self._rows("PRAGMA table_info(images)")}

    def _upgrade(self) -> None:
        """Add what an index of an earlier version lacks."""
        if additions(self._columns()):
            with self._transaction():
                for command in additions(self._columns()):
                    self._rows(command)

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
