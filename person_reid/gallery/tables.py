"""The tables of an index file, and what SQLite's errors mean to the user."""

from person_reid.gallery.about import About

TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE NOT NULL, "
    "state TEXT NOT NULL, feature BLOB NOT NULL)",
)
LATER = (  # what an index of an earlier version lacks until it is first needed
    *(f"ALTER TABLE images ADD COLUMN {name} TEXT" for name in About._fields),
    *(f"CREATE INDEX by_{name} ON images ({name})" for name in About._fields),
    "CREATE TABLE forgotten (time TEXT NOT NULL, asked TEXT NOT NULL, images INTEGER NOT NULL)",
)
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
