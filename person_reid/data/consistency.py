"""Check what a person's own folder or list says of images: one identity, camera and split for each."""

import logging
import re
from dataclasses import replace
from pathlib import Path

from person_reid.basics import UserError, counted
from person_reid.data.images import SUFFIXES, is_readable
from person_reid.data.layout import some_of
from person_reid.data.readers import TRAIN, Picture, Source, Splits, group
from person_reid.progress import progress

log = logging.getLogger(__name__)
UNKNOWN = "unknown"  # an identity or a camera


def checked(splits: Splits, source: str | Path) -> Splits:
    """Return pictures of readable files, of one identity, camera and split each, with numbers spelled alike.

    Identities called unknown, as animal data sets have them, are junk; cameras called so are not known. The log says
    so, and if only some images have a camera. Raises UserError in the cases of once, and for files that are not images.
    source: the folder or list, for messages.
    """

    def known(picture: Picture) -> Picture:
        identity = "-1" if picture.identity.casefold() == UNKNOWN else picture.identity
        camera = None if (picture.camera or UNKNOWN).casefold() == UNKNOWN else picture.camera
        return replace(picture, identity=identity, camera=camera)

    pictures = [picture for found in splits.values() for picture in found]
    if count := sum(picture.identity.casefold() == UNKNOWN for picture in pictures):
        log.warning("%s: %s of identity unknown, taken for junk (-1).", source, counted(count, "image"))
    splits = {split: list(map(known, found)) for split, found in splits.items()}
    without = sum(picture.camera is None for found in splits.values() for picture in found)
    if 0 < without < len(pictures):
        log.warning(
            "%s: no camera for %d of %d images. Each of these counts as taken by a camera of its own, so a "
            "query may find an image that the same camera took.",
            source, without, len(pictures),
        )  # fmt: skip
    _check_readable(splits, source)
    return once(spelled_alike(splits), source)


def once(splits: Splits, source: str | Path) -> Splits:
    """Return the splits with each file under one path, the first, and once in a split.

    Links, and paths that are spelled in two ways, lead to the same file. Query and gallery may both hold it: there it
    is junk for itself. Raises UserError that lists the files with several identities or cameras, and those that are
    both for training and for testing.
    """
    pairs = [(split, picture) for split, found in splits.items() for picture in found]
    files = group(pairs, lambda pair: _file_number(pair[1].source))
    wrong = []
    for same in files.values():
        values = (
            {picture.identity for _, picture in same},
            {f"camera {picture.camera or 'not known'}" for _, picture in same},
            {split for split, _ in same if len({each == TRAIN for each, _ in same}) > 1},
        )
        spellings = dict.fromkeys(str(picture.source) for _, picture in same)
        wrong += [f"{' = '.join(spellings)}: {', '.join(sorted(found))}" for found in values if len(found) > 1]
    if wrong:
        raise UserError(
            f"{source}: expected one identity, one camera, and either training or test for each image file; "
            f"found more in {len(wrong)} case(s):\n{some_of(sorted(wrong))}"
        )
    first = {number: same[0][1].source for number, same in files.items()}
    kept: Splits = {split: [] for split in splits}
    for split, picture in dict.fromkeys(
        (split, replace(picture, source=first[_file_number(picture.source)])) for split, picture in pairs
    ):
        kept[split].append(picture)
    if repeated := len(pairs) - sum(map(len, kept.values())):
        log.warning("%s: %s listed again, under the same path or another, and taken once.",
                    source, counted(repeated, "image"))  # fmt: skip
    return kept


def _file_number(source: Source) -> tuple[int, int]:
    """Return what identifies a file on this machine, whatever path or link leads to it."""
    assert isinstance(source, Path)
    status = source.stat()
    return status.st_dev, status.st_ino


def spelled_alike(splits: Splits) -> Splits:
    """Write every number among the identities and cameras in one way: 7, 07 and 0007 become 7, the shortest of them.

    The layout compares numbers, and what is drawn compares texts. A number that is always written alike stays as it is,
    so that the same seed draws the same people.
    """
    pictures = [picture for found in splits.values() for picture in found]
    identities = _shortest({picture.identity for picture in pictures})
    cameras = _shortest({picture.camera for picture in pictures if picture.camera is not None})

    def alike(picture: Picture) -> Picture:
        camera = None if picture.camera is None else cameras[picture.camera]
        return replace(picture, identity=identities[picture.identity], camera=camera)

    return {split: list(map(alike, found)) for split, found in splits.items()}


def _shortest(labels: set[str]) -> dict[str, str]:
    """Return {label: the shortest that is the same number}, and itself if it is not one."""
    spellings = group(labels, lambda label: (label.lstrip("0") or "0") if re.fullmatch("[0-9]+", label) else label)
    return {label: min(same, key=len) for same in spellings.values() for label in same}


def _check_readable(splits: Splits, source: str | Path) -> None:
    """Raise a UserError that lists the files of a data set that are not images."""
    paths = sorted(
        {picture.source for found in splits.values() for picture in found if isinstance(picture.source, Path)}
    )
    wrong = [str(path) for path in progress(paths, desc="looking at images", unit=" images") if not is_readable(path)]
    if wrong:
        raise UserError(
            f"{source}: {len(wrong)} of {len(paths)} files are not images, or not of a kind that is read "
            f"({', '.join(sorted(SUFFIXES))}). Convert or leave them out, then run again:\n{some_of(wrong)}"
        )
