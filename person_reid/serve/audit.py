"""A service's audit file: a JSON line for each change of names and each deletion of images."""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from person_reid.config.times import stored
from person_reid.files import write_text
from person_reid.text import parse_json

ROOM = 64  # bytes for details that are known only after a change


class Audit:
    """The audit file, if any. Only one thread may use it."""

    def __init__(self, file: str | Path | None) -> None:
        self._file = Path(file) if file else None

    @contextmanager
    def line(self, who: str, action: str, **details: Any) -> Iterator[dict[str, Any]]:
        """Write a line about the change that a block makes; the block can add details to the line.

        The line is written before the block runs, so that a full disk prevents the change, and
        completed afterwards. A kill in between leaves the line without these details; a failed
        block leaves no line, and neither does a change whose identity is None, which names nobody.
        """
        said = {"time": stored(datetime.now()), "token": who, "action": action, **details}
        if self._file is None or said.get("identity", "") is None:
            yield said
            return
        self._file.touch()
        with self._file.open("r+b", buffering=0) as file:
            start = file.seek(0, os.SEEK_END)
            try:
                _write(file, _line(said, ROOM))
                yield said
            except BaseException:
                file.truncate(start)
                raise
            file.seek(start)
            _write(file, _line(said))
            file.truncate()
            os.fsync(file.fileno())

    def forget_names(self, known: Collection[str]) -> None:
        """Remove from all lines the names that are no longer in the gallery.

        A name that was changed to one that is there belongs to nobody who was forgotten.
        """
        if self._file is None or not self._file.is_file():
            return
        before = self._file.read_text(encoding="utf-8", errors="replace")
        lines, names = before.splitlines(keepends=True), {*known}
        for change in map(_values, reversed(lines)):
            if change.get("action") == "rename" and change.get("to") in names:
                names.add(str(change.get("identity")))
        tidied = "".join(_without_names(line, names) for line in lines)
        if tidied != before:
            write_text(self._file, tidied)


def _write(file: BinaryIO, content: bytes) -> None:
    """Write all of the content, even if a nearly full disk accepts only part of it at a time."""
    while content:
        content = content[file.write(content) :]


def _line(said: dict[str, Any], room: int = 0) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode() + b" " * room + b"\n"


def _values(line: str) -> dict[str, Any]:
    """Return the values in a line, or {} for a line that a crash cut short."""
    with suppress(ValueError):
        if isinstance(values := parse_json(line), dict):
            return values
    return {}


def _without_names(line: str, known: Collection[str]) -> str:
    """Return a line without the names that are not in `known`."""
    values = _values(line)
    gone = {key for key in {"identity", "to"} & {*values} if values[key] not in known}
    return json.dumps(values | dict.fromkeys(gone), ensure_ascii=False) + "\n" if values else line
