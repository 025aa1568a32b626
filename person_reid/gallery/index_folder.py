"""Paths in an index file: paths below its folder are stored relative to that folder.

    folder = IndexFolder(Path("/people/a.index"))
    folder.stored("/people/crops/1.jpg")                  # b"./crops/1.jpg"
    folder.path(b"./crops/1.jpg")                         # Path("/people/crops/1.jpg")

The folder can therefore be moved or renamed with the index in it. All other paths are stored as
given. Crops of tracks and uploads are stored beside the file, and are deleted with their rows.
"""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from person_reid.data.video.crops import CROP_NAME
from person_reid.files import is_file_name, real, write_text
from person_reid.text import counted

log = logging.getLogger(__name__)
BELOW = b"./"  # no image's path begins like this, because Path drops it
KEY = "below"  # {KEY: path} stands for a path below the folder in a JSON value
OWNER = ".owner"  # a file in the folder beside an index that names the gallery it belongs to
UPLOAD_NAME = re.compile(r"[0-9a-f]{64}\.png")  # an image that a client sent to the service


class IndexFolder:
    """The folder of an index file; a gallery without a file has no such folder."""

    def __init__(self, file: Path | None) -> None:
        # the prefix of all paths in the folder; no path begins with a zero byte
        self._begin = os.fsencode(real(file).parent / "x")[:-1] if file else b"\0"

    def stored(self, path: str | Path) -> bytes:
        """Return the path of an image as the file stores it."""
        key = os.fsencode(Path(path))
        return BELOW + key.removeprefix(self._begin) if key.startswith(self._begin) else key

    def path(self, stored: bytes) -> Path:
        """Return the path of an image from its stored form."""
        inside = stored.startswith(BELOW) and self._begin != b"\0"
        return Path(os.fsdecode(self._begin + stored.removeprefix(BELOW) if inside else stored))

    def stored_values(self, values: Iterable[Any]) -> list[Any]:
        """Return the values of a filter's SQL condition, with paths as the file stores them."""
        return [self.stored(os.fsdecode(v)) if isinstance(v, bytes) else v for v in values]

    def stored_value(self, value: Any) -> Any:
        """Return a JSON value as the file stores it."""
        if isinstance(value, dict):
            return {key: self.stored_value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.stored_value(each) for each in value]
        begin = os.fsdecode(self._begin)
        if isinstance(value, str) and value.startswith(begin):
            return {KEY: value.removeprefix(begin)}
        return value

    def value(self, stored: Any) -> Any:
        """Return a JSON value from its stored form."""
        if isinstance(stored, dict):
            if stored.keys() == {KEY} and isinstance(stored[KEY], str):
                return os.fsdecode(self._begin) + stored[KEY]
            return {key: self.value(each) for key, each in stored.items()}
        return [self.value(each) for each in stored] if isinstance(stored, list) else stored


def relocated(value: Any, old: Path, new: Path) -> Any:
    """Return a path or JSON value, with paths below `old` changed to paths below `new`."""
    if isinstance(value, dict):
        return {key: relocated(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [relocated(each, old, new) for each in value]
    if not isinstance(value, str | Path):
        return value
    path = Path(value)
    return type(value)(new / path.relative_to(old)) if path.is_relative_to(old) else value


def folder_beside(index: str | Path, source: str) -> Path:
    """Return the folder beside an index file for the images from a source."""
    return real(index).with_suffix(".crops") / source


def is_owner(index: Path, owner: str) -> bool:
    """Return whether the folder beside an index belongs to `owner`; a new folder becomes its own.

    Several databases, such as a copy for a trial, may be given the same folder.
    """
    mark = folder_beside(index, OWNER)
    if not mark.exists():
        write_text(mark, owner)
    return mark.read_text("utf-8") == owner


def delete_crops(images: Iterable[tuple[Path, str]], index: Path | None, owner: str) -> None:
    """Delete the images that are crops or uploads in the folder beside an index.

    Such images in other folders are kept, and the log lists these folders: a folder named by a
    record may belong to another user.

    images: (path, source) pairs. index: the file of the index; None for a gallery on a server.
    owner: the owner of the folder beside the index; see is_owner.
    """
    cut: dict[Path, set[str]] = defaultdict(set)
    left = Counter[Path]()
    for path, source in images:
        own = CROP_NAME.fullmatch(path.name) or UPLOAD_NAME.fullmatch(path.name)
        if not own or not path.is_file():
            continue
        beside = index and is_file_name(source) and path.parent == folder_beside(index, source)
        if index and beside and is_owner(index, owner):
            cut[path.parent].add(path.name)
        else:
            left[path.parent] += 1
    for folder, names in cut.items():
        for name in names:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    for folder, count in left.items():
        log.warning("%s: %s of what is forgotten stay there.", folder, counted(count, "image"))
