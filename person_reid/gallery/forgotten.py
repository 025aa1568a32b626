"""Images and tracks that were forgotten, which come back only if somebody allows it."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from person_reid.data.video.tracked_boxes import Track
from person_reid.gallery.checks import state_of
from person_reid.gallery.forgotten_keys import image_key, track_key
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.moved_folder import beside
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
    return _left(index, paths, [_image_keys(index, path) for path in paths], allowed, "image", str)


def tracks_not_forgotten(
    index: Gallery, record: TrackRecord, tracks: Sequence[Track], allowed: bool = False
) -> list[Track]:
    """Return the tracks that were not forgotten, and remark on the others; see not_forgotten."""
    keys = [{track_key(record.source, str(track.number))} for track in tracks]
    return _left(index, tracks, keys, allowed, "track", lambda track: str(track.number))


def _image_keys(index: Gallery, path: str | Path) -> set[bytes]:
    """Return the keys of an image: below the folder of the index, and as earlier versions did."""
    place, state = os.fsencode(Path(path)), state_of(path)
    return {image_key(each, state) for each in (place, beside(index.file, place))}


def _left(
    index: Gallery,
    things: Sequence[Thing],
    keys: list[set[bytes]],
    allowed: bool,
    kind: str,
    name: Callable[[Thing], str],
) -> list[Thing]:
    """Return the things whose keys were not forgotten, or all if they are allowed."""
    known = index.forgotten(sorted(set().union(*keys)))
    if known and allowed:
        index.allow([*known])
    if allowed or not known:
        return list(things)
    out = [thing for thing, each in zip(things, keys, strict=True) if each & known]
    log.warning(
        "%s: forgotten once, and not added again: %s, such as %s. --allow_forgotten adds them.",
        index.path,
        counted(len(out), kind),
        name(out[0]),
    )
    return [thing for thing, each in zip(things, keys, strict=True) if not each & known]
