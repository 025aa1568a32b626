"""What SQLite's errors mean to a person, and what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from person_reid.errors import StoreError

BUSY = 60  # seconds to wait for another process that writes
INDEX_AGAIN = "Index the images again: --index ANOTHER_FILE"
DAMAGED = f"damaged. {INDEX_AGAIN}"
NO_INDEX = "not a search index. tools/search.py index makes one."
REASONS = {  # what SQLite says, and what to do
    "locked": "another process has been writing to it for {busy} s. Wait until it ends, and run "
    "this again; searches need not wait.",
    "full": "the disk is full. Make room, and run this again: it keeps what was added before.",
    "readonly": "it cannot be written to. Check the permissions of the file and of its folder.",
    "unable to open": "it cannot be opened. Check the permissions of the file and of its folder.",
    "disk I/O error": "the disk cannot be read or written. Check its health and that it has room.",
    "Could not decode": DAMAGED,
    "codec can't decode": DAMAGED,
    "malformed": DAMAGED,
    "too big": DAMAGED,  # the length of a value, by a changed byte
    "not a database": NO_INDEX,
    "no such table": NO_INDEX,
    "no such column": NO_INDEX,
    "created in a thread": "it was opened by another thread. Open it once in each.",
}


def damaged_file(path: Path, what: str) -> StoreError:
    """Return the error for a file of which some value cannot be."""
    return StoreError(f"{path}: damaged: {what}. {INDEX_AGAIN}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors in a block into a StoreError that says what to do."""
    try:
        yield
    # A UnicodeDecodeError comes from a message that quotes a damaged schema.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # Python 3.10 does not say that it cannot decode a schema
        message = str(error) or "malformed"
        for words, reason in REASONS.items():
            if words in message:
                raise StoreError(f"{path}: {reason.format(busy=BUSY)}") from error
        raise
