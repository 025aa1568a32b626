"""Checks of features and files, shared by all galleries."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from person_reid.arrays import as_float32, flaw, whole_number
from person_reid.errors import UserError
from person_reid.gallery.metadata import UNKNOWN_ABOUT, About, stored_facts
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.text import counted

log = logging.getLogger(__name__)
SAME_PICTURE = 0.999  # least cosine between two features of one picture by one network


def checked_features(
    features: npt.NDArray[Any],
    width: int | None,
    place: str | Path,
    paths: Sequence[object] | None = None,
) -> Features:
    """Return features (N, D) at unit length, as a gallery stores them.

    width: D of the gallery's features, None if the gallery is empty. paths: the N images to add;
    None for queries.
    Raises UserError if the gallery cannot compare the features with its own, or if the numbers of
    features and paths differ.
    """
    what = "queries" if paths is None else "not added"
    features = as_float32(features, f"{place}: {what}")
    if features.ndim != 2:
        raise UserError(
            f"{place}: {what}: features of shape {features.shape}; expected (images, dimension)."
        )
    if width not in (None, features.shape[1]):
        raise UserError(
            f"{place}: holds features of width {width}, not {features.shape[1]}: "
            "they are from another network."
        )
    if paths is not None and len(paths) != len(features):
        raise UserError(
            f"{place}: not added: {len(features)} features for {len(paths)} paths; "
            "expected one each."
        )
    if found := flaw(features, lambda i: f"query {i}" if paths is None else str(paths[i])):
        raise UserError(
            f"{place}: {what}: {found}. Check the network's weights; "
            "a box of zero area has no feature."
        )
    return unit_rows(features)


def checked_paths(paths: Iterable[str | Path], place: str | Path) -> list[str | Path]:
    """Return the paths of images as a list.

    Raises UserError for anything else, such as a single string.
    """
    if not isinstance(paths, Iterable) or isinstance(paths, str | bytes | Mapping):
        raise UserError(f"{place}: expected a list of paths, found {paths!r:.60}.")
    listed = list(paths)
    for path in listed:
        if not isinstance(path, str | os.PathLike):
            raise UserError(f"{place}: expected the path of an image, found {path!r:.60}.")
    return listed


def known_of(abouts: Mapping[Any, About], paths: Iterable[str | Path]) -> list[About]:
    """Return the facts about each image, in stored form.

    abouts: {path: facts} for some of the images; a path is a string or a Path.
    """
    if not abouts:
        return [UNKNOWN_ABOUT for _ in paths]
    found = []
    for path in paths:
        about = abouts.get(path) or abouts.get(str(path)) or abouts.get(Path(path), UNKNOWN_ABOUT)
        found.append(stored_facts(about))
    return found


def check_count(k: int) -> None:
    """Raise UserError unless `k`, the number of answers, is a positive integer."""
    if whole_number(k, "k") < 1:
        raise UserError(f"k {k}: expected 1 or more.")


def check_version(place: str | Path, version: int, known: int) -> None:
    """Raise UserError for a gallery written by a later version of this program."""
    if version > known:
        raise UserError(
            f"{place}: of version {version}; this program knows versions up to {known}. "
            "Update the clone, and install it again: python -m pip install ."
        )


def are_different(pair: Features) -> bool:
    """Return whether two features (2, D) from one network come from different pictures."""
    first, second = unit_rows(pair)
    return bool(first @ second < SAME_PICTURE)


def log_stripped(place: str | Path, count: int) -> None:
    """Log how many images lost their identity and track, if any did."""
    if count > 0:
        log.warning(
            "%s: another picture than before in %s; the old identity and track are dropped.",
            place,
            counted(count, "file"),
        )


def state_of(path: str | Path) -> str:
    """Return a file's size and modification time, or "" if it is missing."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # ValueError: the name contains a zero byte
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
