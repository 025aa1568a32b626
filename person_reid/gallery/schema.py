"""The tables of an index file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from person_reid.errors import UserError
from person_reid.gallery.checks import check_version
from person_reid.gallery.metadata import FACT_NAMES
from person_reid.gallery.sqlite_errors import INDEX_AGAIN, NO_INDEX

VERSION = 3  # of version 1.0.0 of the suite
COLUMNS = ", ".join(FACT_NAMES)
TABLES = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT, "
    "path BLOB UNIQUE NOT NULL, state TEXT NOT NULL, feature BLOB NOT NULL, "
    + "".join(f"{name} TEXT, " for name in FACT_NAMES)
    + "more TEXT)",
    # all that a filter reads; the rows hold the features as well
    f"CREATE INDEX by_about ON images ({COLUMNS})",
    "CREATE TABLE forgotten (time TEXT NOT NULL, asked TEXT NOT NULL, images INTEGER NOT NULL)",
    # a token for each transaction that added images: two files that grew apart have none in
    # common from there on. Inverted lists name the token up to which they hold all images.
    "CREATE TABLE additions (last INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL)",
    "CREATE TABLE notes (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, "
    "name TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (kind, name))",
    # hashes of what was forgotten and comes back only if somebody allows it
    "CREATE TABLE barred (hash BLOB PRIMARY KEY) WITHOUT ROWID",
    f"PRAGMA user_version = {VERSION}",
)


def version_of(run: Callable[..., list[Any]], path: Path) -> int:
    """Return the version of a file, 0 for one in which there is nothing yet.

    Raises UserError for a file that is not an index, or of another version than this program's.
    """
    version = int(run("PRAGMA user_version")[0][0])
    names = {name for (name,) in run("SELECT name FROM sqlite_master")}
    if not names:
        return 0
    if not names >= {"about", "images", "by_about"}:
        raise UserError(f"{path}: {NO_INDEX}")
    check_version(path, version, VERSION)
    if version < VERSION:
        raise UserError(f"{path}: made before version 1.0.0 of the suite. {INDEX_AGAIN}")
    return version
