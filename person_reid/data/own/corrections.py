"""Apply corrections of labels to a layout, from a list that tools/label_errors.py wrote.

A person has reviewed each line of the list.

The list is a CSV file with a line for each image: path (relative to the layout), identity,
proposal, new_identity, probability, and accept: yes, no, or nothing if undecided.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from person_reid.data.datasets import MARKET_NAME, KnownDataSet
from person_reid.data.layout import JUNK
from person_reid.data.own.csv_tables import read_table
from person_reid.data.readers import (
    GALLERY,
    MULTI_QUERY,
    QUERY,
    TRAIN,
    VAL,
    Picture,
    PicturesBySplit,
    by_name,
    images_below,
    pictures_of,
)
from person_reid.errors import UserError

PROPOSALS = ("move", "junk", "somebody", "merge", "split")
CORRECTION_COLUMNS = ("path", "identity", "proposal", "new_identity", "probability", "accept")
YES, NO = ("yes", "y", "true", "1", "x"), ("no", "n", "false", "0")
# train and val are made from train_all.
CHECKED_SPLITS = ("train_all", "query", "gallery", "multi-query")
ANSWER_OF_WORD = {"": None, **dict.fromkeys(YES, True), **dict.fromkeys(NO, False)}
TESTED = (QUERY, GALLERY, MULTI_QUERY)  # they show the same people


class Correction(NamedTuple):
    """One line in a list of corrections. accepted: None if undecided."""

    path: str
    identity: int
    proposal: str
    new_identity: int
    probability: str
    accepted: bool | None


def corrected(corrections: str | Path) -> KnownDataSet:
    """Return a data set to lay out anew: a layout with a file's accepted corrections applied."""
    return KnownDataSet(
        name="a corrected layout",
        source="tools/label_errors.py",
        licence="that of the data set",
        read=lambda layout: read_corrected(layout, Path(corrections)),
        distractors=True,
    )


def read_corrected(layout: Path, corrections: Path) -> PicturesBySplit:
    """Return the images of a layout with their identities corrected.

    Only the gallery keeps junk. The images of val stay in val.

    A correction of all images of a person in a test folder, or of all from one camera, also applies
    to the other test folders, except for images that the list mentions. Raises UserError for a
    folder that is not a layout, in the cases of read_list, and if nothing is accepted.
    """
    splits = by_name(
        layout,
        {folder: folder for folder in CHECKED_SPLITS if (layout / folder).is_dir()},
        MARKET_NAME,
    )
    if not splits:
        raise UserError(
            f"{layout}: expected a layout of prepare.py, with {', '.join(CHECKED_SPLITS)}."
        )
    pictures = {
        picture.source.relative_to(layout).as_posix(): picture
        for picture in pictures_of(splits)
        if isinstance(picture.source, Path)
    }
    lines = read_list(
        corrections, {place: int(picture.identity) for place, picture in pictures.items()}
    )
    accepted = [line for line in lines if line.accepted]
    if not accepted:
        raise UserError(
            f"{corrections}: no correction is accepted. "
            "Write yes into the column accept of those that are right."
        )
    new = {line.path: line.new_identity for line in accepted}
    people, listed = _renamed(accepted, new, pictures), {line.path for line in lines}
    changed: PicturesBySplit = {split: [] for split in splits}
    val = {path.name for path in images_below(layout / VAL)}
    for place, picture in pictures.items():
        folder, before = _folder(place), int(picture.identity)
        identity = new.get(place, before)
        if folder in TESTED and place not in listed:
            identity = people.get((before, picture.camera), people.get((before, None), before))
        if identity != JUNK or folder == GALLERY:
            changed[folder].append(
                picture if identity == before else replace(picture, identity=str(identity))
            )
    validated = [each for each in changed.get(TRAIN, ()) if each.source.name in val]
    return {**changed, VAL: validated} if validated else changed


def _renamed(
    accepted: Sequence[Correction], new: Mapping[str, int], pictures: Mapping[str, Picture]
) -> dict[tuple[int, str | None], int]:
    """Return {(identity, camera): new identity} for identities that are really another person.

    camera: the camera whose images show another person, or None for all cameras.

    The correction must be accepted for all their images in a test folder.
    """
    together: dict[tuple[str, int, str | None], list[str]] = defaultdict(list)
    for place, picture in pictures.items():
        for camera in (picture.camera, None):
            together[_folder(place), int(picture.identity), camera].append(place)
    found = {}
    for line in accepted:
        camera = pictures[line.path].camera if line.proposal == "split" else None
        theirs = together[_folder(line.path), line.identity, camera]
        whole = line.proposal in ("split", "merge") and _folder(line.path) in TESTED
        if whole and all(new.get(place) == line.new_identity for place in theirs):
            found[line.identity, camera] = line.new_identity
    return found


def _folder(place: str) -> str:
    """Return the folder of a layout that holds an image."""
    return place.partition("/")[0]


def read_list(file: Path, identities: Mapping[str, int]) -> list[Correction]:
    """Read a list of corrections. identities: {path: identity} of all images.

    Raises UserError, naming the line, for an image that is missing or has another identity, for an
    unknown proposal, identity or answer, and for accepted lines that contradict one another.
    """
    found: list[Correction] = []
    accepted: dict[str, int] = {}
    for line, row in read_table(file, CORRECTION_COLUMNS):
        path, identity, proposal, new, probability, accept = (
            row[column] for column in CORRECTION_COLUMNS
        )

        def refuse(what: str, line: int = line) -> UserError:
            return UserError(f"{file}, line {line}: {what}")

        if path not in identities:
            raise refuse(
                f"there is no image {path}. "
                f"Expected a path below {', '.join(CHECKED_SPLITS)} of the layout."
            )
        if identity != str(identities[path]):
            raise refuse(
                f"{path} has identity {identities[path]}, not {identity}: "
                "this list is of another layout."
            )
        if proposal not in PROPOSALS:
            raise refuse(f"proposal {proposal!r}: expected one of {', '.join(PROPOSALS)}.")
        if accept.lower() not in ANSWER_OF_WORD:
            raise refuse(f"accept {accept!r}: expected yes, no, or nothing if it is not decided.")
        wanted = str(JUNK) if proposal == "junk" else "0*[1-9][0-9]{0,8}"
        if not re.fullmatch(wanted, new, re.ASCII) or int(new) == identities[path]:
            expected = f"{JUNK}" if proposal == "junk" else "the number of another person"
            raise refuse(f"new_identity {new!r}: expected {expected}.")
        found.append(
            Correction(
                path, int(identity), proposal, int(new), probability, ANSWER_OF_WORD[accept.lower()]
            )
        )
        if found[-1].accepted and accepted.setdefault(path, int(new)) != int(new):
            raise refuse(f"{path} is to be {int(new)} here and {accepted[path]} above.")
    return found
