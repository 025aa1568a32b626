"""Find, read and lock files and folders, and write them whole or not at all."""

import csv
import errno
import glob
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from itertools import chain, count
from pathlib import Path
from typing import Any

from person_reid.errors import UserError
from person_reid.text import parse_json, printable

log = logging.getLogger(__name__)
PACKAGE = Path(__file__).resolve().parent
# The most bytes that a user's file may have; a larger file is not what it should be.
SETTINGS_BYTES = 16 * 10**6  # options, config.json, a threshold
LIST_BYTES = 4 * 10**9  # tables, tracks, logs
TENSORS = 256 * 10**9  # weights, features, exported networks
VIDEO = STORE = 10**14  # read a part at a time
NOT_FILES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
FORMULA = re.compile(r"'*(?:[=+@\t\r\n]|-(?![0-9.]*\Z))")  # a spreadsheet computes it; not -1
FORBIDDEN = {*"/\\\n\t", *(":" if os.name == "nt" else "")}  # in the name of a file
DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)  # of Windows
LONGEST_NAME = 200  # bytes of a name, so that an ending fits; file systems allow 255
ABANDONED = 60  # seconds without a change after which a partial file counts as abandoned


def importable() -> dict[str, str]:
    """Return {"PYTHONPATH": …} with which another process can import this copy of the package.

    It need not be installed.
    """
    package = str(Path(__file__).resolve().parent.parent)
    # Python ignores PYTHONPATH with -E and -I.
    further = None if sys.flags.ignore_environment else os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [package, further]))}


def with_ending(path: str | Path, ending: str, *known: str) -> Path:
    """Return `path` with `ending` replacing an ending in `known`, or else added to its name.

    Unlike Path.with_suffix, it keeps the rest of a name such as osnet_x0.25. Raises
    IsADirectoryError for a path without a name, such as `.` or `/`.
    """
    path = Path(path)
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, "a folder; expected the name of a file", str(path))
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in known else path.name
    return path.with_name(name + ending)


def is_file_name(name: object) -> bool:
    """Return whether text found in a file can safely become the name of a file.

    The author of the file must not choose the folder, hide what is written, or name a device. Names
    that Windows would change are rejected everywhere, since files are passed on.
    """
    return (
        isinstance(name, str)
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and not DEVICE.match(name)
        and printable(name) == name
        and not set(name) & FORBIDDEN
        and 0 < len(os.fsencode(name)) <= LONGEST_NAME
    )


