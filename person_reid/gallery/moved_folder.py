"""Paths in an index whose folder was moved, or renamed, with the images in it.

    moved = MovedFolder(Path("/old"), Path("/new"))
    moved.now("/old/crops/1.jpg")                         # "/new/crops/1.jpg"
    moved.stored(b"/new/crops/1.jpg")                     # b"/old/crops/1.jpg"

An index remembers the folder that it is in. If it is opened in another one, and its images went
with it, all its paths below the old folder are read as paths below the new one. The first addition
or change writes them anew.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from person_reid.files import real


@dataclass(frozen=True)
class MovedFolder:
    """A folder, or a file, that was called `old` and is called `new` now."""

    old: Path
    new: Path

    def now(self, text: str) -> str:
        """Return a path as it is now; every other text stays as it is."""
        inside = Path(text).is_absolute() and Path(text).is_relative_to(self.old)
        return str(self.new / Path(text).relative_to(self.old)) if inside else text

    def now_of(self, path: bytes) -> bytes:
        """Return the stored path of an image as it is now."""
        return _exchanged(path, self.old, self.new)

    def stored(self, path: bytes) -> bytes:
        """Return the stored path of an image; b"" for one where no image is any more."""
        if path.startswith(_inside(self.new)):
            return _exchanged(path, self.new, self.old)
        return b"" if path.startswith(_inside(self.old)) else path


def _exchanged(path: bytes, before: Path, after: Path) -> bytes:
    start = _inside(before)
    return _inside(after) + path.removeprefix(start) if path.startswith(start) else path


def _inside(folder: Path) -> bytes:
    """Return how all paths below a folder begin."""
    return os.fsencode(folder / "x")[:-1]


def ends_below(folder: Path) -> tuple[bytes, bytes]:
    """Return the ends of the paths below a folder: from the first on, and before the second."""
    start = _inside(folder)
    return start, start[:-1] + bytes([start[-1] + 1])


def beside(file: Path | None, path: bytes) -> bytes:
    """Return a path below the folder of an index without that folder; it survives a move."""
    start = _inside(real(file).parent) if file else b""
    return b"./" + path.removeprefix(start) if start and path.startswith(start) else path


def moved_value(value: Any, moved: Callable[[str], str]) -> Any:
    """Return a remembered value of JSON with the paths that a function says.

    The record of a track file keeps where it was first: its source depends on that.
    """
    if isinstance(value, list):
        return [moved_value(each, moved) for each in value]
    if not isinstance(value, dict):
        return moved(value) if isinstance(value, str) else value
    new = {key: moved_value(each, moved) for key, each in value.items()}
    if new != value and {"source", "path", "frames"} <= {*value}:
        new["indexed_at"] = value.get("indexed_at") or [value["path"], value["frames"]]
    return new
