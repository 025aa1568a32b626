"""Read a folder of images of unlabelled people, with or without known cameras."""

import logging
from hashlib import blake2b
from pathlib import Path

import numpy as np

from person_reid.data.images.image_decoding import decodable
from person_reid.data.layout import Split, found_in, list_images, not_a_folder, parse_names, some_of
from person_reid.data.readers import compiled, search_path
from person_reid.errors import UserError
from person_reid.files import content_of

log = logging.getLogger(__name__)
UNKNOWN_LABEL = -1
# Folders of prepare.py whose images are used; query and gallery are not.
LAID_OUT = ("train_all", "train")


def read_people(
    data_dir: str | Path,
    cameras: str = "names",
    pattern: str | None = None,
    skip_unreadable: bool = False,
) -> tuple[Path, Split]:
    """List the images below a folder as one class.

    If prepare.py laid the folder out, only its train_all is listed.

    cameras: where they are found. "names": in file names like Market-1501's, or by the group
        `camera` of a regular expression `pattern`, searched in the file name, then in the path.
        "folders": in the folder directly below data_dir. "none": nowhere.

    skip_unreadable: skip images that cannot be decoded, and list them.

    Identities in names and folders have no influence: the images are ordered by their content, and
    every label is -1. Unless all names are like Market-1501's, they give no cameras.

    Returns the folder of the images and the Split, with cameras numbered from 0, or -1 if unknown.
    Raises UserError for fewer than two images, for an invalid pattern, and if a name does not match
    the pattern.
    """
    root = Path(data_dir)
    folder = next((root / name for name in LAID_OUT if (root / name).is_dir()), root)
    paths = list_images(folder)
    if skip_unreadable:
        paths = decodable(paths)
    if len(paths) < 2:
        found = f"{len(paths)} image(s) in it" if folder.is_dir() else not_a_folder(folder)
        listing = f" (found {found_in(folder)})" if folder.is_dir() else ""
        raise UserError(
            f"{folder}: {found}{listing}. Expected the images of some dozens of people, "
            "at any depth."
        )
    names = _cameras(paths, folder, cameras, pattern)
    digests = [blake2b(content_of(path)).digest() for path in paths]
    order = sorted(range(len(paths)), key=lambda i: (digests[i], names[i] or ""))
    number: dict[str | None, int] = {
        name: place
        for place, name in enumerate(sorted({name for name in names if name is not None}))
    }
    numbers = np.array([number.get(names[i], UNKNOWN_LABEL) for i in order], np.int64)
    unlabelled, zeros = np.full(len(paths), UNKNOWN_LABEL, np.int64), np.zeros(len(paths), np.int64)
    return folder, Split([paths[i] for i in order], unlabelled, numbers, ["unlabelled"], zeros)


def _cameras(paths: list[Path], folder: Path, source: str, pattern: str | None) -> list[str | None]:
    """Return the camera of each image as it is written, or None if the image has no camera."""
    below = [path.relative_to(folder) for path in paths]
    if pattern is not None:
        if source != "names":
            raise UserError(
                f"cameras={source} would be ignored: pattern finds the cameras. Leave one out."
            )
        return _by_pattern(below, pattern)
    if source == "folders":
        return [path.parts[0] if len(path.parts) > 1 else None for path in below]
    if source == "names":
        cameras = parse_names(paths, [UNKNOWN_LABEL] * len(paths))[1]
        without = np.flatnonzero(cameras == UNKNOWN_LABEL)
        if not len(without):
            return [f"{camera:020}" for camera in cameras]
        if len(without) < len(paths):
            log.warning(
                "%d of %d images have no camera in their names, so cameras are ignored. "
                "--pattern says where it is. The first is %s",
                len(without),
                len(paths),
                paths[without[0]],
            )
    return [None] * len(paths)


def _by_pattern(paths: list[Path], pattern: str) -> list[str | None]:
    """Return what the pattern's group `camera` matches in each path."""
    expression = compiled(pattern)
    if "camera" not in expression.groupindex:
        raise UserError(
            rf"pattern={pattern}: expected the named group camera, such as _c(?P<camera>\d+)"
        )
    matches = [search_path(expression, path) for path in paths]
    names = [match and match["camera"] for match in matches]
    if wrong := [str(path) for path, name in zip(paths, names, strict=True) if not name]:
        raise UserError(
            f"{len(wrong)} name(s) without a match of the pattern {pattern}:\n{some_of(wrong)}"
        )
    return names
