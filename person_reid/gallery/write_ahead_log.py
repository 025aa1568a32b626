"""Check that the write-ahead log beside an index file belongs to that file.

A killed process leaves its log behind, and SQLite would apply it to any file that replaces the
original. Every transaction therefore gives the file a stamp, in the number that SQLite calls
application_id: its lower half is new, and its upper half is the lower half of the previous stamp.
SQLite stores it in the first page, and the log has a copy of that page for each transaction.
"""

import secrets
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from person_reid.errors import UserError

HALF_STAMP = 2**16
LOG_HEADER, LOG_FRAME = struct.Struct(">3I4x4s4s8x"), struct.Struct(">I4x4s4s8x")  # 32 and 24 bytes
MAGIC = 0x377F0682  # the lowest bit gives the byte order of checksums
STAMP = struct.Struct(">68xI")  # in the first page
TRIES = 5  # attempts to read both stamps while others write


def stamp(run: Callable[..., list[Any]]) -> None:
    """Give a file a new stamp, within a transaction."""
    before = int(run("PRAGMA main.application_id")[0][0])
    number = before % HALF_STAMP * HALF_STAMP + 1 + secrets.randbelow(HALF_STAMP - 1)
    run(f"PRAGMA main.application_id = {number - 2**32 * (number >= 2**31)}")


def check_log(path: Path) -> None:
    """Raise UserError if the log beside a file belongs to another file or state."""
    log = path.with_name(f"{path.name}-wal")
    if not log.is_file() or any(_fits(_stamp_of(path), log) for _ in range(TRIES)):
        return
    raise UserError(
        f"{log}: not the log of {path.name}, or of another state of it. A process that wrote to "
        "the index was killed, and another file has since replaced it. To use the file as it is, "
        f"delete {log.name} and {path.name}-shm. To keep what the log holds, put the original "
        "file back."
    )


def _stamp_of(path: Path) -> int | None:
    """Return a file's stamp, ignoring its log, or None if the file cannot be read.

    SQLite reads it, because opening and closing the file here would release this process's locks.
    """
    with suppress(sqlite3.Error):
        place = f"{path.absolute().as_uri()}?immutable=1"
        with closing(sqlite3.connect(place, uri=True)) as database:
            return int(database.execute("PRAGMA application_id").fetchone()[0]) % 2**32
    return None


def _fits(alone: int | None, log: Path) -> bool:
    """Return whether a log begins right after a stamp, or contains it (a half-written file).

    A stamp of None fits any log: SQLite itself reports what is wrong with such a file.
    """
    if alone is None:
        return True
    try:
        stamps = _stamps(log)
        first = next(stamps, None)
        return (
            first is None or first // HALF_STAMP == alone % HALF_STAMP or alone in (first, *stamps)
        )
    except OSError:
        return True  # the log is gone


def _stamps(log: Path) -> Iterator[int]:
    """Yield the stamps in a log up to the first change of salt, where older content begins."""
    with log.open("rb") as file:
        header = file.read(LOG_HEADER.size)
        if len(header) < LOG_HEADER.size:
            return
        magic, _, size, *salt = LOG_HEADER.unpack(header)
        if magic | 1 != MAGIC | 1:
            return
        while len(frame := file.read(LOG_FRAME.size)) == LOG_FRAME.size:
            page, *of_frame = LOG_FRAME.unpack(frame)
            if of_frame != salt:
                return
            if page == 1 and len(start := file.read(STAMP.size)) == STAMP.size:
                yield STAMP.unpack(start)[0]
                file.seek(size - STAMP.size, 1)
            else:
                file.seek(size, 1)