def as_file_name(text: str) -> str:
    """Return text as a name that is_file_name accepts, even after a short ending is added."""
    shown = "".join("_" if sign in FORBIDDEN else sign for sign in printable(text)).lstrip(".")
    if DEVICE.match(shown):
        shown = f"_{shown}"
    return shown.encode()[: LONGEST_NAME // 2].decode(errors="ignore").rstrip(". ") or "_"


def shipped(path: str | Path) -> Path:
    """Return the path of a recipe or page or, if it is missing, of the package's copy."""
    kept = [folder / path for folder in (PACKAGE, PACKAGE.parent) if (folder / path).is_file()]
    return Path(path) if Path(path).exists() or not kept else kept[0]


def real(path: str | Path) -> Path:
    """Return the absolute path without links or `..`, for comparing two paths.

    The system does not find `none/../thesis` unless there is a folder `none`, even if `thesis`
    exists.

    Raises OSError, naming `path`, for a link that leads back to itself.
    """
    try:
        Path(path).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            problem = "a link that leads back to itself. Remove it, or choose another name"
            raise OSError(errno.ELOOP, problem, str(path)) from None
    return Path(os.path.realpath(path))


def check_way(folder: str | Path) -> None:
    """Raise NotADirectoryError, naming the file, if a file is where a folder is needed.

    It writes nothing, so it can be called before the work. make_folder calls it, as do the commands
    that make their folder only after images have been decoded or drawn.
    """
    there = next(path for path in (Path(folder), *Path(folder).parents) if os.path.lexists(path))
    if not there.is_dir():
        found = "a link to nothing" if there.is_symlink() and not there.exists() else "a file"
        problem = f"{found}; expected a folder. Move it, or choose another name"
        raise NotADirectoryError(errno.ENOTDIR, problem, str(there))


def make_folder(folder: str | Path) -> None:
    """Create a folder and its parents. Raises as check_way does."""
    check_way(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` once it is written and on disk.

    A reader of `path` finds the complete old file or the complete new one, even after a crash, on a
    full disk, or if several processes or threads write it at once. A later attempt removes what a
    killed process left behind. A link stays, and what it leads to is replaced; devices and pipes
    are written to.

    Raises OSError, naming `path`, if the disk is full or the folder cannot be written to.
    """
    named, path = path, _written_at(path)
    if path.exists() and not path.is_file():
        yield path
        return
    make_folder(path.parent)
    # Threads share their process's number, and containers use the same numbers.
    own = secrets.token_hex(4)
    temporary = path.with_name(f".{path.name}.{own}.partial")
    remove_abandoned(path.parent.glob(f".{glob.escape(path.name)}.{8 * '[0-9a-f]'}.partial"))
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(named)) from error
    finally:
        with suppress(OSError):  # which would hide the reason
            temporary.unlink()


def remove_abandoned(files: Iterable[Path]) -> None:
    """Remove the partial files that no process has written to for ABANDONED seconds."""
    for file in files:
        with suppress(OSError):  # gone already; on Windows a file in use cannot be removed
            if time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


@contextmanager
def whole_folder(path: str | Path, mark: str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, and move it to `path` once it is complete.

    It replaces an older folder.

    mark: a file that only such folders hold, and that lists their other files; `path` is replaced
        only if it has this file and no unlisted files, or is empty.

    Raises UserError, before anything is written, if `path` is another folder or a file, and
    OSError, naming `path`, on a full disk. Two processes must not write one folder at once.
    """
    check_folder(path, mark)
    place = real(path)
    temporary, older = _beside(place)
    if older.exists() and not place.exists():  # a process was killed between the two renames below
        older.rename(place)
    for left_behind in (temporary, older):
        shutil.rmtree(left_behind, ignore_errors=True)
    make_folder(temporary)
    try:
        write_text(temporary / mark, "[]")  # so that a later call may remove it
        yield temporary
        write_text(temporary / mark, json.dumps(_files_in(temporary)))
        if place.exists():
            place.rename(older)
        temporary.rename(place)
    except OSError as error:
        raise OSError(
            error.errno, error.strerror or str(error), error.filename or str(path)
        ) from error
    finally:
        if older.exists() and not place.exists():
            older.rename(place)
        for left_behind in (temporary, older):
            shutil.rmtree(left_behind, ignore_errors=True)


def check_folder(path: str | Path, mark: str) -> None:
    """Raise UserError if whole_folder could not replace what is at `path`; call this first.

    A folder that a killed process may have left beside it must also be replaceable.
    """
    place = real(path)
    check_way(place.parent)
    _check_whole(Path(path), mark)
    for folder in _beside(place):
        _check_whole(folder, mark)


def _beside(place: Path) -> tuple[Path, Path]:
    """Return the paths beside `place` for the incomplete new folder and the previous folder."""
    return place.with_name(f".{place.name}.partial"), place.with_name(f".{place.name}.older")


def _check_whole(path: Path, mark: str) -> None:
    """Raise UserError if anything but a folder written by whole_folder is at `path`."""
    place = real(path)
    own = (place / mark).is_file()
    # at most what a process that was killed while it wrote the mark has left
    empty = place.is_dir() and all(each.name.startswith(f".{mark}.") for each in place.iterdir())
    if Path.cwd().is_relative_to(place) and (own or empty):
        # The current folder would be moved away.
        raise UserError(f"{path}: the folder you are in, or one above it. Choose another name.")
    if empty or not place.exists():
        return
    if not own:
        raise UserError(
            f"{path}: exists, and was not written by this command. "
            "Remove it, or choose another name."
        )
    written = {mark, *_listed_in(place / mark)}
    further = (
        [] if written == {mark} else [name for name in _files_in(place) if name not in written]
    )
    if further:  # the mark of an earlier version lists nothing
        raise UserError(
            f"{path}: holds {further[0]}, which this command did not write. "
            "Move it elsewhere first."
        )


def _listed_in(mark: Path) -> list[str]:
    """Return the files that whole_folder listed; an earlier version wrote one per line."""
    text = content_of(mark).decode("utf-8", errors="surrogateescape")
    with suppress(ValueError):
        if isinstance(names := parse_json(text), list):
            return [str(name) for name in names]
    return text.splitlines()


def _files_in(folder: Path) -> list[str]:
    """Return the files below a folder, as paths relative to it.

    Hidden files, such as a file manager's, are skipped.
    """
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(folder).as_posix() for path in files)


def set_aside(path: Path) -> Path:
    """Rename a file that must not be lost, and return its new name.

    list.csv becomes list.previous.csv, then list.previous2.csv, and so on.
    """
    names = (
        path.with_suffix(f".previous{number}{path.suffix}") for number in chain([""], count(2))
    )
    return path.rename(next(name for name in names if not name.exists()))


def check_target(path: str | Path) -> None:
    """Raise OSError, naming `path`, if atomic_write could not write there; call this first."""
    named, path = path, _written_at(path)
    if path.exists() and not path.is_file():
        return
    make_folder(path.parent)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(named)) from error


def _written_at(path: str | Path) -> Path:
    """Return the real path or, for a device or pipe, the path as given.

    Raises IsADirectoryError for a folder, and FileNotFoundError for a link to a disk or folder that
    is gone.
    """
    path = Path(path)
    place = real(path)
    if place.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "a folder; expected the name of a file to write", str(path)
        )
    if path.is_symlink() and not path.exists() and not place.parent.is_dir():
        problem = (
            f"a link into {place.parent}, which is not there. Make that folder, or remove the link"
        )
        raise FileNotFoundError(errno.ENOENT, problem, str(path))
    # /dev/stdout may lead to no path
    return path if path.exists() and not path.is_file() else place


def write_text(path: str | Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all; file names in it keep their bytes."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def write_json(path: str | Path, content: object) -> None:
    """Write `content` to a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: str | Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file in UTF-8, whole or not at all; file names in it keep their bytes."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(csv_text([header, *rows]).encode("utf-8", "surrogateescape"))


def csv_text(rows: Iterable[Iterable[object]], end: str = "\r\n") -> str:
    """Return comma-separated values with cells that are harmless in a spreadsheet."""
    text = StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows(map(harmless, row) for row in rows)
    return text.getvalue()


def harmless(cell: object) -> object:
    """Return a cell with an apostrophe before text that begins like a formula, such as =1+1.

    If apostrophes already precede such text, it gets one more, so that plain_cell undoes it.
    """
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def plain_cell(cell: str) -> str:
    """Return a cell as it was before harmless()."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def regular_file(path: str | Path, most: int = LIST_BYTES, expected: str = "a file") -> Path:
    """Return the path of a user's file, after checking that it is a regular file and not too large.

    All readers of users' files begin here or with content_of: reading a pipe would block, and
    reading a device such as /dev/zero would never end, even through a link.

    most: the maximum size in bytes, such as SETTINGS_BYTES, LIST_BYTES or TENSORS. expected: names
        the file in messages.

    Raises OSError if it is missing, and UserError if it is not a regular file or too large.
    """
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        kind = NOT_FILES.get(stat.S_IFMT(found.st_mode), "a device")
        raise UserError(f"{path}: {kind}; expected {expected}.")
    if found.st_size > most:
        raise UserError(
            f"{path}: {found.st_size:,} bytes; expected {expected} of at most {most:,} bytes."
        )
    return Path(path)


def content_of(path: str | Path, most: int = LIST_BYTES, expected: str = "a file") -> bytes:
    """Return the contents of a user's file. Raises as regular_file does."""
    return regular_file(path, most, expected).read_bytes()


def text_of(path: str | Path, most: int = LIST_BYTES, expected: str = "a file") -> str:
    """Return the text of a user's file, without a byte order mark.

    Raises as regular_file does, and UserError if the text is not UTF-8.
    """
    try:
        return content_of(path, most, expected).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not text in UTF-8 ({error}). Convert it, or unpack or copy it again."
        ) from None


def checksum_of(path: str | Path, most: int = TENSORS, kind: str = "sha256") -> str:
    """Return the checksum of a file, which need not fit in memory. Raises as regular_file does.

    kind: the name of the checksum in hashlib.
    """
    digest = hashlib.new(kind)
    with regular_file(path, most).open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def verify(path: str | Path, checksum: str) -> None:
    """Raise ValueError if a file has another checksum.

    checksum: a SHA-256 or SHA-384, or "" to compare nothing.
    """
    kind = "SHA-384" if len(checksum) == 96 else "SHA-256"
    actual = checksum_of(path, kind=kind.replace("-", "")) if checksum else ""
    if actual != checksum:
        raise ValueError(f"its {kind} begins with {actual[:8]}, expected {checksum[:8]}")


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Return the JSON objects in a file, one per line; blank lines are skipped.

    Raises UserError, naming the line, if one is not a JSON object.
    """
    records = []
    for number, line in enumerate(content_of(path).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
            if not isinstance(record, dict):
                raise ValueError(f"found {type(record).__name__}")
        except ValueError as error:
            raise UserError(
                f"{path}: line {number}: expected a JSON object ({error}). "
                "Correct or remove that line."
            ) from error
        records.append(record)
    return records


@contextmanager
def only_writer(file: str | Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock `file` during a block; the system releases it even if the process is killed.

    what: the file or folder that is written; its name begins the message. wait: whether to wait
    until another process releases the lock; if not, raises UserError.
    """
    from filelock import FileLock, Timeout  # loads slowly

    make_folder(Path(file).parent)
    lock = FileLock(file)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise UserError(
                f"{what}: another process is writing there. "
                "Wait until it ends, or use another name."
            ) from None
        log.info("%s: waiting for another process that is writing there.", what)
        held = lock.acquire()
    with held:
        yield
