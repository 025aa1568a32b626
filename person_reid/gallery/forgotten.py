"""Images and tracks that were forgotten, which come back only if somebody allows it."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from person_reid.data.video.tracked_boxes import Track
from person_reid.gallery.checks import state_of
from person_reid.gallery.forgotten_keys import image_key, track_key
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index_folder import IndexFolder
from person_reid.gallery.track_records import TrackRecord
from person_reid.text import counted

log = logging.getLogger(__name__)
Thing = TypeVar("Thing")


def not_forgotten(
    index: Gallery, paths: Sequence[str | Path], allowed: bool = False
) -> list[str | Path]:
    """Return the images that were not forgotten, and remark on the others.

    allowed: all may come back.
    """
    return _left(index, paths, [_image_key(index, path) for path in paths], allowed, "image", str)


def tracks_not_forgotten(
    index: Gallery, record: TrackRecord, tracks: Sequence[Track], allowed: bool = False
) -> list[Track]:
    """Return the tracks that were not forgotten, and remark on the others; see not_forgotten."""
    keys = [track_key(record.source, str(track.number)) for track in tracks]
    return _left(index, tracks, keys, allowed, "track", lambda track: str(track.number))


def _image_key(index: Gallery, path: str | Path) -> bytes:
    """Return the key of an image, whose path below the folder of the index survives a move."""
    return image_key(IndexFolder(index.file).stored(path), state_of(path))


def _left(
    index: Gallery,
    things: Sequence[Thing],
    keys: list[bytes],
    allowed: bool,
    kind: str,
    name: Callable[[Thing], str],
) -> list[Thing]:
    """Return the things whose keys were not forgotten, or all if they are allowed."""
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
