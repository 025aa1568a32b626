"""Images of people made of noise, in folders, for training in seconds."""

import numpy as np
from PIL import Image


def write_people(folder, people, images, seed=0):
    """Write small images of people, noise around a colour of each, in the layout of prepare.py; two cameras."""
    random = np.random.default_rng(seed)
    for person in range(1, people + 1):
        path = folder / f"{person:04}"
        path.mkdir(parents=True)
        colour = random.integers(40, 216, 3)
        for image in range(images):
            pixels = colour + random.integers(-40, 40, (64, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(path / f"{person:04}_c{image % 2 + 1}_{image}.png")
