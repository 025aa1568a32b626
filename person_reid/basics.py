"""Messages and safe file writes, used by the whole package."""

import csv
import difflib
import errno
import glob
import html
import json
import logging
import os
import re
import secrets
import shlex
import shutil
import stat
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, TypeVar


class UserError(Exception):
    """An error the user can fix.

    The message says what was found, what was expected and what to do.
    """


class LostProcessError(UserError):
    """Another process of the run has ended; this one may be the only one left to say so."""


log = logging.getLogger(__name__)
# bounds of a setting; float32 can still compute with them
SMALLEST, LARGEST = 1e-12, 10**9
# of ImageNet's pixels, RGB, for values in [0, 1]: what networks of images are normalised with
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
ABANDONED = 60  # seconds without a change after which nobody is writing a partial file any more
Item = TypeVar("Item")
Result = TypeVar("Result")
# Characters that a terminal would obey instead of showing: controls, those that turn the direction
# of writing, and the halves that stand for bytes of a file name that are not UTF-8.
COLOR = re.compile(r"\x1b\[[0-9;]*m")
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def importable() -> dict[str, str]:
    """Return {"PYTHONPATH": …} that lets another process import this
    very package, installed or not.
    """
    package = str(Path(__file__).resolve().parent.parent)
    # python -E, python -I
    further = None if sys.flags.ignore_environment else os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [package, further]))}


def describe(error: BaseException) -> str:
    """Return the message of an exception as a person would put it: `disk.mat: No space left on
    device`.

    An error while writing to an open file does not say which file; either the folder's disk or the
    temporary one is full.
    """
    if isinstance(error, OSError) and error.strerror:
        places = (
            [str(Path.cwd()), *filter(None, [tempfile.tempdir])] if error.errno in DISK_FULL else []
        )
        named = error.filename or " or ".join(map(str, places))
        return f"{named}: {error.strerror}" if named else error.strerror
    return str(error)


def first_line(error: BaseException, most: int = 200) -> str:
    """Return the first line of an exception's message, or the name of its class if it has none.

    Codes that color a terminal are left out.
    """
    text = COLOR.sub("", describe(error)).strip()
    return (text.splitlines() or [type(error).__name__])[0][:most]


def printable(text: object) -> str:
    """Return text, such as a file's name, that any terminal, figure or page can show,
    with U+FFFD for what cannot be shown.
    """
    return UNSEEN.sub("\ufffd", str(text))


def in_markdown(text: str) -> str:
    """Return text on one line, without HTML and without the bars that end a cell of a table."""
    line = printable(" ".join(text.split()))
    return html.escape(line, quote=False).replace("|", "&#124;")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(in_markdown, cells))} |\n" for cells in lines)


def counted(number: int, noun: str, several: str = "") -> str:
    """Return `1 epoch` or `20 epochs`; `1 person` or `20 people` if `several` is "people"."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def computable(number: float) -> bool:
    """Return whether a setting is 0, or a number with which float32 does not
    overflow or round to 0 at once.
    """
    return number == 0 or SMALLEST <= abs(number) <= LARGEST


def quoted(path: str | Path) -> str:
    """Return a path as one types it on a command line: in quotation marks if it needs them."""
    if os.name != "nt":
        return shlex.quote(str(path))
    from subprocess import list2cmdline

    return list2cmdline([str(path)])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'resnet50'?` with the name in `known` closest to
    `name`, or "" if none is close.
    """
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def with_ending(path: str | Path, ending: str, *known: str) -> Path:
    """Return `path` with `ending` instead of one of the `known` ones, or else after its whole name.

    Unlike Path.with_suffix, it keeps the rest of a name such as osnet_x0.25. Raises
    IsADirectoryError for a path without a name, such as `.` or `/`.
    """
    path = Path(path)
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, "a folder; expected the name of a file", str(path))
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in known else path.name
    return path.with_name(name + ending)


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield work(item) for each item, in order, while the pool already works on the next `ahead`
    items.

    Items whose work has not begun when the caller stops are dropped.
    """
    left = iter(items)
    running = deque(pool.submit(work, item) for item in islice(left, ahead))
    try:
        while running:
            done = running.popleft().result()
            running.extend(pool.submit(work, item) for item in islice(left, 1))
            yield done
    finally:
        for future in running:
            future.cancel()


def real(path: str | Path) -> Path:
    """Return the absolute path without links and `..`, by which two paths are compared.

    The system does not find `none/../thesis` unless there is a folder `none`. That does not mean
    that the place is free.

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
    """Raise NotADirectoryError, which names it, if a file stands where a folder is needed.

    It writes nothing, so it can be called before the work. make_folder calls it, and so do the
    commands whose folder is made only after images have been decoded or drawn.
    """
    there = next(path for path in (Path(folder), *Path(folder).parents) if os.path.lexists(path))
    if not there.is_dir():
        found = "a link to nothing" if there.is_symlink() and not there.exists() else "a file"
        problem = f"{found}; expected a folder. Move it, or choose another name"
        raise NotADirectoryError(errno.ENOTDIR, problem, str(there))


