"""Write small copies of many images as tiles of a few large JPEG files, 0.jpg, 1.jpg and so on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from person_reid.data.images.image_decoding import decode
from person_reid.data.images.image_files import Pixels, load_image
from person_reid.errors import UserError, describe_error
from person_reid.show.ranking import Folder, find_image
from person_reid.show.sheet import UNREADABLE_GREY

TILE = (112, 56)  # height and width in pixels
SPRITE_COLUMNS, SPRITE_ROWS = 10, 10  # tiles of a file
QUALITY = 75


def write_sprites(paths: Sequence[str], folder: Path, test_dir: Folder = None) -> list[str]:
    """Write a tile for each image, 100 to a file.

    Image i is tile i % 100 of file i // 100, from left to right, then down. An image that cannot be
    read is a grey tile. Returns a line for each of those. Raises UserError if none can be read.
    """
    folder.mkdir(parents=True)
    wrong: dict[int, str] = {}

    def load(index: int) -> Pixels:
        try:
            return load_image(find_image(paths[index], test_dir), *TILE)
        # Decoders fail in many ways, and every failure means the same here.
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
