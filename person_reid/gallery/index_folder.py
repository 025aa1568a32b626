"""Paths as the file of an index holds them: those below its folder are relative to it.

    folder = IndexFolder(Path("/people/a.index"))
    folder.stored("/people/crops/1.jpg")                  # b"./crops/1.jpg"
    folder.path(b"./crops/1.jpg")                         # Path("/people/crops/1.jpg")

So a folder may be moved or renamed with the index in it. All other paths stay as they were given.
"""

import os
from pathlib import Path
from typing import Any

from person_reid.files import real

BELOW = b"./"  # no path of an image begins so, since Path leaves it out
KEY = "below"  # {KEY: path} stands for a path below the folder in a value of JSON


class IndexFolder:
    """The folder of the file of an index, or of what takes its place; None has no folder."""

    def __init__(self, file: Path | None) -> None:
        # how all paths in it begin; no path begins with a zero byte
        self._begin = os.fsencode(real(file).parent / "x")[:-1] if file else b"\0"

    def stored(self, path: str | Path) -> bytes:
        """Return the path of an image as the file holds it."""
        key = os.fsencode(Path(path))
        return BELOW + key.removeprefix(self._begin) if key.startswith(self._begin) else key

    def path(self, stored: bytes) -> Path:
        """Return a path that the file holds."""
        inside = stored.startswith(BELOW) and self._begin != b"\0"
        return Path(os.fsdecode(self._begin + stored.removeprefix(BELOW) if inside else stored))

    def stored_value(self, value: Any) -> Any:
        """Return a value of JSON as the file holds it."""
        if isinstance(value, dict):
            return {key: self.stored_value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.stored_value(each) for each in value]
        begin = os.fsdecode(self._begin)
        if isinstance(value, str) and value.startswith(begin):
            return {KEY: value.removeprefix(begin)}
        return value

    def value(self, stored: Any) -> Any:
        """Return a value of JSON that the file holds."""
        if isinstance(stored, dict):
            if stored.keys() == {KEY} and isinstance(stored[KEY], str):
                return os.fsdecode(self._begin) + stored[KEY]
            return {key: self.value(each) for key, each in stored.items()}
        return [self.value(each) for each in stored] if isinstance(stored, list) else stored


def relocated(value: Any, old: Path, new: Path) -> Any:
    """Return a path, or a value of JSON, whose paths below a folder were moved to another."""
    if isinstance(value, dict):
        return {key: relocated(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [relocated(each, old, new) for each in value]
    if not isinstance(value, str | Path):
        return value
    path = Path(value)
    return type(value)(new / path.relative_to(old)) if path.is_relative_to(old) else value
