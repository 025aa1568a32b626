"""A service's audit file: a JSON line for each change of names and each deletion of images."""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
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
        """Remove from all lines the names that are no longer in the gallery."""
        if self._file is None or not self._file.is_file():
            return
        before = self._file.read_text(encoding="utf-8")
        tidied = "".join(_without_names(line, known) for line in before.splitlines(keepends=True))
        if tidied != before:
            write_text(self._file, tidied)


def _write(file: BinaryIO, content: bytes) -> None:
    """Write all of the content, even if a nearly full disk accepts only part of it at a time."""
    while content:
        content = content[file.write(content) :]


def _line(said: dict[str, Any], room: int = 0) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode() + b" " * room + b"\n"


def _without_names(line: str, known: Collection[str]) -> str:
    """Return a line without the names that are not in `known`."""
    try:
        values: dict[str, Any] = parse_json(line)
        forgotten = {key for key in {"identity", "to"} & {*values} if values[key] not in known}
        return json.dumps(values | dict.fromkeys(forgotten), ensure_ascii=False) + "\n"
    except (AttributeError, TypeError, ValueError):  # cut short by a crash
        return line
