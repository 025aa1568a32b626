"""The images beside an index that go with what it holds of them: cut from tracks, or uploaded."""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from person_reid.data.video.crops import CROP_NAME
from person_reid.files import is_file_name, real
from person_reid.text import counted

UPLOAD_NAME = re.compile(r"[0-9a-f]{64}\.png")  # an image that the service was sent
log = logging.getLogger(__name__)


def folder_beside(index: str | Path, source: str) -> Path:
    """Return the folder for the images of a source beside the file of an index."""
    return real(index).with_suffix(".crops") / source


def delete_crops(images: Iterable[tuple[Path, str]], index: Path | None) -> None:
    """Delete those of some images that were cut, or uploaded, into the folder beside an index.

    A remark names other folders with such images, which stay. A folder that a record names
    is not deleted on its word alone: it may be another user's.

    images: (path, source). index: the file of the index; None for a server.
    """
    left = Counter[Path]()
    for path, source in images:
        own = CROP_NAME.fullmatch(path.name) or UPLOAD_NAME.fullmatch(path.name)
        if not own or not path.is_file():
            continue
        if index and is_file_name(source) and path.parent == folder_beside(index, source):
            path.unlink()
            with suppress(OSError):  # others are in it
                path.parent.rmdir()
        else:
            left[path.parent] += 1
    for folder, count in left.items():
        log.warning("%s: %s of what is forgotten stay there.", folder, counted(count, "image"))
