"""Forget images: delete them from every file, and recognise them if they are added again.

    forget(index.store, Filter(identity="Anna"), "Anna asked for it")
    paths = not_forgotten(index, paths)                   # those that may be added

A gallery keeps a hash of each forgotten image and track. The hash reveals neither a path nor a
name, but anyone who has the index can test whether a guessed path was forgotten.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from person_reid.data.video.tracked_boxes import Track
from person_reid.errors import UserError
from person_reid.gallery.checks import state_of
from person_reid.gallery.contract import DECISIONS, TRACK_RECORDS, Gallery
from person_reid.gallery.database import BUSY, DAMAGED, Database
from person_reid.gallery.image_table import ImageTable, next_file
from person_reid.gallery.index_folder import IndexFolder, delete_crops
from person_reid.gallery.inverted_lists import delete_lists, tokens_of_files
from person_reid.gallery.metadata import Filter, filters_of
from person_reid.text import counted

log = logging.getLogger(__name__)
LONGEST_WAIT = 600  # seconds to wait for a search that still reads the old state
CHECKPOINT_WAIT = 50  # milliseconds of each second during which others cannot write
FORGOTTEN_AT_ONCE = 5000  # images per filter; SQLite limits the parameters of a command
UNFINISHED = "unfinished"  # the kind of a note that is there until a forgetting is complete
CROPS = "crops to delete"  # the kind of these notes: {the path in hexadecimal digits: source}
Thing = TypeVar("Thing")


def image_key(path: bytes, state: str) -> bytes:
    """Return the key of an image: the name, size and time of its file, which a move keeps.

    Without a file, it is the path.
    """
    name = re.split(rb"[/\\]", path)[-1] if state else path
    return b"\0".join((b"image", name, state.encode(errors="surrogatepass")))


def track_key(source: str, track: str) -> bytes:
    """Return the key of a track from a source."""
    return b"\0".join((b"track", source.encode(), track.encode(errors="surrogatepass")))


def hash_of_key(key: bytes, token: str) -> bytes:
    """Return the hash that a gallery with this token stores for a key."""
    return blake2b(key, digest_size=16, key=token.encode()).digest()


def forget(
    store: ImageTable, which: Filter, asked: str, keep_crops: bool = False, wait: bool = True
) -> int:
    """Delete images from the file of an index; see SearchIndex.forget.

    If there are none, nothing changes, except that an interrupted earlier call is completed.

    wait: whether to wait for processes that still read the old state.
    """
    asked = str(asked)
    _forget_next(store, which, asked)
    db = store.db
    condition, values = store.condition(which)
    some = db.rows(f"SELECT 1 FROM images WHERE {condition} LIMIT 1", values)
    if not some and not store.notes(UNFINISHED):
        return 0
    db.rows("PRAGMA secure_delete = ON")  # even if the file is never rewritten
    store.note(UNFINISHED, {UNFINISHED: True})
    with db.transaction():
        tokens = tokens_of_files(store)
        delete_lists(store)
        rows = _identified(store, condition, values)
        number = db.connection.execute(f"DELETE FROM images WHERE {condition}", values).rowcount
        _bar(store, rows)
        store.outdate(tokens)
        store.mark()
        db.rows(
            "INSERT INTO forgotten VALUES (datetime('now', 'localtime'), ?, ?)", (asked, number)
        )
        if not keep_crops:
            _note_crops(store, rows)
    _delete_noted_crops(store)
    _rewrite(store, wait)
    return number


def _forget_next(store: ImageTable, which: Filter, asked: str) -> None:
    """Also delete the images from the file that collects features from another network."""
    if not next_file(store.path).exists():
        return
    following = ImageTable(next_file(store.path))
    with closing(following.db):
        paths = [path for images in store.images(which) for path, _ in images]
        for some in filters_of(paths, FORGOTTEN_AT_ONCE):
            forget(following, some, asked, keep_crops=True)


def _identified(
    store: ImageTable, condition: str, values: list[Any]
) -> list[tuple[bytes, str, str, str]]:
    """Return the path, state, source and track ("" if unknown) of each image; skip damaged rows."""
    columns = "path, state, coalesce(source, ''), coalesce(track, '')"
    rows = store.db.rows(f"SELECT {columns} FROM images WHERE {condition}", values)
    kinds = (bytes, str, str, str)
    return [row for row in rows if all(map(isinstance, row, kinds))]


def _bar(store: ImageTable, rows: list[tuple[bytes, str, str, str]]) -> None:
    """Record hashes of the deleted images, and of tracks whose last image was deleted.

    The record of a track file is deleted with the file's last image. rows: see _identified.
    """
    db = store.db
    keys = [image_key(path, state) for path, state, *_ in rows]
    for source, track in {(source, track) for *_, source, track in rows if source and track}:
        same = "SELECT 1 FROM images WHERE source = ? AND track = ? LIMIT 1"
        if not db.rows(same, (source, track)):
            keys.append(track_key(source, track))
    hashes = ((hash_of_key(key, store.token),) for key in keys)
    db.connection.executemany("INSERT OR IGNORE INTO barred VALUES (?)", hashes)
    there = {source for (source,) in db.rows("SELECT DISTINCT source FROM images")}
    db.connection.executemany(
        "DELETE FROM notes WHERE kind = ? AND name = ? OR kind = ? AND substr(name, 1, ?) = ?",
        (
            (TRACK_RECORDS, source, DECISIONS, len(source) + 1, f"{source}/")
            for source in {source for *_, source, _ in rows} - there
        ),
    )


def _note_crops(store: ImageTable, rows: list[tuple[bytes, str, str, str]]) -> None:
    """Note which crops to delete once the rows are gone, in case the process is killed first."""
    crops = ((CROPS, path.hex(), json.dumps(source)) for path, _, source, _ in rows if source)
    store.db.connection.executemany(
        "INSERT OR REPLACE INTO notes (kind, name, value) VALUES (?, ?, ?)", crops
    )


def _delete_noted_crops(store: ImageTable) -> None:
    """Delete the noted crops, also those of interrupted calls, unless they were added again."""
    noted = {bytes.fromhex(path): source for path, source in store.notes(CROPS).items()}
    if not noted:
        return
    back = {path for path, _ in store.where("path", [*noted], "path", "images")}
    cut = [(store.folder.path(path), source) for path, source in noted.items() if path not in back]
    delete_crops(cut, store.path, store.path.name)
    with store.db.transaction():
        store.db.rows("DELETE FROM notes WHERE kind = ?", (CROPS,))


def _rewrite(store: ImageTable, wait: bool) -> None:
    """Rewrite the file without the deleted content that SQLite has kept.

    This needs as much free space as the file takes; if there is less, a warning is logged.
    """
    db = store.db
    try:
        try:
            db.rows("VACUUM")
        finally:
            empty = _empty_log(db, LONGEST_WAIT if wait else 1)
            delete_lists(store)  # a search may have written new ones in the meantime
        if empty:
            with db.transaction():
                db.rows("DELETE FROM notes WHERE kind = ?", (UNFINISHED,))
            settled(db)
    except UserError as error:
        if DAMAGED in str(error):
            raise
        log.warning(
            "%s The images are forgotten and overwritten; the file is not smaller yet, and may "
            "hold features of images that were replaced before. forget again rewrites it.",
            error,
        )


def _empty_log(db: Database, seconds: int) -> bool:
    """Write the log into the file; wait up to `seconds` for searches that read the old state.

    Return whether the log is empty.
    """
    for waited in range(seconds):
        time.sleep(1 if waited else 0)
        if settled(db):
            return True
        if not waited:
            log.warning(
                "%s: forgotten; waiting for another process that still reads what was there "
                "before, such as a search.",
                db.path,
            )
    if seconds > 1:
        log.warning(
            "%s: another process still reads what was there before, and keeps it in the files "
            "of the index. It goes when that process ends; forget again makes sure of it.",
            db.path,
        )
    return False


def settled(db: Database) -> bool:
    """Empty the log, which holds the old state. Return False if a search still reads that state.

    Nobody can write while SQLite waits for such a search, so it waits only for a moment.
    """
    db.rows(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT}")
    busy = db.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
    db.rows(f"PRAGMA busy_timeout = {1000 * BUSY}")
    return not busy


def forgotten(store: ImageTable, keys: Sequence[bytes]) -> set[bytes]:
    """Return the given keys that belong to forgotten images or tracks."""
    hashes = {hash_of_key(key, store.token): key for key in keys}
    return {hashes[each] for each, _ in store.where("hash", [*hashes], "hash", "barred")}


def allow(store: ImageTable, keys: Iterable[bytes]) -> None:
    """Allow forgotten images to be added again."""
    with store.db.transaction():
        store.db.connection.executemany(
            "DELETE FROM barred WHERE hash = ?", ((hash_of_key(key, store.token),) for key in keys)
        )


def forgettings(store: ImageTable) -> list[dict[str, Any]]:
    """Return {"time": ..., "asked": the reason given, "images": a count} for each deletion."""
    rows = store.db.rows("SELECT time, asked, images FROM forgotten ORDER BY rowid")
    return [dict(zip(("time", "asked", "images"), row, strict=True)) for row in rows]


def not_forgotten(
    index: Gallery, paths: Sequence[str | Path], allowed: bool = False
) -> list[str | Path]:
    """Return the images that were not forgotten, and log the others.

    allowed: whether forgotten images may return.
    """
    return _left(index, paths, [_image_key(index, path) for path in paths], allowed, "image", str)


def tracks_not_forgotten(
    index: Gallery, source: str, tracks: Sequence[Track], allowed: bool = False
) -> list[Track]:
    """Return the tracks from a source that were not forgotten, and log the others."""
    keys = [track_key(source, str(track.number)) for track in tracks]
    return _left(index, tracks, keys, allowed, "track", lambda track: str(track.number))


def _image_key(index: Gallery, path: str | Path) -> bytes:
    """Return the key of an image; its path is relative to the index, so the key survives a move."""
    return image_key(IndexFolder(index.file).stored(path), state_of(path))


def _left(
    index: Gallery,
    things: Sequence[Thing],
    keys: list[bytes],
    allowed: bool,
    kind: str,
    name: Callable[[Thing], str],
) -> list[Thing]:
    """Return the items whose keys were not forgotten, or all items if `allowed`."""
    known = index.forgotten(sorted({*keys}))
    if known and allowed:
        index.allow([*known])
    if allowed or not known:
        return list(things)
    out = [thing for thing, each in zip(things, keys, strict=True) if each in known]
    log.warning(
        "%s: forgotten once, and not added again: %s, such as %s. --allow_forgotten adds them.",
        index.path,
        counted(len(out), kind),
        name(out[0]),
    )
    return [thing for thing, each in zip(things, keys, strict=True) if each not in known]
