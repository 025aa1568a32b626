"""The look of pictures of synthetic people, in a few numbers.

No other version of NumPy or Pillow changes them.

python -m tests.support.synthetic_pixels   # after PEOPLE_VERSION was raised: record what is drawn
"""

import io
import json

import numpy as np
from PIL import Image

from person_reid.synthetic.dataset import PEOPLE_VERSION, draw_picture, planned_pictures
from person_reid.synthetic.scenes import camera_of, panorama
from tests.support import FIXTURES

FILE = FIXTURES / "synthetic_pixels.json"
CAMERAS = 7  # the six that are made by hand, and one that varies them


def look():
    """{camera: means (pictures, 4, 2, 3) of blocks, and of their differences}, in grey values.

    The differences are from pixel to pixel.
    """
    pictures = [
        one
        for one in planned_pictures(1, 1, CAMERAS, 1, 3 * CAMERAS, CAMERAS)
        if not one.file.startswith("gt_bbox")
    ]
    found = {}
    for number in range(1, CAMERAS + 1):
        camera = camera_of(number, seed=0)
        backdrop = np.asarray(panorama(camera, number, seed=0))
        drawn = [
            draw_picture(one, camera, backdrop, seed=0) for one in pictures if one.camera == number
        ]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(data)), np.float32) for data in drawn])
        grain = np.abs(np.diff(pixels, axis=2, append=pixels[:, :, -1:]))
        found[str(number)] = {
            name: means(values) for name, values in (("blocks", pixels), ("grain", grain))
        }
    return found


def means(pixels):
    """The means (N, 4, 2, 3) of blocks of images (N, H, W, 3), in tenths of a grey value."""
    blocks = pixels.reshape(len(pixels), 4, pixels.shape[1] // 4, 2, pixels.shape[2] // 2, 3).mean(
        (2, 4)
    )
    return np.round(10 * blocks).astype(int).tolist()


if __name__ == "__main__":
    FILE.write_text(
        json.dumps({"version": PEOPLE_VERSION, "pictures": look()}, separators=(",", ":")) + "\n"
    )
