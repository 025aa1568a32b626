"""An SQLite file with the tables of an index: commands, transactions, and what was read lately.

Others may read while one process writes, and see the state before: the file has a write-ahead log,
NAME-wal and NAME-shm beside it, which vanish with the last process that closes it.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import finalize

from person_reid.errors import StoreError, UserError
from person_reid.files import STORE, make_folder, regular_file
from person_reid.gallery import sqlite_errors
from person_reid.gallery.schema import TABLES, version_of
from person_reid.gallery.write_ahead_log import check_log, stamp

log = logging.getLogger(__name__)
CHUNK = 50_000  # rows in memory at once
MOST_KEPT = 64  # answers of the file, nearly all of them the images that a filter admits
# bytes: several features per page; a 512-dimensional one would waste half of a page of 4096
PAGE = 16384

T = TypeVar("T")
State = tuple[int, int]  # changes by other processes, and by this one


class SqliteFile:
    """The file at a path, opened, or created if it does not exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = _path_of(path)
        self.new = not self.path.exists()
        self._cache: tuple[State, dict[Any, Any]] = (0, 0), {}
        self._state: State | None = None  # while a transaction reads, in which it cannot change
        if not self.new:
            regular_file(self.path, STORE, "the file of an index")
            check_log(self.path)
        make_folder(self.path.parent)
        self._place = self.path.absolute()
        self.database = self._connect()
        finalize(self, _close, self.database)  # the last to close it removes the log
        with self._closed_by_errors():
            self._opened = self._place.stat()
            if not self.version():
                with self._transaction():
                    pass  # which makes the tables

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
        for place in (self.path, *self._log_files()):
            place.unlink(missing_ok=True)

    def _log_files(self) -> list[Path]:
        return [self.path.with_name(f"{self.path.name}-{kind}") for kind in ("wal", "shm")]

    @contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        """Close the file if a block that opens it fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        """Return a connection; where nobody may write, one that takes the file as it is."""
        with self._explained():
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
                        "nothing can be written here. Copy both to where it can, and open the "
                        "index there once."
                    ) from None
                database = self._prepared(f"{self._place.as_uri()}?immutable=1")
        return database

    def _prepared(self, place: Path | str) -> sqlite3.Connection:
        database = sqlite3.connect(
            place, timeout=sqlite_errors.BUSY, isolation_level=None, uri=isinstance(place, str)
        )
        database.execute(f"PRAGMA page_size = {PAGE}")
        database.execute("PRAGMA trusted_schema = OFF")  # it may be another user's file
        return database

    def version(self) -> int:
        """Return the version of the file."""
        return version_of(self._rows, self.path)

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

    def _kept(self, read: Callable[..., T], *arguments: Any) -> T:
        """Return read(*arguments), or what it returned since the file last changed.

        It does not matter whether this process or another has changed the file.
        """
        state = self._state or self._current_state()
        if self._cache[0] != state:
            self._cache = state, {}
        kept, key = self._cache[1], (read.__name__, *arguments)
        value: T = kept.pop(key) if key in kept else read(*arguments)
        kept[key] = value  # the latest is the last
        if len(kept) > MOST_KEPT:
            del kept[next(iter(kept))]
        return value

    def _current_state(self) -> State:
        """Return what changes when this process or another changes the file."""
        return self._rows("PRAGMA data_version")[0][0], self.database.total_changes

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Run a block whose changes are all on the disk afterwards.

        An error or a kill leaves none of them.

        kind: DEFERRED for a block that only reads. It sees one state of the file.
        Raises StoreError if another file has taken the place of this one.
        """
        writes = kind != "DEFERRED"
        if writes and self._rows("PRAGMA journal_mode") != [("wal",)]:
            self._rows("PRAGMA journal_mode = WAL")
        self._rows(f"BEGIN {kind}")
        try:
            with self._explained():
                self._check_place()
                if writes:
                    self._upgrade()
                    stamp(self._rows)
                else:
                    self._state = self._current_state()
                yield
            self._rows("COMMIT")
        except BaseException:
            if self.database.in_transaction:  # SQLite has ended it already if the disk is full
                self._rows("ROLLBACK")
            raise
        finally:
            self._state = None

    def _upgrade(self) -> None:
        """Make the tables of a new file."""
        for command in () if self.version() else TABLES:
            self._rows(command)

    def _check_place(self) -> None:
        """Raise StoreError if the open file is not at its path.

        All that is added to it would be lost.
        """
        try:
            same = os.path.samestat(self._place.stat(), self._opened)
        except OSError:
            same = False
        if not same:
            raise StoreError(
                f"{self.path}: replaced or deleted since it was opened. Run this again."
            )

    def _explained(self) -> AbstractContextManager[None]:
        return sqlite_errors.explained(self.path)

    def _damaged(self, what: str) -> StoreError:
        return sqlite_errors.damaged_file(self.path, what)


def _close(database: sqlite3.Connection) -> None:
    """Close a connection, unless it is of another thread, which closes it itself."""
    with suppress(sqlite3.Error):
        database.close()


def _path_of(path: Any) -> Path:
    """Return the path of an index."""
    if isinstance(path, str | os.PathLike) and str(path) and "\0" not in str(path):
        return Path(path)
    raise UserError(f"an index: expected the path of its file, found {path!r}.")
