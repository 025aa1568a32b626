"""Cases of hostile.py about tracks, and about files that are not regular files.

Somebody's folder may hold a pipe, a folder or an endless device under the name of a file that is
read. Track files come in the lines and digits of other programs. The records of an index may name
whatever their writer wanted. A command refuses them, or works and says the same in all that it
writes.
"""

import csv
import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.robustness.cases import Case, rewrite
from benchmarks.robustness.children import run
from benchmarks.robustness.workspace import READ, WORKING, call

GIGABYTES = 6  # memory for a command that reads from an endless device


def cases_of_tracks():
    """Return all cases of this module."""
    return [case for cases in (irregular_files, track_files, records) for case in cases()]


# ----- files that are not regular files


def irregular_files():
    """Yield a case for each file that a command reads, and each thing that may be in its place."""
    things = {"a pipe": pipe, "a link to /dev/zero": endless, "a folder": folder}
    for file, commands in READ.items():
        for command in commands:
            for title, put in things.items():
                yield Case(
                    "no regular file",
                    command,
                    WORKING[command],
                    f"{title}: {file}",
                    partial(put, file),
                    before=bounded,
                    look=partial(nothing_named, "MemoryError"),
                )


def pipe(file, workspace):
    """Put a pipe into the place of a file."""
    (workspace / file).unlink()
    os.mkfifo(workspace / file)


def endless(file, workspace):
    """Put a link to an endless device into the place of a file."""
    (workspace / file).unlink()
    (workspace / file).symlink_to("/dev/zero")


def folder(file, workspace):
    """Put a folder into the place of a file."""
    (workspace / file).unlink()
    (workspace / file).mkdir()


def bounded(workspace):
    """Let this process have a few gigabytes of memory."""
    most = GIGABYTES << 30
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def nothing_named(text, workspace, output):
    """Look for what no output should say."""
    return f"says {text}" if text in output else ""


# ----- track files


LINES = {
    "line ends of Windows": "\r\n",
    "line ends of old Macs": "\r",
    "form feeds": "\f",
    "next lines": "\x85",
    "line separators": "\u2028",
    "empty lines": "\n\n",
}
DIGITS = {
    "full-width digits": str.maketrans("0123456789", "０１２３４５６７８９"),
    "Arabic digits": str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"),
    "non-breaking blanks": str.maketrans({",": ",\u00a0"}),
    "wide blanks": str.maketrans({",": ",\u3000"}),
    "blanks": str.maketrans({",": " "}),
    "semicolons": str.maketrans({",": ";"}),
}


STRANGE = {
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "identities of 13 digits": lambda text: numbered(text, 10**12),
    "identities beyond 64 bits": lambda text: numbered(text, 2**64),
    "not numbers": lambda text: text.replace(",0.9,", ",nan,").encode(),
    "endless numbers": lambda text: text.replace(",0.9,", ",inf,").encode(),
    "frames far away": lambda text: f"{text}{10**17},7,1,1,10,24,0.9,-1,-1,-1\n".encode(),
    "frames before the first": lambda text: f"-3,7,1,1,10,24,0.9,-1,-1,-1\n{text}".encode(),
}


def track_files():
    """Yield a case for each way to write the same tracks."""
    changes: dict[str, Callable] = {title: partial(with_ends, end) for title, end in LINES.items()}
    changes |= {title: partial(translated, digits) for title, digits in DIGITS.items()}
    changes |= STRANGE
    command = "search index --tracks"
    for title, change in changes.items():
        yield Case(
            "track file written otherwise",
            command,
            WORKING[command],
            title,
            partial(rewrite, "hall.txt", change),
            look=linked_alike,
        )


def with_ends(end, text):
    """Return tracks whose lines end otherwise."""
    return text.replace("\n", end).encode()


def translated(table, text):
    """Return tracks with other characters."""
    return text.translate(table).encode()


def numbered(text, first):
    """Return tracks whose identities are counted from a large number."""
    lines = (line.split(",", 2) for line in text.splitlines())
    return "".join(f"{frame},{first + int(who)},{rest}\n" for frame, who, rest in lines).encode()


def linked_alike(workspace, output):
    """Compare the identities in the track file that across.py writes with those of people.csv."""
    if "error: " in output:
        return "left an index" if (workspace / "new.index").exists() else ""
    words = ["--index", "new.index", "--save", "linked"]
    outcome = run(partial(call, "across", words), workspace, 60)
    if outcome.status != 0:
        return f"across says {outcome.output[-500:]}"
    rows = list(csv.DictReader((workspace / "linked" / "people.csv").read_text().splitlines()))
    told = {row["person"] for row in rows}
    (written,) = (path for path in (workspace / "linked").glob("*.txt"))
    found = {line.split(",")[1] for line in written.read_text().splitlines() if line}
    return "" if len(told) == len(found) else f"people.csv has {told}, the track file {found}"


# ----- records of tracks in an index of somebody else


VALUES = ["", "../precious/thesis", "/etc/passwd", "..", "a\nb", "\u202e", "NaN", "9" * 26]
OTHERS: list[object] = [
    0,
    -1,
    1e308,
    float("nan"),
    True,
    None,
    [],
    {},
    "2026-13-45",
    "9999-12-31T23:59:59",
]


def records():
    """Yield a case for each value of the record of a track file, and each that may be there."""
    fields = ("source", "path", "frames", "camera", "start", "fps")
    for field in fields:
        for value in (*VALUES, *OTHERS):
            yield Case(
                "record of somebody else",
                "across",
                WORKING["across"],
                f"{field}: {value!r}"[:60],
                partial(recorded_as, field, value),
                look=nothing_outside,
            )


def recorded_as(field, value, workspace):
    """Change a field of the first record of tracks."""
    with sqlite3.connect(workspace / "tracks.index") as index:
        records = index.execute("SELECT key, value FROM about WHERE key LIKE 'tracks %'").fetchall()
        key, text = records[0]
        changed = json.dumps(json.loads(text) | {field: value})
        index.execute("UPDATE about SET value = ? WHERE key = ?", (changed, key))
    index.close()
    shutil.copytree(workspace, workspace.parent / "before", symlinks=True)


def nothing_outside(workspace, output):
    """Compare everything but the folder that across.py writes with what was there."""
    before = workspace.parent / "before"
    mine = {"linked", "linked.png"}
    changed = [
        path.relative_to(workspace).as_posix()
        for path in workspace.rglob("*")
        if path.is_file() and path.relative_to(workspace).parts[0] not in mine
        if not is_same(path, before / path.relative_to(workspace))
    ]
    changed += [path.name for path in workspace.parent.iterdir() if path not in (workspace, before)]
    return f"wrote {changed[:5]}" if changed else ""


def is_same(path: Path, before: Path):
    """Return whether a file is what it was; databases may touch theirs."""
    if path.name.startswith("tracks.index"):
        return True
    return before.is_file() and path.read_bytes() == before.read_bytes()
