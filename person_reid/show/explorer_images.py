"""The images in an explorer: facts from a result or a gallery, and small copies.

The copies are tiles of a few large JPEG files, 0.jpg, 1.jpg and so on.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from person_reid.data.images.image_decoding import decode
from person_reid.data.images.image_files import Pixels, load_image
from person_reid.data.layout import JUNK
from person_reid.data.own.labels import NUMBERS, Words
from person_reid.errors import UserError, describe_error
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.similarity import Features, unit_rows
from person_reid.show.ranking import Folder, find_image, paths_of, words_behind
from person_reid.show.sheet import UNREADABLE_GREY

JUNK_NAME, NO_NAME = "junk", ""
TILE = (112, 56)  # height and width in pixels
SPRITE_COLUMNS, SPRITE_ROWS = 10, 10  # tiles per file
QUALITY = 75


@dataclass(frozen=True)
class ExplorerImages:
    """N images, the queries first.

    features: (N, D). paths: N file names. people, cameras: N names; NO_NAME if nothing is known.
    queries: how many of them are queries; if there are none, any image can be a query. listed: N
    names for a list that other commands read; by default, short_paths. commands: terminal commands
    that search these images with another picture. further: for each of the N images, {column:
    value} for its further columns, if known. words: the names for the numbers of people and
    cameras.
    """

    features: Features
    paths: Sequence[str]
    people: Sequence[str]
    cameras: Sequence[str]
    queries: int = 0
    listed: Sequence[str] = ()
    commands: Sequence[str] = ()
    further: Sequence[Mapping[str, str]] = ()
    words: Words = NUMBERS

    @property
    def short_paths(self) -> list[str]:
        """Return `split/identity/name` for each image."""
        return ["/".join(PurePosixPath(path).parts[-3:]) for path in self.paths]


def images_of(
    query: FeatureSet | None, gallery: FeatureSet, test_dir: Folder = None
) -> ExplorerImages:
    """Return the images in a result, or in a gallery alone.

    Raises UserError for a result that does not name its images.
    """
    sets = [(name, images) for name, images in (("query", query), ("gallery", gallery)) if images]
    paths = [path for name, images in sets for path in paths_of(images, name, test_dir)]
    words = words_behind(gallery, test_dir)
    return ExplorerImages(
        np.concatenate([unit_rows(images.features) for _, images in sets]),
        paths,
        [person_name(label, words) for _, images in sets for label in images.labels.tolist()],
        [words.camera(camera) for _, images in sets for camera in images.cameras.tolist()],
        len(query) if query else 0,
        words=words,
    )


def person_name(identity: int | str | None, words: Words = NUMBERS) -> str:
    """Return an identity's name: its name in `words`, else "0012" for 12 or "12"; JUNK_NAME for -1.

    Any other text is its own name.
    """
    if identity is None:
        return NO_NAME
    # int() would also accept "3_12"
    if isinstance(identity, str) and not re.fullmatch("-?[0-9]{1,18}", identity):
        return identity
    number = int(identity)
    return JUNK_NAME if number == JUNK else words.identity(number)


def content_key(content: object) -> str:
    """Return a key under which a browser stores decisions about `content`."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def write_sprites(paths: Sequence[str], folder: Path, test_dir: Folder = None) -> list[str]:
    """Write a tile for each image, 100 tiles per file.

    Image i is tile i % 100 of file i // 100, from left to right, then down. An image that cannot be
    read becomes a grey tile. Returns a line for each such image. Raises UserError if no image can
    be read.
    """
    folder.mkdir(parents=True)
    wrong: dict[int, str] = {}

    def load(index: int) -> Pixels:
        try:
            return load_image(find_image(paths[index], test_dir), *TILE)
        # Decoders fail in many ways, and every failure has the same meaning here.
        except Exception as error:
            wrong[index] = (
                describe_error(error)
                if isinstance(error, UserError)
                else f"{paths[index]}: {describe_error(error)}"
            )
            return np.full((*TILE, 3), UNREADABLE_GREY, np.uint8)

    height, width = TILE
    sheet = np.zeros((SPRITE_ROWS * height, SPRITE_COLUMNS * width, 3), np.uint8)
    for index, pixels in enumerate(decode(range(len(paths)), load)):
        number, place = divmod(index, SPRITE_ROWS * SPRITE_COLUMNS)
        row, column = divmod(place, SPRITE_COLUMNS)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = pixels
        if place == SPRITE_ROWS * SPRITE_COLUMNS - 1 or index == len(paths) - 1:
            Image.fromarray(sheet).save(folder / f"{number}.jpg", quality=QUALITY, optimize=True)
            sheet[:] = 0
    lines = [wrong[index] for index in sorted(wrong)]
    if len(lines) == len(paths):
        raise UserError(f"none of the {len(paths)} images can be read. {lines[0]}")
    return lines