def make_folder(folder: str | Path) -> None:
    """Make a folder and its parents. Raises as check_way does."""
    check_way(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` once it is written and on the disk.

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
    # threads share the number of their process, and containers have the same ones
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
    """Remove the partial files that nobody has written to for ABANDONED seconds."""
    for file in files:
        with suppress(OSError):  # gone already; on Windows a file in use cannot be removed
            if time.time() - file.stat().st_mtime > ABANDONED:
                file.unlink()


@contextmanager
def whole_folder(path: str | Path, mark: str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; move it to `path` once it is complete, in place of an
    older one.

    mark: a file that only such folders hold, and that lists the others; `path` is replaced only if
        it has one and no further files, or is empty.

    Raises UserError, before anything is written, if `path` is another folder or a file, and
    OSError, naming `path`, on a full disk. Two processes must not write one folder at once.
    """
    place = real(path)
    temporary, older = (place.with_name(f".{place.name}.{what}") for what in ("partial", "older"))
    if older.exists() and not place.exists():  # a process was killed between the two renames below
        older.rename(place)
    check_folder(path, mark)
    for left_behind in (temporary, older):
        shutil.rmtree(left_behind, ignore_errors=True)
    make_folder(temporary)
    try:
        yield temporary
        (temporary / mark).write_text("\n".join(_files_in(temporary)), encoding="utf-8")
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
    """Raise UserError if whole_folder could not replace what is at `path`. Call it first."""
    place = real(path)
    check_way(place.parent)
    own = (place / mark).is_file()
    if Path.cwd().is_relative_to(place) and (own or not any(place.iterdir())):
        # which would move
        raise UserError(f"{path}: the folder you are in, or one above it. Choose another name.")
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not own:
        raise UserError(
            f"{path}: exists, and was not written by this command. "
            "Remove it, or choose another name."
        )
    written = {mark, *(place / mark).read_text(encoding="utf-8").splitlines()}
    further = (
        [] if written == {mark} else [name for name in _files_in(place) if name not in written]
    )
    if further:  # the mark of an earlier version lists nothing
        raise UserError(
            f"{path}: holds {further[0]}, which this command did not "
            "write. Move it elsewhere first."
        )


def _files_in(folder: Path) -> list[str]:
    """Return the files below a folder, as paths in it, without hidden ones such as a file
    manager's.
    """
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(folder).as_posix() for path in files)


def set_aside(path: Path) -> Path:
    """Rename a file that must not be lost, list.csv to list.previous.csv, .previous2.csv and so on.
    Return the new name.
    """
    names = (
        path.with_suffix(f".previous{number}{path.suffix}") for number in chain([""], count(2))
    )
    return path.rename(next(name for name in names if not name.exists()))


def check_target(path: str | Path) -> None:
    """Raise OSError, naming `path`, if atomic_write could not write there. Call it first."""
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
    """Return the real path, or a device or pipe as it is named.

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
    """Write a file in UTF-8, whole or not at all; names of files in it keep their bytes."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def write_json(path: str | Path, content: object) -> None:
    """Write `content` to a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_csv(path: str | Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file, whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)


def content_of(path: str | Path) -> bytes:
    """Return what a file holds.

    Raises OSError, or UserError for a device such as /dev/full, which never ends.
    """
    if stat.S_ISCHR(Path(path).stat().st_mode):
        raise UserError(f"{path}: a device; expected a file.")
    return Path(path).read_bytes()


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text says.

    Raises ValueError if it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file, one a line; blank lines are skipped.

    Raises UserError, naming the line, if one is anything else.
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
                f"{path}: line {number}: expected a JSON object "
                f"({error}). Correct or remove that line."
            ) from error
        records.append(record)
    return records


@contextmanager
def only_writer(file: str | Path, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock `file` during a block; the system releases it even if the process is killed.

    what: what is written, to open the message. wait: until another process has ended. Without it,
    raises UserError if another process holds the lock.
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
