"""The SQLite file of an index: its tables, queries, transactions, and a read cache.

While one process writes, others can read and see the previous state. SQLite keeps a write-ahead log
beside the file, in NAME-wal and NAME-shm; the last process to close the file deletes it.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import finalize

from person_reid.errors import StoreError, UserError
from person_reid.files import STORE, make_folder, regular_file
from person_reid.gallery.checks import check_version
from person_reid.gallery.metadata import FACT_NAMES
from person_reid.gallery.write_ahead_log import check_log, stamp

log = logging.getLogger(__name__)
CHUNK = 5000  # rows in memory at once
MOST_KEPT = 64  # cached results of queries, nearly all of them the images that a filter admits
# bytes: several features per page; a 512-dimensional one would waste half a page of 4096 bytes
PAGE = 16384

VERSION = 3  # the format of version 1.0.0 of the suite
COLUMNS = ", ".join(FACT_NAMES)
TABLES = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "path BLOB UNIQUE NOT NULL, state TEXT NOT NULL, feature BLOB NOT NULL, "
    + "".join(f"{name} TEXT, " for name in FACT_NAMES)
    + "more TEXT)",
    # A filter reads this index only; the rows also hold the features.
    f"CREATE INDEX by_about ON images ({COLUMNS})",
    "CREATE TABLE forgotten (time TEXT NOT NULL, asked TEXT NOT NULL, images INTEGER NOT NULL)",
    # A token for each transaction that added images: once two copies of a file diverge, they share
    # no further tokens. Inverted lists name the token up to which they hold all images. A negative
    # `last` is of lists whose file was deleted, because images have been forgotten since.
    "CREATE TABLE additions (last INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL)",
    "CREATE TABLE notes (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, "
    "name TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (kind, name))",
    # hashes of forgotten images and tracks, which return only with permission
    "CREATE TABLE barred (hash BLOB PRIMARY KEY) WITHOUT ROWID",
    f"PRAGMA user_version = {VERSION}",
)

BUSY = 60  # seconds to wait for another process that writes
INDEX_AGAIN = "Index the images again: --index ANOTHER_FILE"
DAMAGED = f"damaged. {INDEX_AGAIN}"
NO_INDEX = "not a search index. tools/search.py index makes one."
REASONS = {  # SQLite's message, and what to do
    "locked": "another process has been writing to it for {busy} s. Wait until it ends, and run "
    "this again; searches need not wait.",
    "full": "the disk is full. Make room and try again: nothing that was there is lost.",
    "readonly": "it cannot be written to. Check the permissions of the file and of its folder.",
    "unable to open": "it cannot be opened. Check the permissions of the file and of its folder.",
    "disk I/O error": "the disk cannot be read or written. Check its health and that it has room.",
    "Could not decode": DAMAGED,
    "codec can't decode": DAMAGED,
    "malformed": DAMAGED,
    "too big": DAMAGED,  # a changed byte altered the length of a value
    "not a database": NO_INDEX,
    "no such table": NO_INDEX,
    "no such column": NO_INDEX,
    "created in a thread": "it was opened by another thread. Open it once in each.",
}


T = TypeVar("T")
State = tuple[int, int]  # numbers of changes by other processes and by this one


class Database:
    """The open file at a path, created if it does not exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.new = not self.path.exists()
        self._cache: tuple[State, dict[Any, Any]] = (0, 0), {}
        self._state: State | None = None  # set during a transaction that reads: the state is fixed
        if not self.new:
            regular_file(self.path, STORE, "the file of an index")
            check_log(self.path)
        make_folder(self.path.parent)
        self.place = self.path.absolute()
        self.connection = self._connect()
        finalize(self, _close, self.connection)  # the last to close it removes the log
        with self.closed_by_errors():
            self._opened = self.place.stat()
            # identifies the open file, whatever its path
            self.identity = self._opened.st_dev, self._opened.st_ino
            if not self.version():
                with self.transaction():
                    pass  # the transaction creates the tables

    def close(self) -> None:
        """Release the file."""
        self.connection.close()

    def alone(self) -> bool:
        """Return whether no other connection has the file open."""
        self.rows("PRAGMA busy_timeout = 0")
        with suppress(UserError):  # SQLite ends the log only for the last connection
            return self.rows("PRAGMA journal_mode = DELETE") == [("delete",)]
        return False

    def remove(self) -> None:
        """Delete the file; processes that have it open can still read it."""
        self.close()
        for place in (self.path, *self._log_files()):
            place.unlink(missing_ok=True)

    def _log_files(self) -> list[Path]:
        return [self.path.with_name(f"{self.path.name}-{kind}") for kind in ("wal", "shm")]

    @contextmanager
    def closed_by_errors(self) -> Iterator[None]:
        """Close the file if the block, which is a step in opening the file, fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        """Return a connection; in a read-only folder, it ignores the log, which must be empty."""
        with self.explained():
            database = self._prepared(self.path)
            try:
                database.execute("SELECT 1 FROM sqlite_master")
            except sqlite3.Error as error:
                database.close()
                as_it_is = isinstance(error, sqlite3.OperationalError) and not self.new
                if not as_it_is or os.access(self.path.parent, os.W_OK):
                    raise
                log_file = self._log_files()[0]
                if log_file.exists() and log_file.stat().st_size:
                    raise UserError(
                        f"{log_file}: holds changes that {self.path.name} does not have yet, and "
                        "nothing can be written here. Copy both to a writable folder, and open the "
                        "index there once."
                    ) from None
                database = self._prepared(f"{self.place.as_uri()}?immutable=1")
        return database

    def _prepared(self, place: Path | str) -> sqlite3.Connection:
        database = sqlite3.connect(
            place, timeout=BUSY, isolation_level=None, uri=isinstance(place, str)
        )
        database.execute(f"PRAGMA page_size = {PAGE}")
        database.execute("PRAGMA trusted_schema = OFF")  # the file may come from another user
        return database

    def version(self) -> int:
        """Return the file's version, or 0 if the file is empty.

        Raises UserError for a file that is not an index, or that has a version other than this
        program's.
        """
        version = int(self.rows("PRAGMA user_version")[0][0])
        names = {name for (name,) in self.rows("SELECT name FROM sqlite_master")}
        if not names:
            return 0
        if not names >= {"about", "images", "by_about"}:
            raise UserError(f"{self.path}: {NO_INDEX}")
        if self.rows("SELECT 1 FROM sqlite_master WHERE type IN ('trigger', 'view')"):
            raise StoreError(
                f"{self.path}: has triggers or views, which could keep what is forgotten. No index "
                f"has them: {NO_INDEX}"
            )
        check_version(self.path, version, VERSION)
        if version < VERSION:
            raise UserError(f"{self.path}: made before version 1.0.0 of the suite. {INDEX_AGAIN}")
        return version

    def rows(self, command: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run an SQL command and return its rows."""
        with self.explained():
            return self.connection.execute(command, values).fetchall()

    def read(self, command: str, values: Sequence[Any], first: int = CHUNK) -> Iterator[list[Any]]:
        """Yield the rows of an SQL query in chunks, all from one state of the file.

        first: the number of rows in the first chunk. Later chunks are larger, so reading only the
        first page costs little.
        """
        size = first
        with self.explained():
            cursor = self.connection.execute(command, values)
        try:
            while rows := self._next(cursor, size):
                yield rows
                size = min(4 * size, CHUNK)
        finally:
            cursor.close()

    def _next(self, cursor: sqlite3.Cursor, size: int) -> list[Any]:
        with self.explained():
            return cursor.fetchmany(size)

    def kept(self, read: Callable[..., T], *arguments: Any) -> T:
        """Return read(*arguments), cached until this process or another changes the file."""
        state = self._state or self._current_state()
        if self._cache[0] != state:
            self._cache = state, {}
        kept, key = self._cache[1], (read.__name__, *arguments)
        value: T = kept.pop(key) if key in kept else read(*arguments)
        kept[key] = value  # moves the key to the end: the first is the least recently used
        if len(kept) > MOST_KEPT:
            del kept[next(iter(kept))]
        return value

    def _current_state(self) -> State:
        """Return a value that changes when this process or another changes the file."""
        return self.rows("PRAGMA data_version")[0][0], self.connection.total_changes

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Run a block as a transaction; its changes are on disk afterwards.

        After an error or a kill, none of them are. kind: DEFERRED for a block that only reads; it
        sees one state of the file.
        Raises StoreError if another file has replaced this one.
        """
        writes = kind != "DEFERRED"
        if writes and self.rows("PRAGMA journal_mode") != [("wal",)]:
            self.rows("PRAGMA journal_mode = WAL")
        self.rows(f"BEGIN {kind}")
        try:
            with self.explained():
                self._check_place()
                if writes:
                    for command in () if self.version() else TABLES:
                        self.rows(command)
                    stamp(self.rows)
                else:
                    self._state = self._current_state()
                yield
            self.rows("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # SQLite has ended it already if the disk is full
                self.rows("ROLLBACK")
            raise
        finally:
            self._state = None

    def _check_place(self) -> None:
        """Raise StoreError if the open file is no longer at its path.

        Anything added to the open file would then be lost.
        """
        try:
            same = os.path.samestat(self.place.stat(), self._opened)
        except OSError:
            same = False
        if not same:
            raise StoreError(
                f"{self.path}: replaced or deleted since it was opened. Run this again."
            )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an SQLite error in a block into a StoreError that names a remedy."""
        try:
            yield
        # A UnicodeDecodeError comes from a message that quotes a damaged schema.
        except (sqlite3.Error, UnicodeDecodeError) as error:
            for words, reason in REASONS.items():
                if words in str(error):
                    raise StoreError(f"{self.path}: {reason.format(busy=BUSY)}") from error
            raise

    def damaged(self, what: str) -> StoreError:
        """Return the error to raise for a file with an impossible value."""
        return StoreError(f"{self.path}: damaged: {what}. {INDEX_AGAIN}")


def _close(database: sqlite3.Connection) -> None:
    """Close a connection, unless it belongs to another thread, which will close it."""
    with suppress(sqlite3.Error):
        database.close()
