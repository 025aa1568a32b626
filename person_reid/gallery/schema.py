"""The tables of an index file, and the numbered steps from each version to the next.

A file that was only read stays as it is; it is brought up to date when something is first written.
Later versions add columns and tables and change none, so that no row is copied.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from person_reid.errors import UserError
from person_reid.gallery.checks import check_version
from person_reid.gallery.metadata import FACT_NAMES
from person_reid.gallery.sqlite_errors import INDEX_AGAIN, NO_INDEX

VERSION = 2
COLUMNS = ", ".join(FACT_NAMES)
STEPS: dict[int, Sequence[str]] = {
    1: (
        "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "path BLOB UNIQUE NOT NULL, state TEXT NOT NULL, feature BLOB NOT NULL, "
        + ", ".join(f"{name} TEXT" for name in FACT_NAMES)
        + ")",
        # all that a filter reads; the rows hold the features as well
        f"CREATE INDEX IF NOT EXISTS by_about ON images ({COLUMNS})",
        "CREATE TABLE IF NOT EXISTS forgotten "
        "(time TEXT NOT NULL, asked TEXT NOT NULL, images INTEGER NOT NULL)",
        # a token for each transaction that added images: two files that grew apart have none in
        # common from there on. Inverted lists name the token up to which they hold all images.
        "CREATE TABLE IF NOT EXISTS additions "
        "(last INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL)",
    ),
    2: (
        "ALTER TABLE images ADD COLUMN more TEXT",
        "ALTER TABLE images ADD COLUMN checksum INTEGER",
        # Programs of version 1 change rows, but know no checksum.
        "CREATE TRIGGER IF NOT EXISTS unsealed AFTER UPDATE ON images "
        "WHEN new.checksum IS old.checksum AND new.checksum NOTNULL "
        "BEGIN UPDATE images SET checksum = NULL WHERE id = new.id; END",
        # hashes of what was forgotten and comes back only if somebody allows it
        "CREATE TABLE IF NOT EXISTS barred (hash BLOB PRIMARY KEY) WITHOUT ROWID",
    ),
}
# Shows a file of version 1 as one of version 2; names are first looked up among what is temporary.
AS_LATEST = (
    "CREATE TEMP VIEW IF NOT EXISTS images AS "
    "SELECT *, NULL AS more, NULL AS checksum FROM main.images"
)
RunCommand = Callable[..., list[Any]]  # runs an SQL command and returns its rows


def version_of(run: RunCommand, path: Path) -> int:
    """Return the version of a file, 0 for one in which there is nothing yet.

    Raises UserError for a file that is not an index, or of a version that this program cannot read.
    """
    version = int(run("PRAGMA user_version")[0][0])
    tables = {name for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = {name for _, name, *_ in run("PRAGMA main.table_info(images)")}
    if not run("SELECT 1 FROM main.sqlite_master"):
        return 0
    if not ("about" in tables and columns >= {"path", "feature"}):
        raise UserError(f"{path}: {NO_INDEX}")
    check_version(path, version, VERSION)
    if columns >= {*FACT_NAMES}:
        return max(version, 1)
    if run("SELECT 1 FROM main.images LIMIT 1"):
        raise UserError(f"{path}: written by a version before 0.2. {INDEX_AGAIN}")
    return 0


def upgrade(run: RunCommand, version: int) -> None:
    """Take the steps from a version to the latest, within a transaction."""
    if not version:  # 0.2 made it anew with the first image
        run("DROP TABLE IF EXISTS main.images")
    for number, commands in STEPS.items():
        if number > version or number == 1:  # 0.2 made no additions
            for command in commands:
                run(command)
    run(f"PRAGMA user_version = {VERSION}")
